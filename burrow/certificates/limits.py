"""
Our own limits on what we ask of a CA: below its, and kept in the store, so that no restart and no crash loop
uses up what the CA allows.

Let's Encrypt allows 50 certificates for new names per registered domain and 7 days, 5 for the same name in 7
days, and 5 failed validations per name and hour (https://letsencrypt.org/docs/rate-limits/). Renewals do not
count as new names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from burrow.mux.control import CertificateFailed
from burrow.store.spaces import LIMITS, WEEK

HOUR = 3600.0
SAME_NAME, FAILED = 4, 4
"""Certificates for one name a week; failed validations of one name an hour."""


def at(when: float) -> str:
    """A time for people."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")


class Limits:
    """
    @param weekly: certificates for new names a week; 0 for no limit.
    @param now: seconds since the epoch.
    """

    def __init__(self, store: Any, authority: str, weekly: int, now: Callable[[], float]) -> None:
        self._store = store
        self._authority = authority
        self._weekly = weekly
        self._now = now

    def _key(self, what: str) -> str:
        return f"{self._authority} {what}"

    async def _times(self, what: str, window: float) -> tuple[str | None, list[float]]:
        text: str | None = await self._store.note(LIMITS, self._key(what))
        times = [] if text is None else json.loads(text)
        return text, [when for when in times if when > self._now() - window]

    async def _change(
        self, what: str, window: float, when: float, most: int, *, remove: bool = False
    ) -> float:
        """Add a time, if there are fewer than C{most}, or remove it. @return: 0, or when there is room."""
        while True:
            text, times = await self._times(what, window)
            if remove:
                times = [known for known in times if known != when]
            elif most and len(times) >= most:
                return sorted(times)[len(times) - most] + window
            else:
                times.append(when)
            if await self._store.swap_note(LIMITS, self._key(what), text, json.dumps(times), window):
                return 0.0

    async def begin(self, name: str, *, renewal: bool) -> list[tuple[str, float]]:
        """
        Count an order before it is made.

        @return: what to give to L{undo} if nothing is issued.
        @raise CertificateFailed: it may not be made now.
        """
        now = self._now()
        until: str | None = await self._store.note(LIMITS, self._key("refused"))
        if until is not None and float(until) > now:
            raise CertificateFailed(f"the CA's rate limit is reached until {at(float(until))}")
        _, failures = await self._times(f"failed {name}", HOUR)
        if len(failures) >= FAILED:
            text = f"{name} failed {FAILED} validations within an hour: the next is tried after"
            raise CertificateFailed(f"{text} {at(sorted(failures)[-FAILED] + HOUR)}")
        counted: list[tuple[str, float]] = []
        rules = [(f"name {name}", SAME_NAME, f"{SAME_NAME} certificates for {name}")]
        if self._weekly and not renewal:
            rules.append(("new", self._weekly, f"{self._weekly} certificates for new names"))
        if not self._weekly:
            rules = []
        for what, most, text in rules:
            free = await self._change(what, WEEK, now, most)
            if free:
                await self.undo(counted)
                raise CertificateFailed(f"this server's limit of {text} a week is reached until {at(free)}")
            counted.append((what, now))
        return counted

    async def undo(self, counted: list[tuple[str, float]]) -> None:
        """Nothing was issued: it does not count."""
        for what, when in counted:
            await self._change(what, WEEK, when, 0, remove=True)

    async def failed(self, name: str) -> None:
        """A validation failed."""
        await self._change(f"failed {name}", HOUR, self._now(), 0)

    async def refused(self, until: float | None) -> None:
        """The CA itself says that a limit is reached."""
        when = self._now() + HOUR if until is None else until
        await self._store.put_note(LIMITS, self._key("refused"), repr(when), max(1.0, when - self._now()))
