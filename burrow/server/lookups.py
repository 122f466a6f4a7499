"""
Asks the store who owns names that visitors ask for and that have no open tunnel. Strangers may ask for any
number of names, so the load on the store is bounded.

There is one question at a time, for all names that wait, and a pause of L{PAUSE} before the next. So the
renewal of this node's note never waits behind more than one question. A name without an owner is remembered
for L{REMEMBER}, if no other node can open a tunnel of that name unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall

from burrow.errors import StoreError
from burrow.protocols.private import public_kind
from burrow.store.base import IStore

PAUSE = 0.02
"""Seconds between the answer to one question and the next question."""

AT_ONCE = 500
"""Names in one question, at most; the others wait for the next."""

REMEMBER = 1.0
"""Seconds for which it is remembered that a name has no owner."""

MAX_REMEMBERED = 4096
"""Names that are remembered, at most; the oldest are forgotten."""

_POSSIBLE = re.compile(r"(\*\.)?[a-z0-9-]{1,63}|(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


class Lookups:
    """
    The names that wait are bounded by the visitors' connections, one for each.

    @param alone: returns whether this node knows of no other node.
    """

    def __init__(self, clock: Any, store: IStore, alone: Callable[[], bool]) -> None:
        self._clock = clock
        self._store = store
        self._alone = alone
        self._waiting: dict[str, list[Deferred[str | None]]] = {}
        self._asked: set[str] = set()
        self._busy = False
        self._pause: IDelayedCall | None = None
        self._unowned: dict[str, float] = {}

    async def owned(self, name: str) -> bool:
        """Whether the name has an owner. @raise StoreError: the store cannot tell."""
        return await self.kind_of(name) is not None

    async def kind_of(self, name: str) -> str | None:
        """
        The kind of the tunnel that a name was last opened for; None for a name without an owner, and empty
        for one that was never opened.

        @raise StoreError: the store cannot tell.
        """
        if not _POSSIBLE.fullmatch(name):
            return None
        if self._alone() and self._unowned.get(name, float("-inf")) > self._clock.seconds():
            return None
        answer: Deferred[str | None] = Deferred()
        self._waiting.setdefault(name, []).append(answer)
        if not self._busy and self._pause is None:
            ensureDeferred(self._ask())
        return await answer

    def reserved(self, name: str, kind: str = "") -> None:
        """The name has an owner now, who opens a tunnel of that kind: answer at once all that wait for it."""
        self._unowned.pop(name, None)
        self._asked.discard(name)
        for answer in self._waiting.pop(name, ()):
            answer.callback(kind)

    async def _ask(self) -> None:
        self._busy = True
        names = list(self._waiting)[:AT_ONCE]
        asked = {name: self._waiting.pop(name) for name in names}
        self._asked = set(names)
        try:
            found = await self._store.find_reservations(names)
            error: Exception = StoreError("the store cannot tell now who owns the name")
        except Exception as failed:
            found, error = {}, failed
        # A private tunnel's name is nobody's for visitors who come by host.
        owned = {
            name: known.kind
            for name, known in found.items()
            if known is not None and not public_kind(known.kind)
        }
        self._busy = False
        self._pause = self._clock.callLater(PAUSE, self._ask_next)
        for name, answers in asked.items():
            if name in found and name not in owned and name in self._asked and self._store.whole:
                self._remember(name)
            for answer in answers:
                if name in found:
                    answer.callback(owned.get(name))
                else:
                    answer.errback(error)

    def _ask_next(self) -> None:
        self._pause = None
        if self._waiting:
            ensureDeferred(self._ask())

    def _remember(self, name: str) -> None:
        now = self._clock.seconds()
        self._unowned.pop(name, None)  # the newest are last
        while self._unowned:
            oldest = next(iter(self._unowned))
            if self._unowned[oldest] > now and len(self._unowned) < MAX_REMEMBERED:
                break
            del self._unowned[oldest]
        self._unowned[name] = now + REMEMBER
