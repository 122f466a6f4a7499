"""
Names that the server's owner took back, or gave to another token, while their tunnels were open.

Whoever does that leaves a note (L{RELEASED<burrow.store.spaces.RELEASED>}). Each node reads these notes every
L{CHECK_EVERY} seconds, and closes the tunnels of such names that are not their tokens' any more. The same
becomes of a name of which a store that was away finds out later
(L{KnownStore<burrow.store.known.store.KnownStore>}).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred

from burrow.server.rounds import Rounds
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore
from burrow.store.spaces import RELEASED

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
        self._lost: set[str] = set()

    def lost(self, name: str) -> None:
        """The name may be another token's than its tunnel's: look now, or as soon as possible."""
        if self._tunnels.by_name(name) is not None:
            self._lost.add(name)
            ensureDeferred(self._try())

    async def round(self) -> None:
        """See L{Rounds}."""
        for name in list(self._lost):
            await self._check_name(name)
            self._lost.discard(name)
        for name in await self._store.notes(RELEASED):
            await self._check_name(name)

    async def _check_name(self, name: str) -> None:
        tunnel = self._tunnels.by_name(name)
        if tunnel is None:
            return
        known = await self._store.reservation(name)
        if self._tunnels.by_name(name) is tunnel and (known is None or known.token != tunnel.owner.token):
            now = "released it" if known is None else "gave it to another token"
            await self._tunnels.take_away(tunnel, f"{tunnel.url} is closed: the server's owner {now}")
