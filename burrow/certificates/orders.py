"""
One CA as txacme's AcmeIssuingService orders from it: our account there, our limits, and its words for people.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

import attr
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.python.failure import Failure
from txacme.client import AuthorizationFailed, NoSupportedChallenges
from txacme.interfaces import ICertificateStore
from txacme.service import AcmeIssuingService
from zope.interface import implementer

from burrow.certificates.acme import Directory, ExternalAccount, OrderClient
from burrow.certificates.limits import Limits, at
from burrow.certificates.problems import AcmeProblem, AcmeUnreachable
from burrow.certificates.responder import TLSALPNResponder
from burrow.certificates.sealed import Sealer
from burrow.errors import StoreError
from burrow.store.spaces import ACCOUNTS

ISSUE_TIMEOUT = 50.0
"""Seconds an order may take: less than an agent waits."""


@attr.frozen
class Authority:
    """
    One CA that may issue.

    @ivar directory: its directory's URL. @ivar trust_root: what its own certificate must come from.
    @ivar weekly: see L{Limits}. @ivar profile: which of its kinds of certificates; empty for its usual one.
    """

    directory: str
    email: str = ""
    external: ExternalAccount | None = None
    trust_root: Any = None
    weekly: int = 0
    profile: str = ""


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """A key in PEM form."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def explain(name: str, error: BaseException | None) -> str:
    """Why there is no certificate, for the person who wanted it."""
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
        return f"the CA issued nothing for {name} within {ISSUE_TIMEOUT:.0f} seconds"
    if isinstance(error, StoreError):
        return "the server's store cannot answer now"  # its text may name files and machines
    return str(error)


class Owner(Protocol):
    """
    Whose orders they are.

    @ivar reactor: for I/O and time. @ivar store: where accounts and challenges are. @ivar sealer: encrypts
    the accounts' keys there.
    @ivar now: seconds since the epoch. @ivar responder: answers challenges.
    """

    reactor: Any
    store: Any
    sealer: Sealer
    now: Callable[[], float]
    responder: TLSALPNResponder

    async def issued(self, name: str, text: str) -> None:
        """There is a new certificate: key and chain in PEM form."""
        ...

    async def due(self) -> dict[str, list[Any]]:
        """The names whose certificate is to be renewed now."""
        ...

    def not_renewed(self, failure: Failure, name: str) -> Deferred[None]:
        """A renewal failed."""
        ...

    def known_leaf(self, name: str) -> x509.Certificate | None:
        """The certificate that a name has now."""
        ...


@implementer(ICertificateStore)
class _Keeper:
    """What AcmeIssuingService keeps its certificates in; tells it which are to be renewed."""

    def __init__(self, owner: Owner, *, renews: bool) -> None:
        self._owner = owner
        self._renews = renews

    def get(self, server_name: str) -> Deferred[Any]:
        raise KeyError(server_name)

    def store(self, server_name: str, pem_objects: list[Any]) -> Deferred[None]:
        text = "".join(one.as_text() for one in pem_objects)
        return Deferred.fromCoroutine(self._owner.issued(server_name, text))

    def as_dict(self) -> Deferred[dict[str, list[Any]]]:
        """Those to be renewed, each without anything: the service orders what has nothing."""
        if not self._renews:
            return succeed({})
        return Deferred.fromCoroutine(self._owner.due())


class Orders:
    """
    One CA's issuing service; its account is made when it is first needed.

    @param renews: whether it renews what is due, and looks for it every C{check_every} seconds.
    """

    def __init__(self, owner: Owner, authority: Authority, *, renews: bool, check_every: float) -> None:
        self.authority = authority
        self.limits = Limits(owner.store, authority.directory, authority.weekly, owner.now)
        self._owner = owner
        self._directory: Directory | None = None
        self._sent: set[str] = set()
        self.service = AcmeIssuingService(
            cert_store=_Keeper(owner, renews=renews),
            client_creator=lambda: succeed(self._client()),
            clock=owner.reactor,
            responders=[owner.responder],
            check_interval=timedelta(seconds=check_every),
            panic=owner.not_renewed,
            generate_key=lambda: ec.generate_private_key(ec.SECP256R1()),
        )

    def _client(self) -> OrderClient:
        return OrderClient(self.directory, self._owner.known_leaf, self._finalizing)

    def _finalizing(self, name: str, sent: bool) -> None:
        if sent:
            self._sent.add(name)
        else:
            self._sent.discard(name)

    def begin(self, name: str) -> None:
        """An order for a name begins."""
        self._sent.discard(name)

    def may_have_issued(self, name: str) -> bool:
        """Whether the CA was asked to issue since L{begin}, and did not say that it did not."""
        return name in self._sent

    async def informs(self) -> bool:
        """See L{Directory.informs}; not, if the CA cannot be asked."""
        try:
            return await (await self.directory()).informs()
        except AcmeUnreachable:
            return False

    async def directory(self) -> Directory:
        """The CA, with our account's key: made once for all nodes. @raise SealedKey: it cannot be read."""
        if self._directory is None:
            store, url = self._owner.store, self.authority.directory
            text = await store.note(ACCOUNTS, url)
            if text is None:
                key = ec.generate_private_key(ec.SECP256R1())
                new = self._owner.sealer.seal(pem_of(key))
                await store.swap_note(ACCOUNTS, url, None, new)
                text = await store.note(ACCOUNTS, url) or new
            if self._directory is None:
                self._directory = Directory(
                    self._owner.reactor,
                    url,
                    self._owner.sealer.key(text),
                    email=self.authority.email,
                    external=self.authority.external,
                    trust_root=self.authority.trust_root,
                    profile=self.authority.profile,
                    now=self._owner.now,
                )
        return self._directory

    async def stop(self) -> None:
        """End it."""
        if self.service.running:
            await self.service.stopService()
        if self._directory is not None:
            await self._directory.close()
