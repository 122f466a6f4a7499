"""The visitors that wait for a tunnel whose agent is expected, but not connected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError

MAX_WAITING = 4000
"""Visitors' requests that wait, at most; further ones learn at once that the agent is away."""

MAX_PER_TUNNEL = 400
"""Requests that wait for one tunnel, at most, so that a busy tunnel leaves room for others."""


class Asking(Protocol):
    """The visitor that waits."""

    @property
    def may_be_gone(self) -> bool:
        """Whether it has closed its half: it may still read, or have left, which only an answer can show."""
        ...


class Waiting:
    """
    The waiting visitors, by name. When there is no room, a new visitor takes the place of one that may have
    left, the longest-waiting first.

    @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
    @ivar served: how many were woken so far. @ivar given_up: how many waited in vain, or left.
    @ivar seconds: how long all waited.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._queues: dict[str, dict[Deferred[bool], Asking | None]] = {}
        self._count = 0
        self.served = self.given_up = 0
        self.seconds = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def __bool__(self) -> bool:
        """Whether a visitor waits."""
        return bool(self._queues)

    def __iter__(self) -> Iterator[str]:
        """The names that visitors wait for."""
        return iter(list(self._queues))

    async def wait(self, name: str, seconds: float, asking: Asking | None = None) -> bool:
        """
        Wait until L{wake} is called for a name. Cancel it when the visitor leaves.

        @param asking: the visitor; None for one that has certainly not left.
        @return: False if C{seconds} passed, or too many wait.
        """
        if not self._has_room(name):
            return False
        woken: Deferred[bool] = Deferred()
        queue = self._queues.setdefault(name, {})
        queue[woken] = asking
        self._count += 1
        began, served = self._clock.seconds(), False
        try:
            served = await woken.addTimeout(seconds, self._clock)
            return served
        except TimeoutError:
            return False
        finally:
            self._count -= 1
            self.served += served
            self.given_up += not served
            self.seconds += self._clock.seconds() - began
            queue.pop(woken, None)
            if not queue and self._queues.get(name) is queue:
                del self._queues[name]

    def wake(self, name: str) -> None:
        """Let all visitors continue that wait for the name."""
        # A copy: each that continues removes itself.
        for woken in list(self._queues.pop(name, ())):
            woken.callback(True)

    def _has_room(self, name: str) -> bool:
        """Whether one more may wait, if need be in the place of one that may have left."""
        full = self._queues.get(name, {})
        if len(full) >= MAX_PER_TUNNEL:
            return self._make_room([full])
        return self._count < MAX_WAITING or self._make_room(self._queues.values())

    @staticmethod
    def _make_room(queues: Iterable[dict[Deferred[bool], Asking | None]]) -> bool:
        """End the wait of one that may have left. @return: whether there was one."""
        for queue in queues:
            for woken, asking in queue.items():
                if asking is not None and asking.may_be_gone:
                    woken.callback(False)
                    return True
        return False
