"""
Our own limits on orders: lower than the CA's, and kept in the store for all nodes, so that a server that
starts again and again does not use up what the CA allows.

Let's Encrypt allows 50 certificates for new names per registered domain and 7 days, 5 for the same name in 7
days, and 5 failed validations per name and hour (https://letsencrypt.org/docs/rate-limits/). Renewals do not
count as new names, and an order that says what it replaces (RFC 9773 section 5) counts nowhere.

What the CA itself refuses is in L{burrow.certificates.acme.refusals}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from twisted.logger import Logger

from burrow.certificates.acme.refusals import Refusals
from burrow.clock import DAY, HOUR, WEEK
from burrow.errors import CertificateFailed, StoreError
from burrow.store.base import IStore
from burrow.store.spaces import LIMITS
from burrow.wording import at, count_of

SAME_NAME, FAILED = 4, 4
"""Certificates for one name a week; failed validations of one name an hour."""

FAILED_OF_ONE = 20
"""Failed validations an hour of all names of one token: each takes an order, of which an account has few."""

DEMANDED = 5
"""Certificates a day for hosts of one wildcard name, which visitors ask for."""

DEMANDED_PART = 3
"""All those together have one part in so many of the certificates for new names a week."""

DEMANDED_PART_OF_ONE = 2
"""And those of one token's wildcard names one part in so many of that."""

INFORMED = 2
"""Renewals of one name a day whose order says what it replaces: the CA may request one at any time."""

_SWAPS = 100


class _Rule(NamedTuple):
    """Per count: its key, its limit, the seconds in which it holds, and the limit in words."""

    what: str
    most: int
    window: float
    text: str


class Counted(NamedTuple):
    """What was counted, when, and for how many seconds: see L{Limits.undo}."""

    what: str
    when: float
    window: float


