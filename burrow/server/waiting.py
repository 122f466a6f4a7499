"""The visitors that wait for a tunnel whose agent is not connected, and is expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

MAX_WAITING = 4000
"""Visitors' requests that wait, at most; more are told at once that the agent is away."""

MAX_PER_TUNNEL = 400
"""Those of one tunnel, so that a busy one leaves room for all others."""


class Waiting:
    """@param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._queues: dict[str, set[Deferred[None]]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        """Whether a visitor waits."""
        return bool(self._queues)

    def __iter__(self) -> Iterator[str]:
        """The names that are waited for."""
        return iter(list(self._queues))

    async def wait(self, name: str, seconds: float) -> bool:
        """@return: whether L{wake} was called for the name: not if it takes too long, or too many wait."""
        queue = self._queues.get(name, set())
        if self._count >= MAX_WAITING or len(queue) >= MAX_PER_TUNNEL:
            return False
        woken: Deferred[None] = Deferred()
        self._queues[name] = queue
        queue.add(woken)
        self._count += 1
        try:
            await woken.addTimeout(seconds, self._clock)
        except TimeoutError:
            return False
        finally:
            self._count -= 1
            queue.discard(woken)
            if not queue and self._queues.get(name) is queue:
                del self._queues[name]
        return True

    def wake(self, name: str) -> None:
        """Let all go on who wait for the name."""
        # A copy: each that goes on takes itself out.
        for woken in list(self._queues.pop(name, ())):
            woken.callback(None)
