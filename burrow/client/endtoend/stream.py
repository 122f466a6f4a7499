"""One visitor's stream whose TLS ends on the agent."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.certificates.base import CHALLENGE, PROTOCOLS
from burrow.certificates.hello import ClientHello, HelloReader, NotTLS
from burrow.client.endtoend.certificate import WAIT, Certificate
from burrow.clock import TurnEnd, cancel
from burrow.mux.tls import HalfClosingConnection, HalfClosingTLS
from burrow.observe.observer import Observer

HELLO_WITHIN = 15.0
"""Seconds for the ClientHello."""

MAX_EARLY = 64 * 1024
"""Bytes of a visitor, its ClientHello included, kept while the certificate is waited for, and one read."""

_ALERT = b"\x15\x03\x03\x00\x02\x02"
_INTERNAL, _NO_PROTOCOL, _NOT_TLS = b"\x50", b"\x78", b"\x32"  # RFC 8446 section 6


@implementer(IOpenSSLServerConnectionCreator)
class _Creator:
    """Makes each TLS connection with the context that was chosen for it."""

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return HalfClosingConnection(protocol.context, protocol)


class _TLS(HalfClosingTLS):
    """TLS on one stream. @ivar context: set before it begins."""

    context: SSL.Context


_creator: Any = _Creator()
_nothing = Factory.forProtocol(Protocol)


class EndToEnd(Protocol):
    """
    Reads the ClientHello, and begins TLS: with the certificate for visitors, with the challenge for the CA.

    @param inside: the protocol of visitors inside TLS.
    @ivar observer: reads along inside TLS; None if nobody looks.
    """

    log = Logger()
    transport: Any

    def __init__(self, reactor: Any, certificate: Certificate, inside: Any) -> None:
        self._reactor = reactor
        self._certificate = certificate
        self._inside = inside
        self.observer: Observer | None = None
        self._hello = HelloReader()
        self._beginning: Deferred[None] | None = None
        self._timeout: IDelayedCall = reactor.callLater(HELLO_WITHIN, self._late)

    def dataReceived(self, data: bytes) -> None:
        """More of the hello, or of what follows it."""
        if self._beginning is not None:
            self._hello.received += data
            if len(self._hello.received) > MAX_EARLY:
                self.transport.pauseProducing()
            return
        try:
            hello = self._hello.feed(data)
        except NotTLS:
            self._refuse(_NOT_TLS)
            return
        if hello is not None:
            self._timeout.reset(HELLO_WITHIN + WAIT)
            self._beginning = Deferred.fromCoroutine(self._begin(hello))
            self._beginning.addErrback(self._failed)

    async def _begin(self, hello: ClientHello) -> None:
        inside, alert = self._inside, _INTERNAL
        if hello.protocols == (CHALLENGE,):
            context, inside, alert = self._certificate.challenge, Protocol(), _NO_PROTOCOL
        elif hello.protocols and not set(hello.protocols).intersection(PROTOCOLS):
            context, alert = None, _NO_PROTOCOL
        else:
            context = await self._certificate.found()
        if context is None:
            self._refuse(alert)
            return
        self._timeout.cancel()
        # Its clock is the agent's: a program's agent may have a reactor of its own.
        clock: Any = TurnEnd(self._reactor)
        tls: Any = _TLS(TLSMemoryBIOFactory(_creator, False, _nothing, clock), inside)
        tls.context = context
        if self.observer is not None and inside is self._inside:
            tls.transport = self.transport  # of which the observer covers methods, too
            self.observer.cover(inside, tls)
        transport, received = self.transport, bytes(self._hello.received)
        transport.resumeProducing()
        transport.become(tls, received)

    def _refuse(self, alert: bytes) -> None:
        cancel(self._timeout)
        self.transport.write(_ALERT + alert)
        self.transport.loseConnection()

    def _failed(self, reason: Failure) -> None:
        if not reason.check(CancelledError):
            self.log.failure("TLS could not begin on a visitor's stream, which is reset", reason)
            self.transport.abortConnection()

    def _late(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left before TLS began."""
        cancel(self._timeout)
        if self._beginning is not None:
            self._beginning.cancel()


class InsideObserver:
    """Has an observer read along inside TLS, once that begins; outside there is nothing to read."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def cover(self, protocol: EndToEnd, transport: Any) -> None:
        """See L{Observer}."""
        protocol.observer = self._observer
