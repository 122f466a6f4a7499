"""
Asks the store who owns names that visitors ask for and that have no open tunnel. Strangers may ask for any
number of names, so the load on the store is bounded: see L{burrow.batches}. So the renewal of this node's
note never waits behind more than one question.

A name without an owner is remembered for L{REMEMBER}, if no other node can open a tunnel of that name
unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from burrow.batches import Batches
from burrow.protocols.private import public_kind
from burrow.store.base import IStore

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
        unknown = "the store cannot tell now who owns the name"
        self._batches: Batches[str | None] = Batches(clock, self._find, unknown)
        self._asked: set[str] = set()
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
        return await self._batches.ask(name)

    def reserved(self, name: str, kind: str = "") -> None:
        """The name has an owner now, who opens a tunnel of that kind: answer at once all that wait for it."""
        self._unowned.pop(name, None)
        self._asked.discard(name)
        self._batches.answer(name, kind)

    async def _find(self, names: list[str]) -> dict[str, str | None]:
        self._asked = set(names)
        found = await self._store.find_reservations(names)
        # A private tunnel's name is nobody's for visitors who come by host.
        owned = {
            name: known.kind
            for name, known in found.items()
            if known is not None and not public_kind(known.kind)
        }
        for name in found:
            if name not in owned and name in self._asked and self._store.whole:
                self._remember(name)
        return {name: owned.get(name) for name in found}

    def _remember(self, name: str) -> None:
        now = self._clock.seconds()
        self._unowned.pop(name, None)  # the newest are last
        while self._unowned:
            oldest = next(iter(self._unowned))
            if self._unowned[oldest] > now and len(self._unowned) < MAX_REMEMBERED:
                break
            del self._unowned[oldest]
        self._unowned[name] = now + REMEMBER
