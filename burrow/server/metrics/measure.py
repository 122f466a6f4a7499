"""What one process measures of itself, as plain numbers that other processes can be told."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from burrow import __version__
from burrow.protocols.base import Kind
from burrow.protocols.counted import counts_of
from burrow.server.agents import Agents
from burrow.server.edge.context import Edge
from burrow.server.events import Event, Events
from burrow.server.metrics.stored import StoreCounts
from burrow.server.nodes.links import Links
from burrow.server.ports import Ports
from burrow.server.routes import Routes
from burrow.server.tunnels import Tunnels

Measured = dict[str, Any]


class Measure:
    """@param started: seconds since the epoch. @param store: counts of the store's operations."""

    def __init__(
        self,
        *,
        edge: Edge,
        ports: Ports,
        tunnels: Tunnels,
        agents: Agents,
        routes: Routes,
        links: Links,
        events: Events,
        store: StoreCounts,
        kinds: Mapping[str, Kind],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._started = now()
        self._edge = edge
        self._ports = ports
        self._tunnels = tunnels
        self._agents = agents
        self._routes = routes
        self._links = links
        self._events: Counter[str] = Counter()
        events.listeners.append(self._happened)
        self._store = store
        self._kinds = kinds

    def _happened(self, event: Event) -> None:
        self._events[event.kind] += 1

    async def tell(self, of: dict[str, Any]) -> Measured:
        """See L{Answer<burrow.server.nodes.asking.Answer>}: the question "metrics"."""
        return self.now()

    def now(self) -> Measured:
        """Everything that L{burrow.server.metrics.exposition} knows to write."""
        counts, agents = self._edge.counts, self._agents
        attached = sum(agent.attached for agent in agents.connected)
        received, sent = agents.carried
        waiting = self._routes.waiting
        return {
            "version": __version__,
            "started": self._started,
            "draining": int(self._edge.draining),
            "tunnels": dict(Counter(tunnel.kind.name for tunnel in self._tunnels.all)),
            "sessions": {"attached": attached, "detached": len(agents.connected) - attached},
            "streams": sum(max(0, agent.session.stream_count - 1) for agent in agents.connected),
            "visitors": {"http": len(self._edge.visitors), "tcp": len(self._ports.visitors)},
            "requests": {str(number): count for number, count in enumerate(counts.by_class) if number < 6},
            "request_times": list(counts.times),
            "request_seconds": counts.seconds,
            "connections": list(self._ports.counts.times),
            "connection_seconds": self._ports.counts.seconds,
            "refused": self._ports.counts.refused,
            "waiting": len(waiting),
            "waited": {"served": waiting.served, "given up": waiting.given_up},
            "waited_seconds": waiting.seconds,
            "carried": {"received": received, "sent": sent},
            "resumes": agents.resumes,
            "links": len(self._links.sessions),
            "events": dict(self._events),
            "counts": counts_of(self._kinds.values()),
            "store": {
                name: [count, self._store.seconds[name], self._store.errors[name]]
                for name, count in self._store.count.items()
            },
            "process": _process(),
        }


def _process() -> dict[str, float]:
    """CPU seconds, bytes of resident memory (now on Linux, else the most there ever was), descriptors."""
    found = {"cpu": time.process_time()}
    if resource is not None:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["memory"] = most * (1 if sys.platform == "darwin" else 1024)
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            found["memory"] = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        found["descriptors"] = len(os.listdir("/proc/self/fd"))
    except (OSError, ValueError, IndexError):  # not Linux, or no descriptor is left
        pass
    return found
