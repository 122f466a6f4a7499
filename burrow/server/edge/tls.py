"""
The TLS port: reads the ClientHello, asks for the name's certificate, and only then begins TLS.

While a certificate is on its way the connection is not read, so a stranger costs at most one
ClientHello. A connection that does not complete a hello in time is closed by the edge's sweep.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.certificates.base import ICertificates
from burrow.server.edge.hello import NotTLS, read_client_hello
from burrow.server.edge.sweep import Sweep

HANDSHAKE_TIMEOUT = 15.0
"""Seconds a stranger has for a whole ClientHello, at most."""

_ALERT_NOT_TLS = b"\x15\x03\x01\x00\x02\x02\x32"  # fatal decode_error (RFC 8446 section 6)
_ALERT_NO_NAME = b"\x15\x03\x03\x00\x02\x02\x70"  # fatal unrecognized_name (RFC 6066 section 3)
_ALERT_INTERNAL = b"\x15\x03\x03\x00\x02\x02\x50"  # fatal internal_error

_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 52\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS: write https:// in the URL. \r\n"
)


@implementer(IOpenSSLServerConnectionCreator)
class _ConnectionCreator:
    """Makes the TLS connections of one context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._context, None)


class TLSFront(Protocol):
    """One visitor's or agent's connection, until TLS begins."""

    log = Logger()
    transport: Any

    def __init__(self, factory: TLSFrontFactory, addr: IAddress) -> None:
        self.factory: TLSFrontFactory = factory
        self._addr = addr
        self._hello = b""
        self._waiting = False
        self._gone = False
        self.deadline: float | None = None

    def connectionMade(self) -> None:
        """Give the stranger some time."""
        self.factory.sweep.add(self, self.factory.timeout)
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def timed_out(self) -> None:
        """The sweep's word: no hello came."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """More of the hello."""
        self._hello += data
        if self._waiting:
            return
        try:
            hello = read_client_hello(self._hello)
        except NotTLS:
            self._refuse(_PLAIN_ANSWER if self._hello[:1].isalpha() else _ALERT_NOT_TLS)
            return
        if hello is not None:
            self._waiting = True
            self.factory.sweep.discard(self)
            self.transport.pauseProducing()
            getting: Deferred[SSL.Context | None] = self.factory.certificates.context(
                hello.name, hello.protocols
            )
            getting.addCallbacks(self._begin, self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone before TLS began."""
        self._gone = True
        self.factory.sweep.discard(self)

    def _begin(self, context: SSL.Context | None) -> None:
        if self._gone:
            return
        if context is None:
            self._refuse(_ALERT_NO_NAME)
            return
        protocol: Any = self.factory.tls_factory(context).buildProtocol(self._addr)
        # From here on the socket calls TLS directly.
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        self.transport.resumeProducing()
        protocol.dataReceived(self._hello)

    def _failed(self, reason: Failure) -> None:
        self.log.failure("no certificate could be had for a handshake", reason)
        self._refuse(_ALERT_INTERNAL)

    def _refuse(self, answer: bytes) -> None:
        if not self._gone:
            self._waiting = True
            self.transport.write(answer)
            self.transport.loseConnection()


class TLSFrontFactory(Factory):
    """
    Takes the connections of the TLS port.

    @param wrapped: builds the protocol inside TLS.
    @param idle_timeout: seconds for a hello, if they are fewer than L{HANDSHAKE_TIMEOUT}.
    """

    noisy = False

    def __init__(
        self, certificates: ICertificates, wrapped: IProtocolFactory, sweep: Sweep, idle_timeout: float
    ) -> None:
        self.certificates: Any = certificates
        self.timeout = min(idle_timeout, HANDSHAKE_TIMEOUT)
        self.sweep = sweep
        self._wrapped = wrapped
        self._factories: WeakKeyDictionary[SSL.Context, TLSMemoryBIOFactory] = WeakKeyDictionary()

    def buildProtocol(self, addr: Any) -> Any:
        """One connection."""
        return TLSFront(self, addr)

    def tls_factory(self, context: SSL.Context) -> TLSMemoryBIOFactory:
        """The factory of a context's TLS connections, made once a context."""
        factory = self._factories.get(context)
        if factory is None:
            creator: Any = _ConnectionCreator(context)
            factory = TLSMemoryBIOFactory(creator, False, self._wrapped)
            factory.noisy = False
            self._factories[context] = factory
        return factory
