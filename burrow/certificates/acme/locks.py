"""
Locks in the store, so that only one of several nodes orders a certificate.

A lock is a note that its holder renews. The lock of a node that died expires after L{TTL} seconds.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.store.base import IStore

TTL = 6.0
"""Seconds that a lock is kept without being renewed."""

RENEW_EVERY = 2.0
_LOCKS = "acme-locks"


class Locks:
    """One process's locks."""

    log = Logger()

    def __init__(self, clock: Any, store: IStore) -> None:
        self._store = store
        self._id = token_hex(8)
        self._held: set[str] = set()
        self._loop = repeating(clock, self._renew, "renewing locks")

    async def take(self, name: str) -> bool:
        """Try to take a lock. @return: whether it is ours now. @raise StoreError: the store is away."""
        if not await self._store.swap_note(_LOCKS, name, None, self._id, TTL):
            return False
        self._held.add(name)
        if not self._loop.running:
            self._loop.start(RENEW_EVERY, now=False)
        return True

    async def release(self, name: str) -> None:
        """Release a lock. If the store is away, the lock expires by itself."""
        self._held.discard(name)
        if not self._held and self._loop.running:
            self._loop.stop()
        try:
            await self._store.swap_note(_LOCKS, name, self._id, None)
        except StoreError as error:
            self.log.warn(
                "cannot release the lock on {name}; it expires within {ttl:.0f} s: {error}",
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
                # It expired meanwhile, or the store lost it: take it again, unless another node has.
                if not await self._store.swap_note(_LOCKS, name, None, self._id, TTL):
                    self.log.warn(
                        "cannot renew the lock on {name}: it expired, and another node has taken it",
                        name=name,
                    )
                elif name not in self._held:
                    await self.release(name)  # the holder released it meanwhile
            except StoreError as error:
                self.log.warn(
                    "cannot renew the lock on {name}, which is tried again: {error}", name=name, error=error
                )
            except Exception:
                self.log.failure("cannot renew the lock on {name}, which is tried again", name=name)
