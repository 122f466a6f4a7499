"""
Certificates from a CA by ACME: one a name, before its tunnel is announced.

txacme's AcmeIssuingService issues and renews, one service a CA (L{burrow.certificates.orders}), over the
client in L{burrow.certificates.acme}. Around it: the store, where certificates are kept for all nodes; a lock
a name, so that one node orders; limits; a second CA; and when to renew (L{burrow.certificates.plans}).

A certificate is asked for by L{AcmeCertificates.ready} alone, which the opening of a reserved name calls, and
for the base domain: no handshake ever causes an order.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    TimeoutError,
    ensureDeferred,
    gatherResults,
    succeed,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txacme.client import AuthorizationFailed
from zope.interface import implementer

from burrow.certificates.base import ICertificates, Whose, server_context
from burrow.certificates.issued import Issued, read_chain
from burrow.certificates.limits import at
from burrow.certificates.locks import Locks
from burrow.certificates.once import Once
from burrow.certificates.orders import ISSUE_TIMEOUT, Authority, Orders, explain
from burrow.certificates.plans import Plans
from burrow.certificates.problems import AcmeProblem
from burrow.certificates.responder import TLSALPNResponder
from burrow.certificates.sealed import SealedKey, Sealer
from burrow.certificates.tidy import Tidy
from burrow.certificates.unwritten import Unwritten
from burrow.errors import BurrowError, CertificateFailed, StoreError, Unavailable
from burrow.store.spaces import CERTIFICATES, ERRORS

CHECK_EVERY = 10.0
"""Seconds between two looks at what is to be renewed."""

LOOK_EVERY = 10.0
"""Seconds after which a certificate in use is looked up again: another node may have renewed it."""

MAX_CONTEXTS = 2048
ORDERS_AT_ONCE = 20
"""Certificates that are ordered for tunnels that open, at the same time; the others wait."""

RENEW_AT_ONCE = 10
"""Certificates that are renewed at the same time, the most urgent first."""

_LOOK_AT = 50
_LOCK_POLL = 0.2
_RETRY_FIRST, _RETRY_LIMIT = 60.0, 6 * 3600.0
_ERROR_TTL = 14 * 86_400.0


@implementer(ICertificates)
class AcmeCertificates:
    """
    @param domain: the base domain, which has a certificate, too.
    @param authorities: the CA; others are tried in their order where it does not answer or refuses.
    @param in_use: the names of the tunnels that are open here. @param whose: see L{Whose}.
    @param sealer: encrypts the private keys in the store. @param folder: where what the store does not take
        is kept meanwhile.
    @ivar tell: called with a word for programs and a sentence, for what people may want to know.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: Any,
        domain: str,
        authorities: list[Authority],
        in_use: Callable[[], Iterable[str]],
        whose: Whose,
        now: Callable[[], float] = time.time,
        sealer: Sealer | None = None,
        folder: Path | None = None,
    ) -> None:
        self.reactor = reactor
        self.store = store
        self.sealer = sealer or Sealer()
        self.now = now
        self.responder = TLSALPNResponder(store)
        self.tell: Callable[[str, str], None] = lambda kind, text: None
        self._domain = domain
        self._in_use = in_use
        self._whose = whose
        self._locks = Locks(reactor, store)
        self._known: OrderedDict[str, Issued] = OrderedDict()
        self._loading = Once()
        self._obtaining = Once()
        self._room = DeferredSemaphore(ORDERS_AT_ONCE)
        self._late: dict[str, Deferred[Any]] = {}
        self._plans = Plans(now)
        self._unwritten = Unwritten(store, folder)
        self._tidy = Tidy(reactor, store, self.sealer, now)
        self._renewing: dict[str, list[tuple[str, float]]] = {}
        self._retry: dict[str, tuple[float, float]] = {}
        self._orders = [
            Orders(self, authority, renews=number == 0, check_every=CHECK_EVERY)
            for number, authority in enumerate(authorities)
        ]

    def start(self) -> None:
        """Begin to renew, and to have a certificate for the base domain. The port listens already."""
        for name in self._unwritten.read():
            self._take(name, self._unwritten.get(name) or "")
        self._orders[0].service.startService()

    def stop(self) -> Deferred[None]:
        """See L{ICertificates}."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for orders in self._orders:
            await orders.stop()
        for issuing in list(self._late.values()):
            issuing.cancel()
        self._tidy.stop()
        await self._unwritten.write()
        self._locks.stop()

    # -- what is shown --------------------------------------------------------------------------------------

    def challenge(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}."""
        if name is None or not self._serves(name):
            return succeed(None)
        return Deferred.fromCoroutine(self.responder.context(name))

    def _serves(self, name: str) -> bool:
        """Whether it is the base domain or a label under it: nothing else has a certificate of its own."""
        return name == self._domain or name.partition(".")[2] == self._domain

    def context(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}. Names outside the base domain get the base domain's."""
        if name is None or not name.endswith("." + self._domain):
            name = self._domain
        elif not self._serves(name):
            return succeed(None)
        known = self._known.get(name)
        if known is None:
            return Deferred.fromCoroutine(self._context(name))
        if self.now() - known.looked > LOOK_EVERY or known.looked > self.now():
            known.looked = self.now()  # one at a time looks; all others go on with what there is
            ensureDeferred(self._load(name)).addErrback(self._not_looked, name)
        return succeed(known.context)

    async def _context(self, name: str) -> SSL.Context | None:
        try:
            if name != self._domain and not await self._whose(name):
                return None  # what is nobody's is asked for together: see burrow.server.lookups
            known = await self._load(name)
        except CertificateFailed as error:
            self.log.debug("{error}", error=error)
            return None
        return None if known is None else known.context

    def _not_looked(self, reason: Failure, name: str) -> None:
        self.log.warn("the certificate of {name} cannot be looked up: {error}", name=name, error=reason.value)

    async def _load(self, name: str) -> Issued | None:
        """The certificate that the store has now."""
        await self._loading.do(name, self._look_up)
        return self._known.get(name)

    async def _look_up(self, name: str) -> None:
        text: str | None = await self.store.note(CERTIFICATES, name)
        text = self._unwritten.get(name) or text
        if text is not None:
            self._take(name, text)
        elif name in self._known:
            # The store lost it, not we.
            await self.store.swap_note(CERTIFICATES, name, None, self._known[name].text)
            self._known[name].looked = self.now()

    def _take(self, name: str, text: str) -> None:
        """Show this certificate from now on. @raise CertificateFailed: its key is encrypted."""
        known = self._known.get(name)
        if known is None or known.text != text:
            try:
                key, chain = self.sealer.key(text), read_chain(text)
            except SealedKey as error:
                raise CertificateFailed(f"the certificate of {name}: {error}") from error
            except ValueError as error:
                self.log.error("the certificate of {name} in the store: {error}", name=name, error=error)
                return
            known = Issued(text, chain[0], server_context(key, chain))
            while len(self._known) >= MAX_CONTEXTS:
                self._known.popitem(last=False)
            self._known[name] = known
        self._plans.take(name, known.leaf)
        known.looked = self.now()
        self._known.move_to_end(name)

    # -- what is obtained -----------------------------------------------------------------------------------

    def ready(self, name: str) -> Deferred[None]:
        """See L{ICertificates}."""
        return Deferred.fromCoroutine(self._ready(name))

    async def _ready(self, name: str) -> None:
        known = self._known.get(name) or await self._load(name)
        if known is None or known.expires <= self.now():
            await self._obtaining.do(name, self._in_turn)

    async def _in_turn(self, name: str) -> None:
        """Obtain one, with no more than L{ORDERS_AT_ONCE} others. @raise Unavailable: that takes too long."""
        try:
            await self._room.acquire().addTimeout(ISSUE_TIMEOUT, self.reactor)
        except TimeoutError as error:
            raise Unavailable("the server orders many certificates; the agent tries again") from error
        try:
            await self._obtain(name)
        finally:
            self._room.release()

    async def _obtain(self, name: str) -> None:
        """Have a certificate issued, by this node or another. @raise CertificateFailed: there is none."""
        ends = self.reactor.seconds() + ISSUE_TIMEOUT
        while not await self._locks.take(name):
            # Another node orders it.
            known = await self._load(name)
            if known is not None and known.expires > self.now():
                return
            if self.reactor.seconds() > ends:
                raise CertificateFailed(f"another node still orders the certificate of {name}")
            await deferLater(self.reactor, _LOCK_POLL)
        try:
            known = await self._load(name)
            if known is None or known.expires <= self.now():
                await self._order(name, renewal=known is not None)
        finally:
            if name not in self._late:
                await self._locks.release(name)

    async def _order(self, name: str, *, renewal: bool) -> None:
        """Order from the CA, or from the next one. @raise CertificateFailed: none issues."""
        reasons = []
        for orders in self._orders:
            try:
                await self._order_from(orders, name, renewal=renewal)
            except CertificateFailed as error:
                reasons.append(str(error))
                if error.final:
                    break
            else:
                return
        raise CertificateFailed("; then ".join(reasons))

    async def _order_from(self, orders: Orders, name: str, *, renewal: bool) -> None:
        informed = renewal and await orders.informs()
        counted = await orders.limits.begin(name, renewal=renewal, informed=informed)
        orders.begin(name)
        try:
            await self._in_time(orders, name, orders.service.issue_cert(name))
        except Exception as error:
            await self._not_issued(orders, name, error, counted)
            if not isinstance(error, (BurrowError, AuthorizationFailed, TimeoutError, CancelledError)):
                self.log.failure("no certificate for {name}", name=name)
            if isinstance(error, StoreError):
                self.log.error("no certificate for {name}: {error}", name=name, error=error)
            failed = CertificateFailed(explain(name, error))
            # Another CA would say the same; or this one may issue yet, and two would be too many.
            failed.final = isinstance(error, AuthorizationFailed) or name in self._late
            raise failed from error

    def _in_time(self, orders: Orders, name: str, issuing: Deferred[Any]) -> Deferred[Any]:
        """
        Fires with C{issuing}'s outcome, or fails when it takes too long: then it is cancelled, unless the CA
        was asked to issue already. In that case it goes on, and so does the lock on the name.
        """
        outcome: Deferred[Any] = Deferred()

        def late() -> None:
            if orders.may_have_issued(name):
                self._late[name] = issuing
                outcome.errback(TimeoutError())
            else:
                issuing.cancel()

        def done(result: Any) -> None:
            if timer.active():
                timer.cancel()
            if not outcome.called:
                outcome.callback(result)
                return
            del self._late[name]
            if isinstance(result, Failure):
                self.log.warn("no certificate for {name}: {error}", name=name, error=result.value)
            ensureDeferred(self._locks.release(name))

        timer = self.reactor.callLater(ISSUE_TIMEOUT, late)
        issuing.addBoth(done)
        return outcome

    async def _not_issued(
        self, orders: Orders, name: str, error: Exception, counted: list[tuple[str, float]]
    ) -> None:
        """An order failed. It counts none the less, if the CA may have issued."""
        if not orders.may_have_issued(name):
            await orders.limits.undo(counted)
        if isinstance(error, AuthorizationFailed):
            await orders.limits.failed(name)
        elif isinstance(error, AcmeProblem) and error.kind == "rateLimited":
            await orders.limits.refused(name, error)
        if name not in self._late:
            await self.responder.forget(name)

    async def issued(self, name: str, text: str) -> None:
        """The service has a new certificate: keep it, show it from now on."""
        text = self.sealer.seal(text)
        self._take(name, text)
        try:
            await self.store.put_note(CERTIFICATES, name, text)
            await self.store.swap_note(ERRORS, name, await self.store.note(ERRORS, name), None)
        except StoreError as error:
            self._unwritten.keep(name, text)
            self.log.error(
                "{name}'s new certificate is not in the store yet, which is tried again: {error}",
                name=name,
                error=error,
            )
        self._retry.pop(name, None)
        plan = self._plans.take(name, self._known[name].leaf)
        if plan.renew_at <= self.now():
            # By our clock it is due at once, and so would the next one be.
            self._retry[name] = self.now() + _RETRY_LIMIT, _RETRY_LIMIT
            self.log.warn("{name}: the CA's certificate is old as it comes; is this clock right?", name=name)
        if self._renewing.pop(name, None) is not None:
            await self._locks.release(name)
        text = f"{name} has a certificate until {at(plan.expires)}"
        self.log.info("{text}", text=text)
        self.tell("certificate-issued", text)

    # -- what is renewed ------------------------------------------------------------------------------------

    async def due(self) -> dict[str, list[Any]]:
        """The names whose certificate is to be renewed now, by this node: as many as may be at once."""
        names = {self._domain, *self._in_use()}
        self._plans.keep(names)
        self._retry = {name: retry for name, retry in self._retry.items() if name in names}
        await self._unwritten.write()
        self._tidy.look(names)
        await self._load_those_without(names)
        await gatherResults([Deferred.fromCoroutine(self._ask_when(name)) for name in self._plans.to_ask()])
        due: dict[str, list[Any]] = {}
        waiting = [name for name in self._plans.due(names) if self._may_begin(name)]
        for name in waiting[:_LOOK_AT]:
            if len(self._renewing) >= RENEW_AT_ONCE:
                break
            try:
                if await self._begin_renewal(name):
                    due[name] = []
            except (StoreError, CertificateFailed) as error:
                self.log.warn("{name} cannot be renewed now: {error}", name=name, error=error)
            except Exception:
                self.log.failure("{name} cannot be renewed", name=name)  # and the others can
        return due

    async def _load_those_without(self, names: set[str]) -> None:
        """Names in use have their certificate looked up when they open; but for the base domain's."""
        for name in [name for name in names if self._plans.get(name) is None and self._may_begin(name)]:
            try:
                await self._load(name)
            except StoreError as error:
                self.log.warn("the certificate of {name} is not known: {error}", name=name, error=error)
                return
            except Exception as error:
                await self._postpone(name, str(error))

    def _may_begin(self, name: str) -> bool:
        """Whether nothing is under way for a name, and it need not wait."""
        if name in self._renewing or name in self._obtaining or name in self._late:
            return False
        waits = self._retry.get(name, (0.0, 0.0))[0] - self.now()
        return not 0 < waits <= _RETRY_LIMIT  # more is from before the clock was set back

    async def _begin_renewal(self, name: str) -> bool:
        """@return: whether the first CA is to be asked; then the name's lock is ours."""
        before = self._plans.get(name)
        if not await self._locks.take(name):
            return False
        kept = False
        try:
            await self._load(name)
            plan = self._plans.get(name)
            if plan is not None and plan is not before and self.now() < plan.renew_at:
                return False  # another node just has
            first = self._orders[0]
            informed = plan is not None and await first.informs()
            try:
                counted = await first.limits.begin(name, renewal=plan is not None, informed=informed)
            except CertificateFailed as error:
                if informed and plan is not None and self.now() < plan.usually:
                    self._plans.not_now(name)
                    self.log.warn("{name}: the CA wants it renewed again and again", name=name)
                    return False
                self._renewing[name] = []
                kept = True
                ensureDeferred(self._renew_elsewhere(name, str(error))).addErrback(self._not_postponed, name)
                return False
            first.begin(name)
            self._renewing[name] = counted
            kept = True
            return True
        finally:
            if not kept:
                await self._locks.release(name)

    async def _ask_when(self, name: str) -> None:
        """Ask the CA when it wants the certificate to be renewed."""
        plan = self._plans.get(name)
        window = None
        try:
            if plan is not None:
                window = await (await self._orders[0].directory()).renewal_window(plan.leaf)
        except (BurrowError, x509.ExtensionNotFound):
            pass
        except Exception:
            self.log.failure("the CA's word when to renew {name} cannot be read", name=name)
        self._plans.told(name, window)

    def not_renewed(self, failure: Failure, name: str) -> Deferred[None]:
        """What AcmeIssuingService calls a panic: a renewal failed."""
        return Deferred.fromCoroutine(self._not_renewed(failure, name))

    async def _not_renewed(self, failure: Failure, name: str) -> None:
        error = failure.value if isinstance(failure.value, Exception) else CancelledError()
        final = isinstance(error, AuthorizationFailed) or self._orders[0].may_have_issued(name)
        try:
            await self._not_issued(self._orders[0], name, error, self._renewing.get(name, []))
        except StoreError as away:
            self.log.warn("{name}: the failure is not counted: {error}", name=name, error=away)
        await self._renew_elsewhere(name, explain(name, error), [] if final else self._orders[1:])

    async def _renew_elsewhere(self, name: str, reason: str, others: list[Orders] | None = None) -> None:
        """The first CA gives nothing: try the others, or come back later."""
        try:
            for orders in self._orders[1:] if others is None else others:
                try:
                    await self._order_from(orders, name, renewal=True)
                    return
                except CertificateFailed as failed:
                    reason += f"; then {failed}"
                    if failed.final:
                        break
            await self._postpone(name, reason)
        finally:
            self._renewing.pop(name, None)  # gone, if another CA has issued
            if name not in self._late:
                await self._locks.release(name)

    def _not_postponed(self, failure: Failure, name: str) -> None:
        self.log.failure("{name} was not renewed", failure, name=name)

    async def _postpone(self, name: str, reason: str) -> None:
        plan = self._plans.get(name)
        first = _RETRY_FIRST if plan is None else min(_RETRY_FIRST, plan.lifetime / 50)
        _, before = self._retry.get(name, (0.0, first / 2))
        delay = min(before * 2, _RETRY_LIMIT)
        self._retry[name] = self.now() + random.uniform(delay / 2, delay), delay
        state = "there is none yet" if plan is None else f"the one there is ends {at(plan.expires)}"
        self.log.error(
            "no new certificate for {name}: {reason}; {state}; tried again {again}",
            name=name,
            reason=reason,
            state=state,
            again=at(self._retry[name][0]),
        )
        self.tell("certificate-failed", f"no new certificate for {name}: {reason}")
        try:
            await self.store.put_note(ERRORS, name, reason, _ERROR_TTL)
        except StoreError as error:
            self.log.warn("the reason is not in the store: {error}", error=error)

    def known_leaf(self, name: str) -> x509.Certificate | None:
        """The certificate that a name has now."""
        known = self._known.get(name)
        if known is not None:
            return known.leaf
        plan = self._plans.get(name)
        return None if plan is None else plan.leaf
