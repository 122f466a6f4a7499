"""The visitors that wait for a tunnel whose agent is not connected, and is expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError

MAX_WAITING = 4000
"""Visitors' requests that wait, at most; more are told at once that the agent is away."""

MAX_PER_TUNNEL = 400
"""Those of one tunnel, so that a busy one leaves room for all others."""


class Asking(Protocol):
    """Who waits."""

    @property
    def may_be_gone(self) -> bool:
        """Whether it has closed its half: it still reads, or has left. Nobody knows before it is answered."""
        ...


class Waiting:
    """
    Those who have closed their half wait as long as there is room; then others get their places, first those
    of the ones that came first.

    @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._queues: dict[str, dict[Deferred[bool], Asking | None]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        """Whether a visitor waits."""
        return bool(self._queues)

    def __iter__(self) -> Iterator[str]:
        """The names that are waited for."""
        return iter(list(self._queues))

    async def wait(self, name: str, seconds: float, asking: Asking | None = None) -> bool:
        """
        Wait for a name. One that is cancelled gives its place back.

        @param asking: who waits; None for somebody who is there for certain.
        @return: whether L{wake} was called for the name: not if it takes too long, or too many wait.
        """
        if not self._has_room(name):
            return False
        woken: Deferred[bool] = Deferred()
        queue = self._queues.setdefault(name, {})
        queue[woken] = asking
        self._count += 1
        try:
            return await woken.addTimeout(seconds, self._clock)
        except TimeoutError:
            return False
        finally:
            self._count -= 1
            queue.pop(woken, None)
            if not queue and self._queues.get(name) is queue:
                del self._queues[name]

    def wake(self, name: str) -> None:
        """Let all go on who wait for the name."""
        # A copy: each that goes on takes itself out.
        for woken in list(self._queues.pop(name, ())):
            woken.callback(True)

    def _has_room(self, name: str) -> bool:
        """Whether one more may wait, perhaps in the place of one that may be gone."""
        full = self._queues.get(name, {})
        if len(full) >= MAX_PER_TUNNEL:
            return self._send_away([full])
        return self._count < MAX_WAITING or self._send_away(self._queues.values())

    @staticmethod
    def _send_away(queues: Iterable[dict[Deferred[bool], Asking | None]]) -> bool:
        """Let one that may be gone wait no more. @return: whether there was one."""
        for queue in queues:
            for woken, asking in queue.items():
                if asking is not None and asking.may_be_gone:
                    woken.callback(False)
                    return True
        return False
