"""The border between the TLS port and whatever has certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import Interface

PROTOCOLS = [b"http/1.1"]
"""What the TLS port offers by ALPN (RFC 7301)."""

CHALLENGE = b"acme-tls/1"
"""What a CA offers by ALPN, alone, that validates a name (RFC 8737 section 3)."""


class ICertificates(Interface):
    """A source of certificates for the names that a server serves."""

    def start():  # type: ignore[no-untyped-def]
        """The server listens: begin what is to be done without being asked."""

    def stop():  # type: ignore[no-untyped-def]
        """End it. Fires with None."""

    def ready(name):  # type: ignore[no-untyped-def]
        """
        See to it that C{name} has a certificate, before its tunnel is announced. Fires with None; fails with
        L{CertificateFailed<burrow.errors.CertificateFailed>}, whose text says why.
        """

    def context(name):  # type: ignore[no-untyped-def]
        """
        What a handshake for C{name} (None: for none) is answered with: fires with an L{SSL.Context}, or with
        None if there is no certificate for it. May fire later: the handshake waits, and nobody else does.

        A stranger chooses the name, so one that is nobody's must cost no key, no signature and no room.
        """

    def challenge(name):  # type: ignore[no-untyped-def]
        """
        What the handshake of a CA that validates C{name} is answered with: fires with an L{SSL.Context}, or
        with None if no challenge is open for it.
        """


Whose = Callable[[str], Deferred[bool]]
"""
Whether a host under the base domain is somebody's: fires with whether a tunnel is open there, or the name is
owned. Fails with L{StoreError<burrow.errors.StoreError>} if nobody can tell now.
"""


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The names and addresses that a certificate covers, lower case; wildcards as they stand."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(
        [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        + [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    )


def server_context(
    key: PrivateKeyTypes, chain: list[x509.Certificate], protocols: list[bytes] = PROTOCOLS
) -> SSL.Context:
    """A context that shows C{chain}, the leaf first. TLS 1.2 and 1.3, Twisted's choice of ciphers."""
    leaf, *others = [crypto.X509.from_cryptography(certificate) for certificate in chain]
    options: Any = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),  # type: ignore[arg-type]
        certificate=leaf,
        extraCertChain=others,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=protocols,
        # Visitors that come back resume: a signature less. By tickets, which cost us no memory.
        enableSessions=False,
        enableSessionTickets=True,
    )
    context: SSL.Context = options.getContext()
    return context
