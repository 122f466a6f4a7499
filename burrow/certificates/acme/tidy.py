"""
Cleans the store every few hours: removes certificates that expired and whose names are not in use, and
encrypts private keys that were stored without a secret, or with an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow.certificates.issued import read_chain
from burrow.certificates.sealed import SealedKey, Sealer
from burrow.clock import DAY, HOUR
from burrow.errors import StoreError
from burrow.store.base import IStore
from burrow.store.spaces import ACCOUNTS, CERTIFICATES

TIDY_EVERY = 6 * HOUR
"""Seconds between the beginnings of two runs."""

KEEP_EXPIRED = 14 * DAY
"""Seconds that a certificate is kept after it expired, for `burrow certs` to show."""

_AT_ONCE = 20


class Tidy:
    """@param now: seconds since the epoch."""

    log = Logger()

    def __init__(self, reactor: Any, store: IStore, sealer: Sealer, now: Callable[[], float]) -> None:
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
            running = self._running = Deferred.fromCoroutine(self._tidy(in_use))
            running.addErrback(self._failed)
            running.addBoth(self._ended)  # at once, where there is nothing to do

    def stop(self) -> None:
        """Cancel the run."""
        if self._running is not None:
            self._running.cancel()

    def _ended(self, result: None) -> None:
        self._running = None

    def _failed(self, reason: Any) -> None:
        if reason.check(CancelledError):
            return  # the server stops
        if reason.check(StoreError):
            self.log.warn(
                "cannot clean up the certificates in the store; this is tried again in some hours: {error}",
                error=reason.value,
            )
        else:
            self.log.failure(
                "cannot clean up the certificates in the store; this is tried again in some hours", reason
            )

    async def _tidy(self, in_use: set[str]) -> None:
        expired = await self._each(CERTIFICATES, lambda name, text: self._certificate(name, text, in_use))
        await self._each(ACCOUNTS, self._account)
        if expired:
            self.log.info(
                "removed {count} certificates from the store, which expired two weeks ago and are not in use",
                count=expired,
            )

    async def _each(self, space: str, change: Callable[[str, str], tuple[bool, str | None]]) -> int:
        """
        Change each note of a space.

        @param change: called with key and text; returns whether to change the note, and its new text, or None
            to remove it. @return: how many were removed.
        """
        removed = 0
        notes = await self._store.notes(space)
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
            return False, None  # no certificate: not made by Burrow, so not removed
        if name not in in_use and ends + KEEP_EXPIRED <= self._now():
            return True, None
        return self._account(name, text)

    def _account(self, name: str, text: str) -> tuple[bool, str | None]:
        try:
            sealed = self._sealer.sealed_anew(text)
        except (SealedKey, ValueError) as error:
            self.log.warn("cannot encrypt the key of {name} in the store: {error}", name=name, error=error)
            return False, None
        return sealed is not None, sealed
