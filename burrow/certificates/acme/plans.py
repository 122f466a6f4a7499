"""
When the certificates of the names in use are renewed: at two thirds of their lifetime, or when the CA wants
it (RFC 9773). No I/O.

A plan is kept as long as the name is in use, also when its certificate's TLS context is not in memory: so
with more names than contexts, no certificate is loaded, and no CA asked, more often.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import attr
from cryptography import x509

from burrow.certificates.issued import renewal_time
from burrow.clock import HOUR

ASK_AT_ONCE = 20
"""Requests to the CA for renewal information, in one check of what is due."""

ASK_AGAIN = 6 * HOUR
"""Seconds until the CA is asked again, if it has no renewal information or did not answer."""

_LAST_PART = 1 / 20


@attr.define
class Plan:
    """
    The plan of one name.

    @ivar leaf: the certificate it is about. @ivar usually: when to renew if the CA does not say; seconds
    since the epoch, as all here. @ivar renew_at: when to renew. @ivar ask_at: when to ask the CA again.
    """

    leaf: x509.Certificate
    usually: float
    renew_at: float
    ask_at: float = 0.0

    @property
    def expires(self) -> float:
        """When the certificate expires."""
        return self.leaf.not_valid_after_utc.timestamp()

    @property
    def lifetime(self) -> float:
        """Seconds."""
        return self.expires - self.leaf.not_valid_before_utc.timestamp()


class Plans:
    """Bounded by the names in use. @param now: seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._plans: dict[str, Plan] = {}

    def get(self, name: str) -> Plan | None:
        """The plan of a name that has a certificate."""
        return self._plans.get(name)

    def take(self, name: str, leaf: x509.Certificate) -> Plan:
        """A name has this certificate now: make a plan, unless there is one for this certificate."""
        known = self._plans.get(name)
        if known is None or known.leaf != leaf:
            usually = renewal_time(leaf)
            known = self._plans[name] = Plan(leaf, usually, usually)
        return known

    def keep(self, names: set[str]) -> None:
        """Drop the plans of all names that are not in C{names}."""
        self._plans = {name: plan for name, plan in self._plans.items() if name in names}

    def to_ask(self) -> list[str]:
        """The names about which to ask the CA now, those that have waited longest first."""
        now = self._now()
        waiting = [name for name, plan in self._plans.items() if plan.ask_at <= now]
        return sorted(waiting, key=lambda name: self._plans[name].ask_at)[:ASK_AT_ONCE]

    def set_window(self, name: str, window: tuple[float, float, float] | None) -> None:
        """
        Change a plan by the CA's renewal information.

        @param window: begin and end of the time, and in how many seconds to ask again; None if it has none.
        """
        plan = self._plans.get(name)
        if plan is None:
            return
        if window is None:
            plan.renew_at = plan.usually
            plan.ask_at = self._now() + random.uniform(0.9, 1.0) * ASK_AGAIN
            return
        start, end, again = window
        plan.renew_at = min(random.uniform(start, end), plan.expires - plan.lifetime * _LAST_PART)
        plan.ask_at = self._now() + again

    def postpone(self, name: str) -> None:
        """Renew at the usual time instead of the CA's, which has wanted renewals too often."""
        plan = self._plans[name]
        plan.renew_at = plan.usually
        plan.ask_at = self._now() + ASK_AGAIN

    def due(self, names: Iterable[str]) -> list[str]:
        """Those of C{names} that are to be renewed now, or have no certificate; the most urgent first."""
        now, plans = self._now(), self._plans
        due = [name for name in names if name not in plans or plans[name].renew_at <= now]
        return sorted(due, key=lambda name: plans[name].expires if name in plans else 0.0)
