"""
TLS clients: whether a server's certificate is for the name that was asked for (RFC 9525), by
service_identity.

Twisted's own check lets a certificate pass that service_identity cannot judge: one without any
subjectAltName, or with a pattern such as C{*.lan} in it, is logged and taken for every name. So whoever had
any such certificate of a trusted CA could be every server. Here all that is not a match ends the handshake.
Each name in a certificate is judged by itself, as by other clients: the right one counts beside
C{*.localhost}, which many make with it.
"""

from __future__ import annotations

import ipaddress
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import idna
from cryptography import x509
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    DNSMismatch,
    DNSPattern,
    IPAddress_ID,
    IPAddressMismatch,
    IPAddressPattern,
    verify_service_identity,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

_log = Logger()


def client_tls(name: str, trust: Any, protocols: Sequence[bytes] | None = None) -> Any:
    """
    TLS to a server, whose certificate has to be for a name.

    @param name: a DNS name, or an IP address without brackets. @param trust: see
        L{trust_root<burrow.trust.trust_root>}. @param protocols: for ALPN.
    @return: an L{IOpenSSLClientConnectionCreator}. A certificate for another name ends the handshake with
        L{VerificationError}.
    """
    return _Verifying(name, optionsForClientTLS(name, trustRoot=trust, acceptableProtocols=protocols))


@implementer(IPolicyForHTTPS)
class HttpsPolicy:
    """The same for Twisted's HTTP client. @param trust: see L{client_tls}."""

    def __init__(self, trust: Any) -> None:
        self._trust = trust

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """See L{IPolicyForHTTPS}."""
        return client_tls(hostname.decode("ascii").strip("[]"), self._trust)


def _names(certificate: x509.Certificate) -> Iterator[Any]:
    """What a certificate is for, as far as that can be judged."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    for name in extension.value.get_values_for_type(x509.DNSName):
        try:
            yield DNSPattern.from_bytes(name.encode())
        except CertificateError:
            continue
    for address in extension.value.get_values_for_type(x509.IPAddress):
        yield IPAddressPattern(address)


@implementer(IOpenSSLClientConnectionCreator)
class _Verifying:
    """@ivar name: what the certificate has to be for."""

    def __init__(self, name: str, creator: Any) -> None:
        self.name = name
        self._creator = creator
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            self._identity: Any = DNS_ID(name if name.isascii() else idna.encode(name).decode())
            self._mismatch: Any = DNSMismatch
        else:
            self._identity, self._mismatch = IPAddress_ID(str(address)), IPAddressMismatch

    def clientConnectionForTLS(self, tls: Any) -> SSL.Connection:
        """See L{IOpenSSLClientConnectionCreator}."""
        connection: SSL.Connection = self._creator.clientConnectionForTLS(tls)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._check(tls))
        return connection

    def _check(self, tls: Any) -> Callable[..., bool]:
        known = weakref.ref(tls)  # the connection, which TLS has, keeps the function

        def check(connection: Any, certificate: Any, error: int, depth: int, trusted: int) -> bool:
            if depth or not trusted:
                return bool(trusted)
            try:
                names = list(_names(certificate.to_cryptography()))
                verify_service_identity(names, [self._identity], [])
            except Exception as reason:  # what is raised here nobody sees
                if not isinstance(reason, VerificationError):
                    _log.debug("a certificate cannot be judged: {reason!r}", reason=reason)
                protocol = known()
                if protocol is not None:
                    mismatch = self._mismatch(mismatched_id=self._identity)
                    protocol.failVerification(Failure(VerificationError(errors=[mismatch])))
                return False
            return True

        return check
