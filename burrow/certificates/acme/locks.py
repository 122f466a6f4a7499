"""
Locks in the store, so that of several nodes one orders a certificate.

A lock is a note that its holder renews; one whose holder died is free L{TTL} seconds later.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating

TTL = 6.0
"""Seconds that a lock is kept without being renewed."""

RENEW_EVERY = 2.0
_LOCKS = "acme-locks"


class Locks:
    """One process's locks."""

    log = Logger()

    def __init__(self, clock: Any, store: Any) -> None:
        self._store = store
        self._id = token_hex(8)
        self._held: set[str] = set()
        self._loop = repeating(clock, self._renew, "renewing locks")

    async def take(self, name: str) -> bool:
        """@return: whether it was free, and is ours now. @raise StoreError: nobody knows."""
        if not await self._store.swap_note(_LOCKS, name, None, self._id, TTL):
            return False
        self._held.add(name)
        if not self._loop.running:
            self._loop.start(RENEW_EVERY, now=False)
        return True

    async def release(self, name: str) -> None:
        """Let others have it."""
        self._held.discard(name)
        if not self._held and self._loop.running:
            self._loop.stop()
        try:
            await self._store.swap_note(_LOCKS, name, self._id, None)
        except StoreError as error:
            self.log.warn(
                "the lock on {name} cannot be released, and ends by itself within {ttl:.0f} s: {error}",
                name=name,
                ttl=TTL,
                error=error,
            )

    def stop(self) -> None:
        """Renew no more."""
        if self._loop.running:
            self._loop.stop()

    async def _renew(self) -> None:
        for name in list(self._held):
            try:
                if (
                    await self._store.swap_note(_LOCKS, name, self._id, self._id, TTL)
                    or name not in self._held
                ):
                    continue
                # It ended meanwhile, or the store lost it: ours again, unless another node has it.
                if not await self._store.swap_note(_LOCKS, name, None, self._id, TTL):
                    self.log.warn("another node has the lock on {name} now", name=name)
                elif name not in self._held:
                    await self.release(name)  # meanwhile it was done
            except StoreError as error:
                self.log.warn("the lock on {name} cannot be renewed: {error}", name=name, error=error)
            except Exception:
                self.log.failure("the lock on {name} cannot be renewed", name=name)
