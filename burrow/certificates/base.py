"""The interface between the TLS port and a source of certificates."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import Interface

PROTOCOLS = [b"http/1.1"]
"""What the TLS port offers by ALPN (RFC 7301)."""

HTTP2 = b"h2"
"""What it offers beside, where it speaks HTTP/2 (RFC 9113 section 3.2)."""

CHALLENGE = b"acme-tls/1"
"""What a CA offers by ALPN, alone, that validates a name (RFC 8737 section 3)."""


class ICertificates(Interface):
    """A source of certificates for the names that a server serves."""

    def start():  # type: ignore[no-untyped-def]
        """Called when the server listens: begin the regular work, such as renewals."""

    def stop():  # type: ignore[no-untyped-def]
        """End the regular work. Fires with None when it has ended."""

    def ready(name, token=""):  # type: ignore[no-untyped-def]
        """
        Obtain a certificate for C{name} before its tunnel is announced. Fires with None; fails with
        L{CertificateFailed<burrow.errors.CertificateFailed>}, whose text says why.

        @param token: the id of the token that owns the name, so that it gets no more than its share.
        """

    def context(name):  # type: ignore[no-untyped-def]
        """
        The context for a handshake with the server name C{name}, or None for one without: fires with an
        L{SSL.Context}, or with None if there is no certificate. It may fire later; this handshake alone
        waits.

        Strangers choose the name. A name without an owner must not cost a key, a signature or memory.
        """

    def challenge(name):  # type: ignore[no-untyped-def]
        """
        The context for the handshake of a CA that validates C{name} (L{CHALLENGE}): fires with an
        L{SSL.Context}, or with None if no challenge is open for the name.
        """


HasOwner = Callable[[str], Deferred[bool]]
"""
Called with a host. Fires with whether a tunnel is open there, or its name has an owner; False for hosts
outside the base domain. Fails with L{StoreError<burrow.errors.StoreError>} if the store is needed and away.
"""


def wildcard_of(name: str, domain: str) -> str:
    """C{*.blog.example.com} for a host of two labels under the base domain; empty for any other."""
    label, dot, parent = name.removesuffix(f".{domain}").partition(".")
    under = name.endswith(f".{domain}") and label and dot and parent and "." not in parent
    return f"*.{parent}.{domain}" if under else ""


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


_asking: WeakKeyDictionary[SSL.Context, Callable[[], SSL.Context]] = WeakKeyDictionary()


def asking_context(context: SSL.Context) -> SSL.Context:
    """
    The same as a context of L{server_context}, but that visitors are asked for a certificate (RFC 8446
    section 4.3.2). Every handshake completes: who needs one has to look what was shown. No session is
    resumed, since that would bring a certificate of an earlier handshake, perhaps for another name.
    """
    return _asking[context]()


def server_context(
    key: PrivateKeyTypes, chain: list[x509.Certificate], protocols: list[bytes] = PROTOCOLS
) -> SSL.Context:
    """
    A context with C{chain}, the leaf first: TLS 1.2 and 1.3, with Twisted's choice of ciphers.

    @param protocols: what ALPN may choose, the preferred first. In their place comes C{alpn} of the TLS
        protocol (Twisted makes it the connection's app data) if that is a list, which may be empty.
    """
    context = _context(key, chain, protocols, tickets=True)
    _asking[context] = lru_cache(partial(_asking_context, key, chain, protocols))
    return context


def _asking_context(
    key: PrivateKeyTypes, chain: list[x509.Certificate], protocols: list[bytes]
) -> SSL.Context:
    context = _context(key, chain, protocols, tickets=False)
    context.set_verify(SSL.VERIFY_PEER, lambda *ignored: True)
    return context


def _context(
    key: PrivateKeyTypes, chain: list[x509.Certificate], protocols: list[bytes], *, tickets: bool
) -> SSL.Context:
    leaf, *others = [crypto.X509.from_cryptography(certificate) for certificate in chain]
    options: Any = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),  # type: ignore[arg-type]
        certificate=leaf,
        extraCertChain=others,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=protocols,
        # Visitors that come back resume their TLS session, without a signature. Tickets need no memory here.
        enableSessions=False,
        enableSessionTickets=tickets,
    )
    context: SSL.Context = options.getContext()

    def choose(connection: SSL.Connection, offered: list[bytes]) -> Any:
        wanted = getattr(connection.get_app_data(), "alpn", None)
        if wanted is None:
            return next((name for name in protocols if name in offered), b"")
        return next((name for name in wanted if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    context.set_alpn_select_callback(choose)
    return context
