"""
Certificates in the store that nobody renews any more, since their names were given back or their agents are
gone for good, are removed a while after they ended. Keys that lie there in clear are encrypted, once there
is a secret for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow.certificates.issued import read_chain
from burrow.certificates.sealed import SealedKey, Sealer
from burrow.errors import StoreError
from burrow.store.spaces import ACCOUNTS, CERTIFICATES

TIDY_EVERY = 6 * 3600.0
"""Seconds between the beginnings of two runs."""

KEEP_ENDED = 14 * 86_400.0
"""Seconds that a certificate is kept after it ended, for `burrow certs` to show."""

_AT_ONCE = 20


class Tidy:
    """@param now: seconds since the epoch."""

    log = Logger()

    def __init__(self, reactor: Any, store: Any, sealer: Sealer, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._store = store
        self._sealer = sealer
        self._now = now
        self._next = 0.0
        self._running: Deferred[None] | None = None

    def start(self, in_use: set[str]) -> None:
        """
        Begin a run, unless the last one began less than L{TIDY_EVERY} seconds ago, or has not ended.

        @param in_use: names whose certificates stay.
        """
        if self._running is None and not 0 < self._next - self._now() <= TIDY_EVERY:
            self._next = self._now() + TIDY_EVERY
            self._running = Deferred.fromCoroutine(self._tidy(in_use))
            self._running.addErrback(self._failed)

    def stop(self) -> None:
        """Do no more."""
        if self._running is not None:
            self._running.cancel()

    def _failed(self, reason: Any) -> None:
        self._running = None
        if reason.check(CancelledError):
            return  # the server stops
        if reason.check(StoreError):
            self.log.warn("the certificates in the store are not tidied up: {error}", error=reason.value)
        else:
            self.log.failure("the certificates in the store are not tidied up", reason)

    async def _tidy(self, in_use: set[str]) -> None:
        ended = await self._each(CERTIFICATES, lambda name, text: self._certificate(name, text, in_use))
        await self._each(ACCOUNTS, self._account)
        if ended:
            self.log.info("removed {count} certificates that ended long ago from the store", count=ended)
        self._running = None

    async def _each(self, space: str, change: Callable[[str, str], tuple[bool, str | None]]) -> int:
        """Change each note as C{change} says; @return: how many were removed."""
        removed = 0
        notes: dict[str, str] = await self._store.notes(space)
        for number, (key, text) in enumerate(notes.items()):
            if number % _AT_ONCE == 0:
                await deferLater(self._reactor, 0)
            changes, new = change(key, text)
            if changes and await self._store.swap_note(space, key, text, new):
                removed += new is None
        return removed

    def _certificate(self, name: str, text: str, in_use: set[str]) -> tuple[bool, str | None]:
        try:
            ends = read_chain(text)[0].not_valid_after_utc.timestamp()
        except ValueError:
            return False, None  # whatever it is, it is not ours to remove
        if name not in in_use and ends + KEEP_ENDED <= self._now():
            return True, None
        return self._account(name, text)

    def _account(self, name: str, text: str) -> tuple[bool, str | None]:
        try:
            sealed = self._sealer.sealed_anew(text)
        except (SealedKey, ValueError) as error:
            self.log.warn("the key of {name} in the store: {error}", name=name, error=error)
            return False, None
        return sealed is not None, sealed
