"""What the kinds of an agent's tunnels count of their own, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.protocols.counted import counts_of
from burrow.repeat import repeating

EVERY = 10.0
"""Seconds between two times that counts are told, at least."""

Counts = dict[str, dict[str, int]]
"""Counts by name, by the name of their kind."""

Tell = Callable[[str, dict[str, int]], None]
"""Takes the name of a kind, and its counts."""


def counted_by(agent: Any) -> Counts:
    """The counts of the kinds of an L{Agent<burrow.client.agent.Agent>}'s tunnels."""
    kinds = {id(each.request.kind): each.request.kind for each in agent.wanted.all}
    return counts_of(sorted(kinds.values(), key=lambda kind: str(kind.name)))


def sentences(counts: Counts) -> list[str]:
    """A line for each kind, as in C{redis: 12 passed, 3 refused}."""
    return [f"{kind}: {', '.join(_words(*pair) for pair in found.items())}" for kind, found in counts.items()]


def _words(name: str, value: int) -> str:
    return f"{value:,} {name.replace('_', ' ')}"


class CountsTold:
    """
    Tells the counts of an agent's kinds when they have changed, each L{EVERY} seconds at most, and at the
    end.
    """

    def __init__(self, agent: Any, tell: Tell) -> None:
        self._agent = agent
        self._tell = tell
        self._told: Counts = {}
        self._loop = repeating(agent.reactor, self.look, "telling what kinds count")

    def start(self) -> None:
        """Begin."""
        self._loop.start(EVERY, now=False)

    def stop(self) -> None:
        """Tell what has changed since, and end."""
        if self._loop.running:
            self._loop.stop()
            self.look()

    def look(self) -> None:
        """Tell what has changed."""
        counts = counted_by(self._agent)
        for kind, found in counts.items():
            if self._told.get(kind) != found:
                self._tell(kind, found)
        self._told = counts
