"""
Certificates of the hosts under a wildcard name, as x.blog.example.com of C{*.blog}: no CA gives one for all
of them by a challenge that Burrow answers, so each is ordered when a visitor asks for it.

Visitors are strangers, and choose the hosts: so few are ordered (L{burrow.certificates.acme.limits}), and
while no more may be, nothing is asked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from twisted.logger import Logger

from burrow.certificates.acme.limits import Limits
from burrow.certificates.acme.single_flight import SingleFlight
from burrow.errors import CertificateFailed, StoreError, Unavailable

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PAUSE = 60.0
"""Seconds for which nothing more is ordered for a wildcard name after an order was refused."""


LOOKS = 20
"""Hosts of a wildcard name that are read from the store in such a pause: they may have a certificate."""


class Demand:
    """
    @param order: orders the certificate of a host, the second argument is its owner's token.
    @param owner: returns the id of the token that owns a host's wildcard name; empty if nobody is known to.
    @param now: seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        limits: Limits,
        order: Callable[[str, str], Awaitable[None]],
        owner: Callable[[str], Awaitable[str]],
        now: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._order = order
        self._owner = owner
        self._now = now
        self._pauses: dict[str, float] = {}
        self._looks: dict[str, int] = {}
        self._obtaining = SingleFlight()

    def _paused(self, parent: str) -> bool:
        return 0 < self._pauses.get(parent, 0.0) - self._now() <= PAUSE

    def may_have_one(self, host: str) -> bool:
        """
        Whether to read from the store if a host that is not in memory has a certificate: in a pause, of the
        first L{LOOKS} hosts alone, as strangers may ask for any number of them.
        """
        label, _, parent = host.partition(".")
        if not _LABEL.fullmatch(label):
            return False
        if self._paused(parent):
            self._looks[parent] = self._looks.get(parent, 0) + 1
            return self._looks[parent] <= LOOKS
        return True

    async def obtain(self, host: str) -> None:
        """
        Order a host's certificate, if that may be; why it may not is logged. The caller knows that its
        wildcard name has an owner, so these names are bounded.
        """
        label, _, parent = host.partition(".")
        if self._paused(parent) or not _LABEL.fullmatch(label):
            return
        try:
            await self._obtaining.do(host, self._obtain)
        except (CertificateFailed, StoreError, Unavailable) as error:
            if not self._paused(parent):
                self._looks[parent] = 0
            self._pauses[parent] = self._now() + PAUSE
            self.log.warn(
                "{host}, which a visitor asked for, has no certificate: {error}", host=host, error=error
            )

    async def _obtain(self, host: str) -> None:
        token = await self._owner(host)
        await self._limits.demanded(host.partition(".")[2], token)
        await self._order(host, token)
