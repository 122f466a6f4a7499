"""
Renews the certificates of the names in use, and obtains those that are missing, a few at a time.

L{Renewals.check} is called every few seconds. It finds what is due by L{burrow.certificates.acme.plans}, and
orders as L{burrow.certificates.acme.orders} does for tunnels. After a failure the next attempt waits, longer
each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cryptography import x509
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from burrow.certificates.acme.authority import CertificateAuthority
from burrow.certificates.acme.cache import Cache
from burrow.certificates.acme.locks import Locks
from burrow.certificates.acme.orders import RENEWAL_TIMEOUT, Orders, RenewedTooOften
from burrow.certificates.acme.plans import Plan, Plans
from burrow.clock import DAY, HOUR
from burrow.errors import BurrowError, CertificateFailed, StoreError
from burrow.store.base import IStore
from burrow.store.spaces import ERRORS
from burrow.wording import at

RENEW_AT_ONCE = 10
"""Certificates that are renewed at the same time, the most urgent first."""

RETRY_FIRST, RETRY_LIMIT = 60.0, 6 * HOUR
"""Seconds until a failed renewal is tried again: first, and at most."""

_NAMES_AT_ONCE = 50
_ERROR_TTL = 14 * DAY


class Renewals:
    """
    @param first: the CA that may say when to renew. @param ordering: whether a first order for a name runs.
    @param tell: called with a word for programs and a sentence, when a renewal fails.
    @param now: seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        store: IStore,
        cache: Cache,
        plans: Plans,
        locks: Locks,
        orders: Orders,
        first: CertificateAuthority,
        ordering: Callable[[str], bool],
        tell: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._cache = cache
        self._plans = plans
        self._locks = locks
        self._orders = orders
        self._first = first
        self._ordering = ordering
        self._tell = tell
        self._now = now
        self._renewing: set[str] = set()
        self._retry: dict[str, tuple[float, float]] = {}

    async def check(self, names: set[str]) -> None:
        """
        Renew what is due, as much as may be at once. Fires when those orders have ended.

        @param names: the names in use; what is remembered of others is dropped.
        """
        self._plans.keep(names)
        self._retry = {name: retry for name, retry in self._retry.items() if name in names}
        await self._load_missing(names)
        await gatherResults([Deferred.fromCoroutine(self.ask_when(name)) for name in self._plans.to_ask()])
        due = [name for name in self._plans.due(names) if self._may_begin(name)]
        begun = []
        for name in due[:_NAMES_AT_ONCE]:
            if len(self._renewing) >= RENEW_AT_ONCE:
                break
            if await self._lock(name):
                self._renewing.add(name)
                begun.append(Deferred.fromCoroutine(self._renew(name)))
        await gatherResults(begun)

    async def _load_missing(self, names: set[str]) -> None:
        """
        Load the certificates of names without a plan. Others than the base domain's were loaded when their
        tunnel opened.
        """
        for name in [name for name in names if self._plans.get(name) is None and self._may_begin(name)]:
            try:
                await self._cache.load(name)
            except StoreError as error:
                self.log.warn(
                    "cannot load the certificate of {name}, the next check tries again: {error}",
                    name=name,
                    error=error,
                )
                return
            except Exception as error:
                await self._postpone(name, str(error))

    def _may_begin(self, name: str) -> bool:
        """Whether no order for a name runs, and it need not wait after a failure."""
        if name in self._renewing or name in self._orders or self._ordering(name):
            return False
        waits = self._retry.get(name, (0.0, 0.0))[0] - self._now()
        return not 0 < waits <= RETRY_LIMIT  # a longer wait is from before the clock was set back

    async def ask_when(self, name: str) -> None:
        """Ask the first CA when it wants the certificate to be renewed, and change the plan."""
        plan = self._plans.get(name)
        window = None
        try:
            if plan is not None:
                window = await (await self._first.directory()).renewal_window(plan.leaf)
        except (BurrowError, x509.ExtensionNotFound):
            pass
        except Exception:
            self.log.failure(
                "cannot read the CA's renewal information about {name}, which is renewed at its usual time",
                name=name,
            )
        self._plans.set_window(name, window)

    async def _lock(self, name: str) -> bool:
        """Take the name's lock. @return: whether it is ours, and the name still is to be renewed."""
        before = self._plans.get(name)
        kept = False
        try:
            if not await self._locks.take(name):
                return False
            try:
                await self._cache.load(name)
                plan = self._plans.get(name)
                # Another node may have renewed it just now.
                kept = plan is None or plan is before or self._now() >= plan.renew_at
            finally:
                if not kept:
                    await self._locks.release(name)
        except (StoreError, CertificateFailed) as error:
            self.log.warn(
                "cannot renew the certificate of {name}, the next check tries again: {error}",
                name=name,
                error=error,
            )
        except Exception:
            self.log.failure("cannot renew the certificate of {name}, the next check tries again", name=name)
        return kept

    async def _renew(self, name: str) -> None:
        """Order; the name's lock is ours."""
        plan = self._plans.get(name)
        early = plan is not None and self._now() < plan.usually
        try:
            await self._orders.order(name, renewal=plan is not None, early=early, within=RENEWAL_TIMEOUT)
        except RenewedTooOften:
            self._plans.postpone(name)
            self.log.warn(
                "the CA wants {name} to be renewed again and again: it is renewed at its usual time",
                name=name,
            )
        except CertificateFailed as error:
            await self._postpone(name, str(error))
        except StoreError as error:
            self.log.warn(
                "cannot renew the certificate of {name}, the next check tries again: {error}",
                name=name,
                error=error,
            )
        except Exception:
            self.log.failure("cannot renew the certificate of {name}, the next check tries again", name=name)
        finally:
            self._renewing.discard(name)
            await self._orders.release(name)

    async def _postpone(self, name: str, reason: str) -> None:
        """Try again later, and show why to the operator: in the log, and in the store."""
        plan = self._plans.get(name)
        first = RETRY_FIRST if plan is None else min(RETRY_FIRST, plan.lifetime / 50)
        _, before = self._retry.get(name, (0.0, first / 2))
        delay = min(before * 2, RETRY_LIMIT)
        self._retry[name] = self._now() + random.uniform(delay / 2, delay), delay
        state = "it has none yet" if plan is None else f"the one that it has expires {at(plan.expires)}"
        self.log.error(
            "no new certificate for {name}: {reason}; {state}; the next attempt is at {again}",
            name=name,
            reason=reason,
            state=state,
            again=at(self._retry[name][0]),
        )
        await self._show(name, reason)

    async def tell_failed(self, name: str, reason: str) -> None:
        """
        A first certificate was not issued, as its agent is told: show the operator, likewise, and once,
        though the agent asks again.
        """
        try:
            shown = await self._store.note(ERRORS, name)
        except StoreError:
            shown = None
        if shown != reason:
            self.log.warn("no certificate for {name}: {reason}", name=name, reason=reason)
            await self._show(name, reason)

    async def _show(self, name: str, reason: str) -> None:
        self._tell("certificate-failed", f"no new certificate for {name}: {reason}")
        try:
            await self._store.put_note(ERRORS, name, reason, _ERROR_TTL)
        except StoreError as error:
            self.log.warn(
                "the reason why {name} has no new certificate cannot be written to the store: {error}",
                name=name,
                error=error,
            )

    def issued(self, name: str, plan: Plan) -> None:
        """A name has a new certificate."""
        self._retry.pop(name, None)
        if plan.renew_at <= self._now():
            # By our clock it is due at once, and so would the next one be.
            self._retry[name] = self._now() + RETRY_LIMIT, RETRY_LIMIT
            self.log.warn(
                "the new certificate of {name} is due for renewal already: is this machine's clock right?",
                name=name,
            )
