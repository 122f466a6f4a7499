"""
Certificates from a CA by ACME: one a name, before its tunnel is announced.

txacme's AcmeIssuingService issues and renews, one service a CA (L{burrow.certificates.orders}), over the
client in L{burrow.certificates.acme}. Around it: the store, where certificates are kept for all nodes; a lock
a name, so that one node orders; limits; a second CA; and when to renew: as the CA wants it (RFC 9773), else
at two thirds of the lifetime.

A certificate is asked for by L{AcmeCertificates.ready} alone, which the opening of a reserved name calls, and
for the base domain: no handshake ever causes an order.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txacme.client import AuthorizationFailed
from zope.interface import implementer

from burrow.certificates.acme import AcmeProblem
from burrow.certificates.base import ICertificates, server_context
from burrow.certificates.issued import Issued, read_certificate, renewal_time
from burrow.certificates.limits import at
from burrow.certificates.locks import Locks
from burrow.certificates.once import Once
from burrow.certificates.orders import ISSUE_TIMEOUT, Authority, Orders, explain
from burrow.certificates.responder import TLSALPNResponder
from burrow.errors import BurrowError, StoreError
from burrow.mux.control import CertificateFailed
from burrow.store.spaces import CERTIFICATES, ERRORS

CHECK_EVERY = 10.0
"""Seconds between two looks at what is to be renewed."""

LOOK_EVERY = 10.0
"""Seconds after which a certificate in use is looked up again: another node may have renewed it."""

MAX_CONTEXTS = 2048
_LOCK_POLL = 0.2
_RETRY_FIRST, _RETRY_LIMIT = 60.0, 6 * 3600.0
_ERROR_TTL = 14 * 86_400.0


@implementer(ICertificates)
class AcmeCertificates:
    """
    @param domain: the base domain, which has a certificate, too.
    @param authorities: the CA; others are tried in their order where it does not answer or refuses.
    @param in_use: the names of the tunnels that are open here.
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
        now: Callable[[], float] = time.time,
    ) -> None:
        self.reactor = reactor
        self.store = store
        self.now = now
        self.responder = TLSALPNResponder(store)
        self.tell: Callable[[str, str], None] = lambda kind, text: None
        self._domain = domain
        self._in_use = in_use
        self._locks = Locks(reactor, store)
        self._known: OrderedDict[str, Issued] = OrderedDict()
        self._loading = Once()
        self._obtaining = Once()
        self._renewing: dict[str, list[tuple[str, float]]] = {}
        self._retry: dict[str, tuple[float, float]] = {}
        self._orders = [
            Orders(self, authority, renews=number == 0, check_every=CHECK_EVERY)
            for number, authority in enumerate(authorities)
        ]

    def start(self) -> None:
        """Begin to renew, and to have a certificate for the base domain. The port listens already."""
        self._orders[0].service.startService()

    def stop(self) -> Deferred[None]:
        """See L{ICertificates}."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for orders in self._orders:
            await orders.stop()
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
        known = await self._load(name)
        return None if known is None else known.context

    def _not_looked(self, reason: Failure, name: str) -> None:
        self.log.warn("the certificate of {name} cannot be looked up: {error}", name=name, error=reason.value)

    async def _load(self, name: str) -> Issued | None:
        """The certificate that the store has now."""
        await self._loading.do(name, self._look_up)
        return self._known.get(name)

    async def _look_up(self, name: str) -> None:
        text: str | None = await self.store.note(CERTIFICATES, name)
        if text is not None:
            self._take(name, text)
        elif name in self._known:
            # The store lost it, not we.
            await self.store.swap_note(CERTIFICATES, name, None, self._known[name].text)
            self._known[name].looked = self.now()

    def _take(self, name: str, text: str) -> None:
        known = self._known.get(name)
        if known is None or known.text != text:
            try:
                key, chain = read_certificate(text)
            except ValueError as error:
                self.log.error("the certificate of {name} in the store: {error}", name=name, error=error)
                return
            known = Issued(text, chain[0], server_context(key, chain), renewal_time(chain[0]))
            while len(self._known) >= MAX_CONTEXTS:
                self._known.popitem(last=False)
            self._known[name] = known
        known.looked = self.now()
        self._known.move_to_end(name)

    # -- what is obtained -----------------------------------------------------------------------------------

    def ready(self, name: str) -> Deferred[None]:
        """See L{ICertificates}."""
        return Deferred.fromCoroutine(self._ready(name))

    async def _ready(self, name: str) -> None:
        known = self._known.get(name) or await self._load(name)
        if known is None or known.expires <= self.now():
            await self._obtaining.do(name, self._obtain)

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
        counted = await orders.limits.begin(name, renewal=renewal)
        issuing: Deferred[Any] = orders.service.issue_cert(name)
        try:
            await issuing.addTimeout(ISSUE_TIMEOUT, self.reactor)
        except Exception as error:
            await orders.limits.undo(counted)
            await self._failed(orders, name, error)
            if not isinstance(error, (BurrowError, AuthorizationFailed, TimeoutError, CancelledError)):
                self.log.failure("no certificate for {name}", name=name)
            failed = CertificateFailed(explain(name, error))
            failed.final = isinstance(error, AuthorizationFailed)
            raise failed from error

    async def _failed(self, orders: Orders, name: str, error: Exception) -> None:
        if isinstance(error, AuthorizationFailed):
            await orders.limits.failed(name)
        elif isinstance(error, AcmeProblem) and error.kind == "rateLimited":
            await orders.limits.refused(error.until)
        await self.responder.forget(name)

    async def issued(self, name: str, text: str) -> None:
        """The service has a new certificate: keep it, show it from now on."""
        await self.store.put_note(CERTIFICATES, name, text)
        self._take(name, text)
        self._retry.pop(name, None)
        if self._known[name].renew_at <= self.now():
            # By our clock it is due at once, and so would the next one be.
            self._retry[name] = self.now() + _RETRY_LIMIT, _RETRY_LIMIT
            self.log.warn("{name}: the CA's certificate is old as it comes; is this clock right?", name=name)
        await self.store.swap_note(ERRORS, name, await self.store.note(ERRORS, name), None)
        if self._renewing.pop(name, None) is not None:
            await self._locks.release(name)
        text = f"{name} has a certificate until {at(self._known[name].expires)}"
        self.log.info("{text}", text=text)
        self.tell("certificate-issued", text)

    # -- what is renewed ------------------------------------------------------------------------------------

    async def due(self) -> dict[str, list[Any]]:
        """The names whose certificate is to be renewed now, by this node."""
        due: dict[str, list[Any]] = {}
        for name in {self._domain, *self._in_use()}:
            try:
                if await self._is_due(name):
                    due[name] = []
            except (StoreError, CertificateFailed) as error:
                self.log.warn("{name} cannot be renewed now: {error}", name=name, error=error)
        return due

    async def _is_due(self, name: str) -> bool:
        if name in self._renewing or name in self._obtaining:
            return False
        waits = self._retry.get(name, (0.0, 0.0))[0] - self.now()
        if 0 < waits <= _RETRY_LIMIT:  # more is from before the clock was set back
            return False
        known = self._known.get(name) or await self._load(name)
        if known is not None:
            await self._ask_when(known)
            if self.now() < known.renew_at:
                return False
        if not await self._locks.take(name):
            return False
        again = await self._load(name)
        if again is not None and again is not known and self.now() < again.renew_at:
            await self._locks.release(name)  # another node just has
            return False
        try:
            self._renewing[name] = await self._orders[0].limits.begin(name, renewal=known is not None)
        except CertificateFailed as error:
            await self._locks.release(name)
            await self._postpone(name, str(error))
            return False
        return True

    async def _ask_when(self, known: Issued) -> None:
        """Ask the CA when it wants the certificate to be renewed, as often as it says."""
        if self.now() < known.ask_at:
            return
        known.ask_at = self.now() + _RETRY_LIMIT
        try:
            window = await (await self._orders[0].directory()).renewal_window(known.leaf)
        except (BurrowError, x509.ExtensionNotFound):
            return
        if window is not None:
            start, end, again = window
            known.renew_at = random.uniform(start, end)
            known.ask_at = self.now() + again

    def not_renewed(self, failure: Failure, name: str) -> Deferred[None]:
        """What AcmeIssuingService calls a panic: a renewal failed."""
        return Deferred.fromCoroutine(self._not_renewed(failure, name))

    async def _not_renewed(self, failure: Failure, name: str) -> None:
        error = failure.value
        reason = explain(name, error)
        try:
            await self._orders[0].limits.undo(self._renewing[name])
            if isinstance(error, Exception):
                await self._failed(self._orders[0], name, error)
            others = self._orders[1:] if not isinstance(error, AuthorizationFailed) else []
            for orders in others:
                try:
                    await self._order_from(orders, name, renewal=True)
                    return
                except CertificateFailed as failed:
                    reason += f"; then {failed}"
            await self._postpone(name, reason)
        finally:
            self._renewing.pop(name, None)  # gone, if another CA has issued
            await self._locks.release(name)

    async def _postpone(self, name: str, reason: str) -> None:
        known = self._known.get(name)
        first = _RETRY_FIRST if known is None else min(_RETRY_FIRST, known.lifetime / 50)
        _, before = self._retry.get(name, (0.0, first / 2))
        delay = min(before * 2, _RETRY_LIMIT)
        self._retry[name] = self.now() + random.uniform(delay / 2, delay), delay
        state = "there is none yet" if known is None else f"the one there is ends {at(known.expires)}"
        self.log.error(
            "no new certificate for {name}: {reason}; {state}; tried again {again}",
            name=name,
            reason=reason,
            state=state,
            again=at(self._retry[name][0]),
        )
        self.tell("certificate-failed", f"no new certificate for {name}: {reason}")
        await self.store.put_note(ERRORS, name, reason, _ERROR_TTL)

    def known_leaf(self, name: str) -> x509.Certificate | None:
        """The certificate that a name has now."""
        known = self._known.get(name)
        return None if known is None else known.leaf
