"""
Whose the names are that visitors ask for and no tunnel is open of: strangers may ask for any number of them.

What they cost the store is bounded: one question at a time, for all names that wait, and a pause of L{PAUSE}
before the next. So what renews this node's note in the store never has more than one of them before it.
A name that is nobody's is remembered for L{REMEMBER}, as long as no other node may open it unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall

from burrow.errors import StoreError

PAUSE = 0.02
"""Seconds between the answer to one question and the next question."""

AT_ONCE = 500
"""Names in one question, at most; the others wait for the next."""

REMEMBER = 1.0
"""Seconds that a name is remembered to be nobody's."""

MAX_REMEMBERED = 4096
"""Names that are remembered, at most: of more, the oldest are forgotten."""

_POSSIBLE = re.compile(r"[a-z0-9-]{1,63}")


class Lookups:
    """
    What bounds the names that wait: one a visitor's connection.

    @param alone: whether no other node is known that may open a tunnel.
    """

    def __init__(self, clock: Any, store: Any, alone: Callable[[], bool]) -> None:
        self._clock = clock
        self._store = store
        self._alone = alone
        self._waiting: dict[str, list[Deferred[bool]]] = {}
        self._asked: set[str] = set()
        self._busy = False
        self._pause: IDelayedCall | None = None
        self._nobodys: dict[str, float] = {}

    async def owned(self, name: str) -> bool:
        """Whether somebody owns the name. @raise StoreError: nobody knows."""
        if not _POSSIBLE.fullmatch(name):
            return False
        if self._alone() and self._nobodys.get(name, float("-inf")) > self._clock.seconds():
            return False
        answer: Deferred[bool] = Deferred()
        self._waiting.setdefault(name, []).append(answer)
        if not self._busy and self._pause is None:
            ensureDeferred(self._ask())
        return await answer

    def reserved(self, name: str) -> None:
        """The name is somebody's now: whoever asked is answered at once."""
        self._nobodys.pop(name, None)
        self._asked.discard(name)
        for answer in self._waiting.pop(name, ()):
            answer.callback(True)

    async def _ask(self) -> None:
        self._busy = True
        names = list(self._waiting)[:AT_ONCE]
        asked = {name: self._waiting.pop(name) for name in names}
        self._asked = set(names)
        try:
            found = await self._store.find_reservations(names)
            error: Exception = StoreError("the store cannot tell now whose the name is")
        except Exception as failed:
            found, error = {}, failed
        self._busy = False
        self._pause = self._clock.callLater(PAUSE, self._go_on)
        for name, answers in asked.items():
            if found.get(name, self) is None and name in self._asked and self._store.whole:
                self._remember(name)
            for answer in answers:
                if name in found:
                    answer.callback(found[name] is not None)
                else:
                    answer.errback(error)

    def _go_on(self) -> None:
        self._pause = None
        if self._waiting:
            ensureDeferred(self._ask())

    def _remember(self, name: str) -> None:
        now = self._clock.seconds()
        self._nobodys.pop(name, None)  # the newest are last
        while self._nobodys:
            oldest = next(iter(self._nobodys))
            if self._nobodys[oldest] > now and len(self._nobodys) < MAX_REMEMBERED:
                break
            del self._nobodys[oldest]
        self._nobodys[name] = now + REMEMBER
