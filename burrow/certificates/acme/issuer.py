"""
Certificates from a CA by ACME: one for each name, before its tunnel is announced.

L{AcmeCertificates} puts the parts together: the cache (L{burrow.certificates.acme.cache}), the orders
(L{burrow.certificates.acme.orders}) and the renewals (L{burrow.certificates.acme.renewals}).

A first certificate is ordered by L{AcmeCertificates.ready}, which is called when a tunnel opens on a reserved
name, and for the base domain. No handshake causes an order, but for hosts of wildcard names
(L{burrow.certificates.acme.demand}).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.certificates.acme.authority import Authority, CertificateAuthority
from burrow.certificates.acme.cache import Cache
from burrow.certificates.acme.demand import Demand, possible
from burrow.certificates.acme.locks import Locks
from burrow.certificates.acme.orders import ISSUE_TIMEOUT, Orders
from burrow.certificates.acme.plans import Plans
from burrow.certificates.acme.renewals import Renewals
from burrow.certificates.acme.responder import TLSALPNResponder
from burrow.certificates.acme.single_flight import SingleFlight
from burrow.certificates.acme.tidy import Tidy
from burrow.certificates.acme.turns import Turns
from burrow.certificates.acme.unwritten import Unwritten
from burrow.certificates.base import HasOwner, ICertificates, wildcard_of
from burrow.certificates.sealed import Sealer
from burrow.errors import CertificateFailed
from burrow.store.base import IStore
from burrow.wording import at

CHECK_EVERY = 10.0
"""Seconds between two checks of what is to be renewed."""

RELOAD_EVERY = 10.0
"""Seconds after which a certificate in use is read from the store again: another node may have renewed it."""

_LOCK_POLL = 0.2


@implementer(ICertificates)
class AcmeCertificates:
    """
    @param domain: the base domain, which has a certificate, too.
    @param authorities: the CAs, in the order in which they are asked.
    @param in_use: returns the names of the tunnels that are open here. @param has_owner: see L{HasOwner}.
    @param now: seconds since the epoch. @param sealer: encrypts the private keys in the store.
    @param folder: where certificates are kept while the store cannot be written; None for memory alone.
    @param tell: called with a word for programs and a sentence, when a certificate was issued or was not.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: IStore,
        domain: str,
        authorities: list[Authority],
        in_use: Callable[[], Iterable[str]],
        has_owner: HasOwner,
        now: Callable[[], float] = time.time,
        sealer: Sealer | None = None,
        folder: Path | None = None,
        tell: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._domain = domain
        self._in_use = in_use
        self._has_owner = has_owner
        self._now = now
        self._tell = tell
        sealer = sealer or Sealer()
        plans = Plans(now)
        self._obtaining = SingleFlight()
        self._turns = Turns(reactor)
        self._responder = TLSALPNResponder(store)
        self._locks = Locks(reactor, store)
        self._unwritten = Unwritten(store, folder)
        self._tidy = Tidy(reactor, store, sealer, now)
        self.cache = Cache(reactor, store, sealer, self._unwritten, plans, now)
        self._authorities = [
            CertificateAuthority(
                reactor,
                store,
                authority,
                sealer,
                self._responder,
                now,
                leaf=self.cache.leaf,
                issued=self._issued,
                check=self._check,
                check_every=CHECK_EVERY,
            )
            for authority in authorities
        ]
        self._demand = Demand(self._authorities[0].limits, self._order, self._owner_of, now)
        self._orders = Orders(reactor, self._authorities, self._locks, self._responder)
        self.renewals = Renewals(
            store,
            self.cache,
            plans,
            self._locks,
            self._orders,
            self._authorities[0],
            self._obtaining.__contains__,
            tell,
            now,
        )

    def start(self) -> None:
        """See L{ICertificates}: begin the checks, of which the first orders the base domain's certificate."""
        self.cache.start()
        self._authorities[0].service.startService()

    def stop(self) -> Deferred[None]:
        """See L{ICertificates}."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for authority in self._authorities:
            await authority.stop()
        self._orders.stop()
        self._tidy.stop()
        await self._unwritten.write()
        self._locks.stop()

    async def _check(self) -> None:
        """Called every L{CHECK_EVERY} seconds; the next call waits until this one is done."""
        used = set(self._in_use())
        # Of a wildcard name, the hosts that visitors have asked for.
        wild = {name for name in self.cache.names if wildcard_of(name, self._domain) in used}
        names = {self._domain, *wild, *(name for name in used if not name.startswith("*."))}
        await self._unwritten.write()
        self._tidy.start(names)
        await self.renewals.check(names)

    async def _issued(self, name: str, text: str) -> None:
        """A CA has issued: key and chain in PEM form."""
        plan = await self.cache.save(name, text)
        self.renewals.issued(name, plan)
        text = f"{name} has a certificate until {at(plan.expires)}"
        self.log.info("{text}", text=text)
        self._tell("certificate-issued", text)

    # -- handshakes -----------------------------------------------------------------------------------------

    def challenge(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}."""
        if name is None or (self._is_under(name) and not self._serves(name)):
            return succeed(None)
        return Deferred.fromCoroutine(self._responder.context(name))

    def _serves(self, name: str) -> bool:
        """Whether it is the base domain or one or two labels under it: of its names, no others have one."""
        parent = name.partition(".")[2]
        return self._domain in (name, parent) or bool(wildcard_of(name, self._domain))

    def _is_under(self, name: str) -> bool:
        return name.endswith(f".{self._domain}")

    def context(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}. Names outside the base domain that are nobody's get the base domain's."""
        if not name:
            name = self._domain
        elif self._is_under(name) and not self._serves(name):
            return succeed(None)
        known = self.cache.get(name)
        if known is None:
            return Deferred.fromCoroutine(self._context(name))
        if self._now() - known.loaded > RELOAD_EVERY or known.loaded > self._now():
            known.loaded = self._now()  # one handshake reloads it; others go on with what there is
            ensureDeferred(self.cache.load(name)).addErrback(self._not_loaded, name)
        return succeed(known.context)

    async def _context(self, name: str) -> SSL.Context | None:
        try:
            if name != self._domain and not await self._has_owner(name):
                return None if self._is_under(name) else await self.context(None)
            wild = wildcard_of(name, self._domain)
            if wild and not possible(name):
                return None
            known = await (self.cache.find(name) if wild else self.cache.load(name))
            if wild and not self.cache.valid(known):
                await self._demand.obtain(name)
                known = self.cache.get(name)  # perhaps the one that has expired
        except CertificateFailed as error:
            self.log.debug("a handshake for {name} gets no certificate: {error}", name=name, error=error)
            return None
        return None if known is None else known.context

    def _not_loaded(self, reason: Failure, name: str) -> None:
        self.log.warn(
            "cannot read the certificate of {name} from the store, the one read before is used: {error}",
            name=name,
            error=reason.value,
        )

    # -- tunnels that open ----------------------------------------------------------------------------------

    def ready(self, name: str, token: str = "") -> Deferred[None]:
        """See L{ICertificates}."""
        return Deferred.fromCoroutine(self._ready(name, token))

    async def _ready(self, name: str, token: str) -> None:
        if name.startswith("*."):
            return  # its hosts get theirs when they are asked for
        known = self.cache.get(name) or await self.cache.load(name)
        if self.cache.valid(known):
            return
        try:
            await self._order(name, token)
        except CertificateFailed as error:
            await self.renewals.tell_failed(name, str(error))
            raise

    async def _order(self, name: str, token: str) -> bool:
        """
        Obtain a certificate when it is its turn. @return: see L{_obtain}. @raise Unavailable: too late.
        """
        return await self._obtaining.do(name, partial(self._in_turn, token=token))

    async def _in_turn(self, name: str, token: str) -> bool:
        return await self._turns.take(token, lambda: self._obtain(name, token))

    async def _owner_of(self, host: str) -> str:
        """The id of the token that owns the wildcard name of a host; empty if that is not known."""
        wild = wildcard_of(host, self._domain).removesuffix(f".{self._domain}")
        reservation = await self._store.reservation(wild)
        return "" if reservation is None else str(reservation.token)

    async def _obtain(self, name: str, token: str) -> bool:
        """
        Order a certificate, or wait for the node that does.

        @return: whether this node asked a CA. @raise CertificateFailed: there is none.
        """
        ends = self._reactor.seconds() + ISSUE_TIMEOUT
        while not await self._locks.take(name):
            if self.cache.valid(await self.cache.load(name)):
                return False
            if self._reactor.seconds() > ends:
                raise CertificateFailed(f"another node still orders the certificate of {name}")
            await deferLater(self._reactor, _LOCK_POLL)
        try:
            known = await self.cache.load(name)
            if self.cache.valid(known):
                return False
            await self._orders.order(name, renewal=known is not None, token=token)
            return True
        finally:
            await self._orders.release(name)
