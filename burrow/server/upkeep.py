"""
Frees, once an hour, names and ports that the server chose and that were not used for a long time.

First the node marks its open tunnels as used. All nodes share a note with the time of the last round, so that
only one of them frees names.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from burrow.clock import DAY, HOUR
from burrow.server.events import Events
from burrow.server.rounds import Rounds
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore
from burrow.store.spaces import UPKEEP

EVERY = HOUR
"""Seconds between two rounds, and from the start to the first, when agents are back."""

_KEY = "unused"


class Upkeep(Rounds):
    """
    @param after: seconds without use after which a name is freed.
    @param now: returns the time, in seconds since the epoch.
    """

    every = EVERY
    what = "freeing unused names"

    def __init__(
        self,
        clock: Any,
        store: IStore,
        tunnels: Tunnels,
        events: Events,
        after: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._store = store
        self._tunnels = tunnels
        self._events = events
        self._after = after
        self._now = now

    async def round(self) -> None:
        """See L{Rounds}."""
        now = self._now()
        await self._store.names_used(self._tunnels.names, now)
        note = await self._store.note(UPKEEP, _KEY)
        last = None
        with contextlib.suppress(ValueError):
            last = None if note is None else float(note)
        if last is not None and 0 <= now - last < EVERY / 2:
            return  # another node did it
        if not await self._store.swap_note(UPKEEP, _KEY, note, repr(now)):
            return
        if last is not None and abs(now - last) > self._after / 3:
            # The servers were off, or the clock is wrong: no name could be used meanwhile.
            known = [reservation.name for reservation in await self._store.reservations()]
            await self._store.names_used(known, now)
            return
        for name in await self._store.free_unused(now - self._after, now):
            days = self._after / DAY
            text = (
                f"{name} was not used for {days:g} days: the name or port that the server chose is free now"
            )
            self.log.info("{text}", text=text)
            self._events.add("name-freed", text)
