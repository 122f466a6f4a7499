"""
Certificates of the hosts under a wildcard name, as x.blog.example.com of C{*.blog}: no CA gives one for all
of them by a challenge that Burrow answers, so each is ordered when a visitor asks for it.

Visitors are strangers, and choose the hosts: so few are ordered (L{burrow.certificates.acme.limits}), and
after a refusal none for a while. Hosts that have a certificate are found all the time, however many others
are asked for: the store is asked about all that wait together (L{burrow.batches}), and not about a few of
them alone, since nobody can tell a stranger's host from one with a certificate before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable

from twisted.logger import Logger

from burrow.certificates.acme.limits import DEMANDED, Limits
from burrow.certificates.acme.single_flight import SingleFlight
from burrow.errors import CertificateFailed, StoreError, Unavailable

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PAUSE = 60.0
"""Seconds for which nothing more is ordered for a wildcard name after an order was refused."""


def possible(host: str) -> bool:
    """Whether a host under a wildcard name may have a certificate: its first label is one."""
    return _LABEL.fullmatch(host.partition(".")[0]) is not None


class Demand:
    """
    @param order: orders the certificate of a host, the second argument is its owner's token. Returns whether
        a CA was asked: another node may have obtained it meanwhile.
    @param owner: returns the id of the token that owns a host's wildcard name; empty if nobody is known to.
    @param now: seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        limits: Limits,
        order: Callable[[str, str], Awaitable[bool]],
        owner: Callable[[str], Awaitable[str]],
        now: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._order = order
        self._owner = owner
        self._now = now
        self._pauses: dict[str, float] = {}
        self._orders: Counter[str] = Counter()
        self._obtaining = SingleFlight()

    def _paused(self, parent: str) -> bool:
        return 0 < self._pauses.get(parent, 0.0) - self._now() <= PAUSE

    async def obtain(self, host: str) -> None:
        """
        Order the certificate of a L{possible} host, if that may be; why it may not is logged. No more hosts
        of a name are ordered at once than it may get a day. The caller knows that its wildcard name has an
        owner, so these names are bounded.
        """
        parent = host.partition(".")[2]
        full = host not in self._obtaining and self._orders[parent] >= DEMANDED
        if not full and not self._paused(parent):
            await self._obtaining.do(host, self._obtain)

    async def _obtain(self, host: str) -> None:
        # A refusal is told here, and not to those who asked: all of them may have left.
        parent = host.partition(".")[2]
        self._orders[parent] += 1
        try:
            await self._count_and_order(host)
        except (CertificateFailed, StoreError, Unavailable) as error:
            self._pauses[parent] = self._now() + PAUSE
            self.log.warn(
                "{host}, which a visitor asked for, has no certificate: {error}", host=host, error=error
            )
        finally:
            self._orders[parent] -= 1
            if not self._orders[parent]:
                del self._orders[parent]

    async def _count_and_order(self, host: str) -> None:
        token = await self._owner(host)
        # Before its turn comes: of many hosts that are asked for at once, few wait for one.
        counted = await self._limits.demanded(host.partition(".")[2], token)
        spent = False
        try:
            spent = await self._order(host, token)
        except CertificateFailed as error:
            spent = error.spent
            raise
        finally:
            if not spent:
                await self._limits.undo(counted)
