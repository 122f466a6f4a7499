"""
Orders certificates, first ones and renewals alike: L{Orders.order} asks each CA in turn until one issues.

An order is counted before it is made (L{burrow.certificates.acme.limits}); it does not count if the CA
certainly issued nothing. The caller holds the lock on the name (L{burrow.certificates.acme.locks}), so that
only one of several nodes orders.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txacme.client import AuthorizationFailed, NoSupportedChallenges

from burrow.certificates.acme.authority import CertificateAuthority
from burrow.certificates.acme.limits import Counted
from burrow.certificates.acme.locks import Locks
from burrow.certificates.acme.problems import AcmeProblem
from burrow.certificates.acme.responder import TLSALPNResponder
from burrow.clock import cancel
from burrow.errors import BurrowError, CertificateFailed, StoreError
from burrow.wording import at

ISSUE_TIMEOUT = 50.0
"""Seconds that the order for a tunnel may take: less than an agent waits for its tunnel."""

RENEWAL_TIMEOUT = 600.0
"""Seconds that a renewal may take: more than all its steps may, each of which has a limit of its own."""


class RenewedTooOften(CertificateFailed):
    """A CA wants a certificate to be renewed early, and has wanted so too often."""


def explain(name: str, error: BaseException | None, within: float = ISSUE_TIMEOUT) -> str:
    """
    Why there is no certificate, for the person who wanted it.

    @param within: the time limit of the order, in seconds.
    """
    if isinstance(error, AuthorizationFailed):
        details = "; ".join(str(one) for one in error.errors) or "it does not say why"
        return (
            f"the CA could not reach this server as {name}: {details}. Does DNS for {name} point here, and "
            "is port 443 open to the world?"
        )
    if isinstance(error, NoSupportedChallenges):
        return f"the CA offers no tls-alpn-01 challenge for {name}"
    if isinstance(error, AcmeProblem) and error.kind == "rateLimited":
        until = "" if error.until is None else f" until {at(error.until)}"
        return f"the CA's rate limit is reached{until}: {error}"
    if isinstance(error, AcmeProblem):
        return f"the CA refuses a certificate for {name}: {error} ({error.kind})"
    if isinstance(error, (TimeoutError, CancelledError)):
        return f"the CA issued nothing for {name} within {within:.0f} seconds"
    if isinstance(error, StoreError):
        return "the server's store cannot answer now"  # its text may name files and machines
    return str(error)


class Orders:
    """
    @param authorities: the CAs, in the order in which they are asked.
    @param locks: those that callers of L{order} hold. @param responder: answers the CAs' challenges.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        authorities: list[CertificateAuthority],
        locks: Locks,
        responder: TLSALPNResponder,
    ) -> None:
        self._reactor = reactor
        self._authorities = authorities
        self._locks = locks
        self._responder = responder
        self._late: dict[str, Deferred[Any]] = {}

    def __contains__(self, name: str) -> bool:
        """Whether an order for the name goes on after L{order} has failed: the CA may issue yet."""
        return name in self._late

    async def order(
        self,
        name: str,
        *,
        renewal: bool,
        early: bool = False,
        within: float = ISSUE_TIMEOUT,
        token: str = "",
    ) -> None:
        """
        Order a certificate for C{name} from the first CA, or the next one. The caller holds the name's lock,
        and calls L{release} afterwards.

        @param renewal: whether the name has a certificate. @param early: whether it is renewed before its
            usual time, because the first CA wants it. @param within: seconds until an order is given up.
        @param token: see L{Limits.begin<burrow.certificates.acme.limits.Limits.begin>}.
        @raise CertificateFailed: no CA issues; the text has each CA's reason.
        @raise RenewedTooOften: the limit for C{early} is reached; no other CA was asked.
        @raise StoreError: the limits cannot be read or written.
        """
        reasons: list[CertificateFailed] = []
        for authority in self._authorities:
            try:
                await self._order_from(
                    authority, name, renewal=renewal, early=early, within=within, token=token
                )
            except RenewedTooOften:
                raise
            except CertificateFailed as error:
                reasons.append(error)
                if error.final:
                    break
                early = False
            except StoreError as error:
                if not reasons:
                    raise
                reasons.append(CertificateFailed(explain(name, error)))
                break
            else:
                return
        raise CertificateFailed("; then ".join(map(str, reasons)), spent=any(one.spent for one in reasons))

    async def _order_from(
        self,
        authority: CertificateAuthority,
        name: str,
        *,
        renewal: bool,
        early: bool,
        within: float,
        token: str,
    ) -> None:
        informed = renewal and await authority.informs()
        try:
            counted = await authority.limits.begin(name, renewal=renewal, informed=informed, token=token)
        except CertificateFailed as error:
            if early and informed:
                raise RenewedTooOften(str(error)) from error
            raise
        try:
            await self._in_time(authority, name, within)
        except Exception as error:
            spent = authority.may_have_issued(name)
            await self._not_issued(authority, name, error, [] if spent else counted, token)
            if not isinstance(error, (BurrowError, AuthorizationFailed, TimeoutError, CancelledError)):
                self.log.failure("the order of a certificate for {name} failed", name=name)
            if isinstance(error, StoreError):
                self.log.error(
                    "the order of a certificate for {name} failed: {error}", name=name, error=error
                )
            # Another CA would find the same; or this one may issue yet, and a second order would be too many.
            final = isinstance(error, AuthorizationFailed) or name in self._late
            raise CertificateFailed(explain(name, error, within), final=final, spent=spent) from error

    def _in_time(self, authority: CertificateAuthority, name: str, within: float) -> Deferred[Any]:
        """
        Order. Fires or fails as the order does, or fails with TimeoutError after C{within} seconds. Then the
        order is cancelled, unless the CA was asked to issue already: in that case it goes on, and its lock is
        kept until it ends.
        """
        issuing = authority.issue(name)
        outcome: Deferred[Any] = Deferred()

        def too_late() -> None:
            if authority.may_have_issued(name):
                self._late[name] = issuing
                outcome.errback(TimeoutError())
            else:
                issuing.cancel()

        def done(result: Any) -> None:
            cancel(timer)
            if not outcome.called:
                outcome.callback(result)
                return
            del self._late[name]
            if isinstance(result, Failure):
                self.log.warn(
                    "the order of a certificate for {name}, given up after {within:.0f} s, failed: {error}",
                    name=name,
                    within=within,
                    error=result.value,
                )
            ensureDeferred(self._locks.release(name))

        timer = self._reactor.callLater(within, too_late)
        issuing.addBoth(done)
        return outcome

    async def _not_issued(
        self,
        authority: CertificateAuthority,
        name: str,
        error: Exception,
        counted: list[Counted],
        token: str,
    ) -> None:
        """An order failed. @param counted: does not count, since the CA certainly issued nothing."""
        await authority.limits.undo(counted)
        try:
            if isinstance(error, AuthorizationFailed):
                await authority.limits.failed(name, token)
            elif isinstance(error, AcmeProblem) and error.kind == "rateLimited":
                await authority.limits.refusals.add(name, error)
            if name not in self._late:
                await self._responder.forget(name)
        except StoreError as away:
            self.log.warn(
                "cannot write to the store that the order of a certificate for {name} failed: {error}",
                name=name,
                error=away,
            )

    async def release(self, name: str) -> None:
        """Release the name's lock, unless its order goes on."""
        if name not in self._late:
            await self._locks.release(name)

    def stop(self) -> None:
        """Cancel the orders that go on."""
        for issuing in list(self._late.values()):
            issuing.cancel()
