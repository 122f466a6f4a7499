"""
Names that the server's owner took back, or gave to another token, while their tunnels were open.

Whoever does that leaves a note (L{RELEASED<burrow.store.spaces.RELEASED>}). Each node reads these notes every
L{CHECK_EVERY} seconds, and closes the tunnels of such names that are not their tokens' any more. The same
becomes of a name of which a store that was away finds out later
(L{KnownStore<burrow.store.known.KnownStore>}).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.server.tunnels import Tunnels
from burrow.store.spaces import RELEASED

CHECK_EVERY = 2.0
"""Seconds between two checks."""


class NameWatch:
    """@param tunnels: those that are open here."""

    log = Logger()

    def __init__(self, clock: Any, store: Any, tunnels: Tunnels) -> None:
        self._store = store
        self._tunnels = tunnels
        self._lost: set[str] = set()
        self._loop = repeating(clock, self._check, "a check of the names that were released")

    def start(self) -> None:
        """Begin to check."""
        self._loop.start(CHECK_EVERY, now=False)

    def stop(self) -> None:
        """Check no more."""
        if self._loop.running:
            self._loop.stop()

    def lost(self, name: str) -> None:
        """The name may be another token's than its tunnel's: look now, or as soon as possible."""
        if self._tunnels.by_name(name) is not None:
            self._lost.add(name)
            ensureDeferred(self._check())

    async def _check(self) -> None:
        try:
            await self.check()
        except StoreError as error:
            self.log.debug("released names cannot be looked for: {error}", error=error)

    async def check(self) -> None:
        """Check now. @raise StoreError: the store cannot tell."""
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