class Limits:
    """
    @ivar refusals: what the CA refused.
    @param weekly: certificates for new names a week; 0 for no limit.
    @param now: seconds since the epoch.
    @param share: certificates for new names of one token a week; 0 for no limit.
    """

    log = Logger()

    def __init__(
        self, store: IStore, authority: str, weekly: int, now: Callable[[], float], share: int = 0
    ) -> None:
        self._store = store
        self._authority = authority
        self._weekly = weekly
        self._share = share
        self._now = now
        self._owed: list[Counted] = []
        self.refusals = Refusals(store, authority, now)

    def _key(self, what: str) -> str:
        return f"{self._authority} {what}"

    async def _times(self, what: str, window: float) -> tuple[str | None, list[float]]:
        text = await self._store.note(LIMITS, self._key(what))
        times = [] if text is None else json.loads(text)
        return text, [when for when in times if when > self._now() - window]

    async def _change(
        self, what: str, window: float, when: float, most: int, *, remove: bool = False
    ) -> float:
        """
        Add a time to a count if it has fewer than C{most} (0: without a limit), or remove it.

        @return: 0, or when there is room again. @raise StoreError: other servers change the note all the
            time.
        """
        for _ in range(_SWAPS):
            text, times = await self._times(what, window)
            if remove:
                if when not in times:
                    return 0.0
                times.remove(when)  # once: another order may have begun at the same time
            elif most and len(times) >= most:
                return sorted(times)[len(times) - most] + window
            else:
                times.append(when)
            if await self._store.swap_note(LIMITS, self._key(what), text, json.dumps(times), window):
                return 0.0
        raise StoreError("other servers write the count of certificates all the time; try again")

    async def begin(
        self, name: str, *, renewal: bool, informed: bool = False, token: str = ""
    ) -> list[Counted]:
        """
        Count an order before it is made.

        @param renewal: whether the name has a certificate. @param informed: whether the order tells the CA
            which certificate it replaces: the CA's own limits do not apply then.
        @param token: the id of the token whose order it is; empty for the server's own.
        @return: the argument for L{undo} if nothing is issued.
        @raise CertificateFailed: a limit is reached; the text says which, and until when.
        """
        if not informed:
            await self.refusals.check(name, renewal=renewal)
        await self._check_failures(name, name, FAILED)
        if token:
            await self._check_failures(f"of {token}", "the names of this token", FAILED_OF_ONE)
        return await self._count(self._rules(name, token, renewal=renewal, informed=informed))

    async def _count(self, rules: list[_Rule]) -> list[Counted]:
        """Count by all rules, or by none. @raise CertificateFailed: a limit is reached."""
        await self.undo([])
        now = self._now()
        counted: list[Counted] = []
        try:
            for what, most, window, text in rules:
                # Before it is known whether it was counted: the store may fail after it was.
                counted.append(Counted(what, now, window))
                free = await self._change(what, window, now, most)
                if free:
                    counted.pop()
                    raise CertificateFailed(f"this server's limit of {text} is reached until {at(free)}")
        except Exception:
            await self.undo(counted)
            raise
        return counted

    async def _check_failures(self, what: str, whose: str, most: int) -> None:
        _, failures = await self._times(f"failed {what}", HOUR)
        if len(failures) >= most:
            text = f"{whose} failed {most} validations within an hour: the next is tried after"
            raise CertificateFailed(f"{text} {at(sorted(failures)[-most] + HOUR)}")

    def _rules(self, name: str, token: str, *, renewal: bool, informed: bool) -> list[_Rule]:
        if informed:
            return [_Rule(f"informed {name}", INFORMED, DAY, f"{INFORMED} renewals of {name} a day")]
        rules = []
        if self._weekly:
            rules.append(
                _Rule(f"name {name}", SAME_NAME, WEEK, f"{SAME_NAME} certificates for {name} a week")
            )
        if self._share and token and not renewal:
            text = f"{count_of(self._share, 'certificate')} for new names of one token a week"
            rules.append(_Rule(f"new of {token}", self._share, WEEK, text))
        if self._weekly and not renewal:
            rules.append(
                _Rule("new", self._weekly, WEEK, f"{self._weekly} certificates for new names a week")
            )
        return rules

    async def demanded(self, wildcard: str, token: str = "") -> list[Counted]:
        """
        Count an order for a host under a wildcard name before it is made, which a stranger asks for.

        @param token: the id of the token that owns the wildcard name; empty if that is not known.
        @return: the argument for L{undo} if nothing is issued.
        @raise CertificateFailed: a limit is reached.
        """
        text = f"{DEMANDED} new hosts under {wildcard} a day"
        rules = [_Rule(f"demanded {wildcard}", DEMANDED, DAY, text)]
        if self._weekly:
            most = max(self._weekly // DEMANDED_PART, 1)
            own = max(most // DEMANDED_PART_OF_ONE, 1)
            if token and self._share:
                text = f"{count_of(own, 'new host')} under one token's wildcard names a week"
                rules.append(_Rule(f"demanded of {token}", own, WEEK, text))
            rules.append(_Rule("demanded", most, WEEK, f"{most} new hosts under wildcard names a week"))
        return await self._count(rules)

    async def undo(self, counted: list[Counted]) -> None:
        """
        Take back what was counted, since nothing was issued. What the store does not take now is taken back
        before the next order is counted: bounded by the orders that run when the store fails.
        """
        self._owed += counted
        while self._owed:
            what, when, window = one = self._owed.pop()
            try:
                await self._change(what, window, when, 0, remove=True)
            except StoreError as error:
                self._owed.append(one)
                self.log.warn(
                    "{count} of orders that issued nothing cannot be taken back yet, which is tried again: "
                    "{error}",
                    count=count_of(len(self._owed), "count"),
                    error=error,
                )
                return

    async def failed(self, name: str, token: str = "") -> None:
        """Count a failed validation. @param token: see L{begin}."""
        for what in (name, *((f"of {token}",) if token else ())):
            await self._change(f"failed {what}", HOUR, self._now(), 0)
