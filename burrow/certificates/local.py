"""
The server's own certificate authority: it signs a certificate for a name under the base domain at once.

Its key and certificate are files in the state folder. A browser that imports C{ca.pem} shows no warning. A
name constraint (RFC 5280 section 4.2.1.10) limits the authority to the base domain, so importing it is safe
even if its key is stolen.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from burrow.certificates.base import HasOwner, ICertificates, server_context, wildcard_of
from burrow.certificates.pair import Pair
from burrow.errors import CertificateFailed, ConfigError, StoreError

CA_FILE, CA_KEY_FILE = "ca.pem", "ca-key.pem"
MAX_CONTEXTS = 2048
"""Names whose context is kept; the one used longest ago is dropped first. Making one takes 1 ms."""

_CA_DAYS, _LEAF_DAYS = 3650, 90
_DEFAULT = ""
_LOOPBACK = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _builder(common_name: str, days: int) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def make_ca(domain: str, others: Iterable[str] = ()) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A new authority for C{domain} and other domains."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"Burrow local CA for {domain}"
    constraints = x509.NameConstraints(
        permitted_subtrees=[
            *(x509.DNSName(each) for each in (domain, *others)),
            *(x509.IPAddress(ipaddress.ip_network(address)) for address in _LOOPBACK),
        ],
        excluded_subtrees=None,
    )
    certificate = (
        _builder(name, _CA_DAYS)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _permits(ca: x509.Certificate, domains: Iterable[str]) -> bool:
    try:
        constraints = ca.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    permitted = constraints.permitted_subtrees or ()
    return {name.value for name in permitted if isinstance(name, x509.DNSName)}.issuperset(domains)


@implementer(ICertificates)
class LocalCertificates:
    """
    @param folder: where the authority is, or will be made. @param domain: the base domain.
    @param others: domains beside it for which the authority may issue.
    @param has_owner: see L{HasOwner}; only names with an owner get a certificate of their own.
    @ivar ca_file: the authority's certificate, to be imported by clients.
    @ivar leaves: the certificates that it shows, by name; of names that are nobody's, one by an asterisk.
    @raise ConfigError: the authority's files cannot be made or read.
    """

    log = Logger()

    def __init__(self, folder: Path, domain: str, has_owner: HasOwner, others: Iterable[str] = ()) -> None:
        self._has_owner = has_owner
        self._others = tuple(others)
        self.ca_file = folder / CA_FILE
        self._domain = domain
        # One key for all names: it never leaves the process, and making one for each name would take time.
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self.leaves: dict[str, x509.Certificate] = {}
        self._contexts: OrderedDict[str, tuple[datetime.datetime, SSL.Context]] = OrderedDict()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            pair = Pair(folder / CA_KEY_FILE, self.ca_file)
            with pair.alone():
                self._ca_key, self._ca = self._authority(pair)
        except OSError as error:
            text = f"the local CA cannot be written to {folder}: {error.strerror}; choose another --state"
            raise ConfigError(text) from error

    def _authority(self, pair: Pair) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """Read the authority's files, or make a new authority."""
        before, domains = pair.read(), (self._domain, *self._others)
        if before is None:
            if pair.key_file.exists() or pair.cert_file.exists():
                self.log.warn(
                    "{key} and {cert} do not belong together: clients must import the new local CA",
                    key=str(pair.key_file),
                    cert=str(pair.cert_file),
                )
        else:
            key, certificate = before
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ConfigError(
                    f"{pair.key_file} is not the key of a local CA: remove it and {pair.cert_file.name}"
                )
            ends = _now() + datetime.timedelta(days=_LEAF_DAYS)
            if certificate.not_valid_after_utc >= ends and _permits(certificate, domains):
                return key, certificate
            self.log.warn(
                "{cert} is a new local CA, which clients must import: the one before ends soon, or was not "
                "for {domains}",
                cert=str(pair.cert_file),
                domains=" and ".join(domains),
            )
        made = make_ca(self._domain, self._others)
        pair.write(*made)
        return made

    def start(self) -> None:
        """See L{ICertificates}: nothing to do."""

    def stop(self) -> Deferred[None]:
        """See L{ICertificates}: nothing to do."""
        return succeed(None)

    def ready(self, name: str, token: str = "") -> Deferred[None]:
        """See L{ICertificates}: a certificate is made at the first handshake."""
        if self._may_issue(name):
            return succeed(None)
        allowed = " and ".join((self._domain, *self._others))
        text = f"the server's local CA issues for names under {allowed} alone, and {name} is none: the "
        return fail(CertificateFailed(text + "server's owner has to add --ca-domain, or a CA by --tls acme"))

    def _may_issue(self, name: str) -> bool:
        """Whether the authority's name constraint allows a name (RFC 5280 section 4.2.1.10)."""
        return any(name == one or name.endswith(f".{one}") for one in (self._domain, *self._others))

    def challenge(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}: none, since no other CA validates."""
        return succeed(None)

    def context(self, name: str | None) -> Deferred[SSL.Context | None]:
        """
        See L{ICertificates}. Names without an owner get one for the base domain and a wildcard, if they are
        under it, and others that of the base domain.
        """
        if name is None or name == self._domain or not self._may_issue(name):
            return succeed(self._context(self._domain))
        known = wildcard_of(name, self._domain) or name
        if known in self._contexts:
            return succeed(self._context(known))
        return Deferred.fromCoroutine(self._find(name, known))

    async def _find(self, name: str, known: str) -> SSL.Context:
        try:
            owned = await self._has_owner(name)
        except StoreError:
            owned = False  # open tunnels are known without the store
        if owned:
            return self._context(known)
        return self._context(_DEFAULT if name.endswith(f".{self._domain}") else self._domain)

    def _context(self, name: str) -> SSL.Context:
        now = _now()
        expires, context = self._contexts.pop(name, (now, None))
        if context is None or expires <= now:
            expires = now + datetime.timedelta(days=_LEAF_DAYS / 2)
            leaf = self.leaves[name or "*"] = self._issue(name)
            context = server_context(self._leaf_key, [leaf, self._ca])
            while len(self._contexts) >= MAX_CONTEXTS:
                self.leaves.pop(self._contexts.popitem(last=False)[0] or "*", None)
        self._contexts[name] = expires, context
        return context

    def _issue(self, name: str) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.DNSName(name or self._domain)]
        if name == _DEFAULT:
            names.append(x509.DNSName("*." + self._domain))
        elif name == self._domain:
            names += [x509.IPAddress(address) for address in _LOOPBACK]
        public = self._leaf_key.public_key()
        return (
            _builder(name or self._domain, _LEAF_DAYS)
            .issuer_name(self._ca.subject)
            .public_key(public)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
            .sign(self._ca_key, hashes.SHA256())
        )
