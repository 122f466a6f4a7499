"""What this node answers of the cluster's view, and what it changes: the admin API's part on each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from heapq import nsmallest
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from burrow.mux.interfaces import CloseCode
from burrow.server.admin.describe import Item, event_item, session_id, session_item, told, tunnel_item
from burrow.server.admin.seen import SeenRequests, Wants
from burrow.server.agent import Agent
from burrow.server.agents import Agents
from burrow.server.edge.context import Edge
from burrow.server.events import Event, Events
from burrow.server.nodes.asking import Questions, Send
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Links
from burrow.server.ports import Ports
from burrow.server.tunnel import Tunnel
from burrow.server.tunnels import Tunnels

Of = dict[str, Any]


class LocalPart:
    """
    Answers the questions of all nodes, this one included, about this node.

    @param drain: begins to drain this node; what it returns fires when that is over.
    @param seen: the requests of visitors that came to this node.
    """

    log = Logger()

    def __init__(
        self,
        questions: Questions,
        *,
        cluster: Cluster,
        links: Links,
        tunnels: Tunnels,
        agents: Agents,
        edge: Edge,
        ports: Ports,
        events: Events,
        seen: SeenRequests,
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        self._node = questions.own_id
        self._cluster = cluster
        self._links = links
        self._tunnels = tunnels
        self._agents = agents
        self._edge = edge
        self._ports = ports
        self._events = events
        self._seen = seen
        self._drain = drain
        self._draining: Deferred[None] | None = None
        questions.answers.update(
            {
                "tunnels": self._list_tunnels,
                "sessions": self._list_sessions,
                "node": self._tell_node,
                "requests": self._list_requests,
                "flush-events": self._flush_events,
                "close-tunnel": self._close_tunnel,
                "end-session": self._end_session,
                "drain": self._begin_to_drain,
            }
        )
        questions.follows.update({"new-events": self._follow_events, "new-requests": self._follow_requests})

    # -- tunnels and sessions ------------------------------------------------------------------------------

    async def _list_tunnels(self, of: Of) -> Item:
        """
        The tunnels here, by name. C{after}: those with greater names; C{most}: that many; C{name}: that one;
        C{token}: those of a token, by its id. And of what other nodes' tunnels have here: visitors, requests.
        """
        wanted, after, most = of.get("name"), str(of.get("after", "")), int(of["most"])
        token = of.get("token")
        agents = {id(agent.session): agent for agent in self._agents.connected}
        if wanted is not None:
            names: Iterable[str] = [str(wanted)]
        else:
            names = (name for name in self._tunnels.names if name > after)
            names = nsmallest(most, names) if token is None else sorted(names)
        items = []
        for name in names:
            tunnel = self._tunnels.by_name(name)
            agent = None if tunnel is None else agents.get(id(tunnel.owner.session))
            if tunnel is not None and agent is not None and token in (None, tunnel.owner.token):
                lease = self._cluster.leases.held.get(name)
                since = agent.since if lease is None else lease.since
                item = tunnel_item(self._node, tunnel, agent, since)
                # Not in lists: those of one tunnel may have 60 KB.
                items.append(item if wanted is None else {**item, "options": told(tunnel)})
                if len(items) == most:
                    break
        visitors, requests = self._visitors(), self._links.requests
        # Older releases ask for four numbers, and "watched": bytes, of those tunnels whose requests are
        # looked at.
        seen = {
            name: [visitors.get(name, 0), requests.get(name, 0), 0, 0]
            for name in {*visitors, *requests}
            if (name > after if wanted is None else name == wanted)
        }
        return {
            "items": items,
            "seen": dict(nsmallest(most, seen.items())) if token is None else seen,
            "watched": [],
        }

    def _visitors(self) -> Counter[str]:
        """
        How many connections of visitors are here, by the name of the tunnel that they use now. One of HTTP/2
        may use several.
        """
        found: Counter[str] = Counter()
        for visitor in self._edge.visitors:
            found.update({part.tunnel.name for part in visitor.parts() if part.tunnel is not None})
        for connection in self._ports.visitors:
            route = getattr(connection, "tunnel", None)  # some wait for theirs
            if route is not None:
                found[route.name] += 1
        return found

    async def _list_sessions(self, of: Of) -> list[Item]:
        """The sessions here, by id: see L{_list_tunnels}; C{id} instead of C{name}."""
        wanted, token, after = of.get("id"), of.get("token"), str(of.get("after", ""))
        found = {
            key: agent
            for agent in self._agents.connected
            if (key := session_id(self._node, agent)) > after
            and wanted in (None, key)
            and token in (None, agent.token.id)
        }
        return [session_item(self._node, found[key]) for key in nsmallest(int(of["most"]), found)]

    async def _close_tunnel(self, of: Of) -> bool:
        """Close a tunnel; C{token}: if it is that token's. @return: whether there was one."""
        tunnel: Tunnel | None = self._tunnels.by_name(of["name"])
        if tunnel is None or of.get("token") not in (None, tunnel.owner.token):
            return False
        await self._tunnels.take_away(tunnel, f"{tunnel.url} is closed: {of['who']} closed it")
        return True

    async def _end_session(self, of: Of) -> bool:
        """End a session; C{token}: if it is that token's. @return: whether there was one."""
        for agent in list(self._agents.connected):
            if session_id(self._node, agent) == of["id"] and of.get("token") in (None, agent.token.id):
                self._end(agent, f"the session was ended by {of['who']}")
                return True
        return False

    @staticmethod
    def _end(agent: Agent, why: str) -> None:
        if agent.attached:
            agent.session.close(why, CloseCode.RESTART)
        else:
            agent.session.abort()

    # -- the node ------------------------------------------------------------------------------------------

    async def _tell_node(self, of: Of) -> Item:
        return {
            "tunnels": len(self._tunnels.names),
            "sessions": len(self._agents.connected),
            "visitors": len(self._edge.visitors) + len(self._ports.visitors),
        }

    async def _begin_to_drain(self, of: Of) -> bool:
        """Begin to drain this node, once. @return: True."""
        if self._draining is None:
            self._draining = Deferred.fromCoroutine(self._drain_now())
            self._draining.addErrback(lambda reason: self.log.failure("cannot drain this node", reason))
        return True

    async def _drain_now(self) -> None:
        await self._drain()

    # -- events and requests -------------------------------------------------------------------------------

    async def _flush_events(self, of: Of) -> bool:
        """Write into the store what is not there yet."""
        await self._events.flush()
        return True

    def _follow_events(self, of: Of, send: Send) -> Callable[[], None]:
        def tell(event: Event) -> None:
            send({"items": [event_item(event)]})

        self._events.listeners.append(tell)
        return lambda: self._events.listeners.remove(tell)

    @staticmethod
    def _wants(of: Of) -> Wants:
        """Which requests are asked for: of C{tunnel} alone if not empty, of C{token} alone if not None."""
        tunnel, token = of.get("tunnel", ""), of.get("token")
        return lambda name, owner: (not tunnel or name == tunnel) and token in (None, owner)

    async def _list_requests(self, of: Of) -> list[Item]:
        """The latest, the newest first, C{most} of them: see L{_wants}."""
        return self._seen.recent(self._wants(of), of.get("tunnel", ""), int(of["most"]))

    def _follow_requests(self, of: Of, send: Send) -> Callable[[], None]:
        return self._seen.follow(self._wants(of), of.get("tunnel", ""), send)
