"""
Names that the server's owner took back, or gave to another token, while their tunnels were open.

The store tells each node which names changed (L{burrow.server.changes}); a node asks of those that are open
here whose they are, and closes the tunnels that are not their tokens' any more. The same becomes of a name of
which a store that was away finds out later (L{KnownStore<burrow.store.known.store.KnownStore>}).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred

from burrow.server.rounds import Rounds
from burrow.server.tunnel import Tunnel
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore, Reservation
from burrow.store.changes import Changes

CHECK_EVERY = 2.0
"""Seconds between two checks."""


class NameWatch(Rounds):
    """@param tunnels: those that are open here."""

    every = CHECK_EVERY
    what = "a check of the names that were released"

    def __init__(self, clock: Any, store: IStore, tunnels: Tunnels) -> None:
        super().__init__(clock)
        self._store = store
        self._tunnels = tunnels
        self._doubted: set[str] = set()
        tunnels.on_opened.append(self._opened)

    def _opened(self, tunnel: Tunnel) -> None:
        # It was not open when the store told that its name changed, if it did since it was reserved.
        self._doubted.add(tunnel.name)

    def changed(self, changes: Changes) -> None:
        """See L{ChangeReader<burrow.server.changes.ChangeReader>}."""
        names = self._tunnels.names if changes.whole else changes.names
        self._doubted.update(name for name in names if self._tunnels.by_name(name) is not None)

    def lost(self, name: str) -> None:
        """The name may be another token's than its tunnel's: ask now, or as soon as possible."""
        if self._tunnels.by_name(name) is not None:
            self._doubted.add(name)
            ensureDeferred(self._try())

    async def round(self) -> None:
        """See L{Rounds}."""
        open_now = {name: tunnel for name in self._doubted if (tunnel := self._tunnels.by_name(name))}
        if not open_now:
            return
        # What changes from now on may be newer than the answer, and is asked for again.
        self._doubted = set()
        unsettled = set(open_now)
        try:
            owned: dict[str, Reservation | None] = await self._store.find_reservations(open_now)
            for name, known in owned.items():
                tunnel = open_now[name]
                # One that was closed, or opened anew, is doubted anew.
                same = self._tunnels.by_name(name) is tunnel
                if same and (known is None or known.token != tunnel.owner.token):
                    now = "released it" if known is None else "gave it to another token"
                    await self._tunnels.take_away(tunnel, f"{tunnel.url} is closed: the server's owner {now}")
                unsettled.discard(name)
        finally:
            self._doubted |= unsettled
