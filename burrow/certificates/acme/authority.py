"""One CA that may issue: its settings, our account and our limits there, and txacme's service for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import attr
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred, succeed
from txacme.service import AcmeIssuingService

from burrow.certificates.acme.adapter import CertificateStore, OrderClient
from burrow.certificates.acme.client import Directory, ExternalAccount
from burrow.certificates.acme.limits import Limits
from burrow.certificates.acme.problems import AcmeUnreachable
from burrow.certificates.acme.responder import TLSALPNResponder
from burrow.certificates.sealed import Sealer
from burrow.store.base import IStore
from burrow.store.spaces import ACCOUNTS


@attr.frozen
class Authority:
    """
    The settings of one CA.

    @ivar directory: its directory's URL. @ivar trust_root: which CAs may vouch for its HTTPS server.
    @ivar weekly, share: see L{Limits}. @ivar profile: the kind of certificate; empty for the CA's default.
    """

    directory: str
    email: str = ""
    external: ExternalAccount | None = None
    trust_root: Any = None
    weekly: int = 0
    share: int = 0
    profile: str = ""


def _pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class CertificateAuthority:
    """
    One CA. The account is made when it is first needed, and kept in the store for all nodes.

    @param sealer: encrypts the account's key in the store. @param now: seconds since the epoch.
    @param leaf: returns the certificate that a name has now, if any.
    @param issued: called with a name, and key and chain in PEM form, when the CA has issued.
    @param check: called every C{check_every} seconds while C{service} runs.
    @ivar service: txacme's service. It need not run to order.
    """

    def __init__(
        self,
        reactor: Any,
        store: IStore,
        authority: Authority,
        sealer: Sealer,
        responder: TLSALPNResponder,
        now: Callable[[], float],
        *,
        leaf: Callable[[str], x509.Certificate | None],
        issued: Callable[[str, str], Awaitable[None]],
        check: Callable[[], Awaitable[None]],
        check_every: float,
    ) -> None:
        self.limits = Limits(store, authority.directory, authority.weekly, now, authority.share)
        self._reactor = reactor
        self._store = store
        self._authority = authority
        self._sealer = sealer
        self._now = now
        self._leaf = leaf
        self._directory: Directory | None = None
        self._finalized: set[str] = set()
        self.service = AcmeIssuingService(
            cert_store=CertificateStore(issued, check),
            client_creator=lambda: succeed(OrderClient(self.directory, self._leaf, self._finalizing)),
            clock=reactor,
            responders=[responder],
            check_interval=timedelta(seconds=check_every),
            generate_key=lambda: ec.generate_private_key(ec.SECP256R1()),
        )

    def _finalizing(self, name: str, sent: bool) -> None:
        if sent:
            self._finalized.add(name)
        else:
            self._finalized.discard(name)

    def issue(self, name: str) -> Deferred[Any]:
        """Order a certificate. Fires once C{issued} has it; fails as L{explain} describes."""
        self._finalized.discard(name)
        issuing: Deferred[Any] = self.service.issue_cert(name)
        return issuing

    def may_have_issued(self, name: str) -> bool:
        """Whether the CA was asked to issue since L{issue} was called, and did not answer that it did not."""
        return name in self._finalized

    async def informs(self) -> bool:
        """See L{Directory.informs}; False if the CA cannot be reached."""
        try:
            return await (await self.directory()).informs()
        except AcmeUnreachable:
            return False

    async def directory(self) -> Directory:
        """
        The CA, with the key of our account: one for all nodes, made by the first that asks.

        @raise SealedKey: the key in the store cannot be decrypted. @raise StoreError: the store is away.
        """
        if self._directory is None:
            url = self._authority.directory
            text = await self._store.note(ACCOUNTS, url)
            if text is None:
                key = ec.generate_private_key(ec.SECP256R1())
                new = self._sealer.seal(_pem_of(key))
                await self._store.swap_note(ACCOUNTS, url, None, new)
                text = await self._store.note(ACCOUNTS, url) or new
            if self._directory is None:  # another call may have made it meanwhile
                self._directory = Directory(
                    self._reactor,
                    url,
                    self._sealer.key(text),
                    email=self._authority.email,
                    external=self._authority.external,
                    trust_root=self._authority.trust_root,
                    profile=self._authority.profile,
                    now=self._now,
                )
        return self._directory

    async def stop(self) -> None:
        """Wait for the check that runs, and close the connections to the CA."""
        if self.service.running:
            await self.service.stopService()
        if self._directory is not None:
            await self._directory.close()
