"""TLS on a visitor's connection, begun with a context that was chosen for its ClientHello."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from burrow.mux.tls import HalfClosingConnection, HalfClosingTLS
from burrow.policy.shown import IsShown, Presented


class Shown(IsShown):
    """
    The certificate that a visitor was shown on its connection, and the one that it showed.

    @ivar context: the TLS context with the certificate.
    @ivar name: the server name that the visitor asked for; None without one.
    @ivar names: the names that the certificate covers.
    @ivar asked: whether the visitor is asked for a certificate of its own.
    @ivar connection: the TLS connection, if it is.
    """

    __slots__ = ("_presented", "asked", "connection", "context", "name", "names")

    def __init__(
        self, name: str | None, context: SSL.Context, names: frozenset[str], asked: bool = False
    ) -> None:
        self.name = name
        self.context = context
        self.names = names
        self.asked = asked
        self.connection: SSL.Connection | None = None
        self._presented: Presented | None = None

    def presented(self) -> Presented | None:
        """
        What the visitor showed, once the handshake is done; None if nothing that can be read, or it was not
        asked.
        """
        if self._presented is None and self.connection is not None:
            try:
                leaf: Any = self.connection.get_peer_certificate(as_cryptography=True)
                chain: Any = self.connection.get_peer_cert_chain(as_cryptography=True)
            except Exception:  # of many kinds: anybody makes one that OpenSSL reads and this library does not
                return None
            if leaf is not None:
                self._presented = Presented(leaf, chain or ())
        return self._presented

    def covers(self, host: str) -> bool:
        """
        Whether a request for C{host} belongs on the connection (RFC 9110 section 15.5.20): it is the name
        that was asked for, or the certificate covers it, too (RFC 9525 section 6.3).
        """
        if self.name is None or host in ("", self.name) or host in self.names:
            return True
        return "*." + host.partition(".")[2] in self.names


class VisitorTLS(HalfClosingTLS):
    """
    TLS on one connection.

    @ivar shown: set before it begins, as C{hello}, the bytes read till then.
    @ivar alpn: what may be chosen by ALPN: see L{burrow.certificates.base.server_context}.
    """

    shown: Shown
    hello: bytes
    alpn: list[bytes] | None = None

    def makeConnection(self, transport: Any) -> None:
        """
        Begin TLS. Twisted's own does the same and declares the transport's interfaces one by one, each in
        the place of the one before, which nobody reads and costs 4 % of a new connection.
        """
        this: Any = self
        this._tlsConnection = this.factory.creator.serverConnectionForTLS(self)
        this._appSendBuffer = []
        Protocol.makeConnection(this, transport)
        this.factory.registerProtocol(self)
        ProtocolWrapper.makeConnection(this, transport)
        this._checkHandshakeStatus()


@implementer(IOpenSSLServerConnectionCreator)
class ConnectionCreator:
    """Makes each TLS connection with the context that was chosen for it."""

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = HalfClosingConnection(protocol.shown.context, protocol)
        connection.set_accept_state()
        connection.set_app_data(protocol)
        connection.bio_write(protocol.hello)  # so that the first step of the handshake is a whole one
        del protocol.hello
        if protocol.shown.asked:
            protocol.shown.connection = connection
        return connection


class VisitorTLSFactory(TLSMemoryBIOFactory):
    """
    Builds them. @param wrapped: builds the protocols inside. @param clock: see L{TurnEnd}.

    @ivar creator: what is called for each; each of Twisted's releases has it under another name.
    """

    protocol = VisitorTLS

    def __init__(self, wrapped: IProtocolFactory, clock: Any) -> None:
        self.creator: Any = ConnectionCreator()
        super().__init__(self.creator, False, wrapped, clock)
