"""HTTP/1.1 on a visitor's stream, for an app in this process. The edge has checked what comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.http.body import Body, request_body
from burrow.http.head import BadMessage
from burrow.http.request_head import RequestHead, RequestReader
from burrow.program.answer import head_bytes, phrase
from burrow.program.exchange import Exchange

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Handle = Callable[[Exchange], object]
"""Begins to answer a request. Called on the reactor's thread, which it must not block."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class AppStream(Protocol):
    """
    One stream: requests one after the other.

    @param visitor: C{host:port}. @param scheme: how the visitor came.
    @ivar paused: whether the stream takes nothing more just now.
    """

    transport: Any

    def __init__(self, reactor: Any, handle: Handle, visitor: str, scheme: str) -> None:
        self.reactor = reactor
        self.paused = False
        self._handle = handle
        host, _, port = visitor.rpartition(":")
        self._visitor = host.strip("[]"), int(port) if port.isdigit() else 0
        self._scheme = scheme
        self._reader = RequestReader()
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        self._rest = b""
        self._ended = False

    def connectionMade(self) -> None:
        """A visitor came."""
        self.transport.registerProducer(self, True)

    # -- what comes -----------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """More of a request, or of what follows."""
        data = self._rest + data
        self._rest = b""
        try:
            while data:
                if self._body is None:
                    if self._exchange is not None:  # the next request waits for the answer to this one
                        self._rest = data
                        self.transport.pauseProducing()
                        return
                    found = self._reader.feed(data)
                    if found is None:
                        return
                    head, data = found
                    self._begin(head)
                else:
                    data = self._more(self._body, data)
        except BadMessage as error:
            self._refuse(error)

    def _begin(self, head: RequestHead) -> None:
        exchange = self._exchange = Exchange(self, head, self._visitor, self._scheme)
        self._body = request_body(head)
        if self._body is None:
            exchange.whole = True
        elif b"100-continue" in head.headers.tokens(b"expect"):
            self.transport.write(CONTINUE)
        self._handle(exchange)

    def _more(self, body: Body, data: bytes) -> bytes:
        """More of a body. @return: what is behind it."""
        payload, rest = body.feed(data)
        exchange = self._exchange
        if exchange is not None and not exchange.feed(payload):
            self.transport.pauseProducing()
        if body.done:
            self._body = None
            if exchange is not None:
                exchange.finish()
            self._next()
        return rest

    def _refuse(self, error: BadMessage) -> None:
        """What came is no request: the edge sends none such."""
        if self._exchange is not None:
            self._exchange.lose()
            self.transport.abortConnection()
            return
        text = error.text.encode() + b"\n"
        fields = [(b"Content-Length", b"%d" % len(text)), (b"Connection", b"close")]
        self.transport.write(head_bytes(error.status, phrase(error.status), fields) + text)
        self._close()

    def readConnectionLost(self) -> None:
        """Nothing more comes. The answer to what came is still wanted."""
        self._ended = True
        if self._exchange is None:
            self._close()
        elif self._body is None or self._exchange.head.upgrade:
            self._exchange.half_close()
        else:  # in the middle of the request
            self._exchange.lose()
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor has left."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lose()

    # -- for the exchange -----------------------------------------------------------------------------------

    def take_more(self, exchange: Exchange) -> None:
        """See L{IStream<burrow.program.exchange.IStream>}."""
        if exchange is self._exchange:
            self.transport.resumeProducing()

    def flush(self, exchange: Exchange) -> None:
        """See L{IStream<burrow.program.exchange.IStream>}."""
        data = exchange.outgoing()
        if exchange is not self._exchange:
            return
        if data:
            self.transport.write(data)
        if not exchange.answered:
            if not self.paused:
                exchange.change()
            return
        self._exchange = None
        if exchange.broken:
            self._close(whole=False)
        elif not exchange.head.keep_alive or exchange.head.upgrade or self._ended:
            self._close()
        else:
            if self._body is not None:  # the app has not read it all: it is read, and dropped
                self.transport.resumeProducing()
            self._next()

    def _next(self) -> None:
        """Go on with what came behind a request, if that is answered."""
        if self._exchange is None and self._body is None:
            rest, self._rest = self._rest, b""
            self.transport.resumeProducing()
            if rest:
                self.dataReceived(rest)

    def _close(self, whole: bool = True) -> None:
        self.transport.unregisterProducer()
        if whole:
            self.transport.loseConnection()
        else:
            getattr(self.transport, "breakConnection", self.transport.abortConnection)()

    # -- IPushProducer --------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The stream takes nothing more just now."""
        self.paused = True

    def resumeProducing(self) -> None:
        """It does again."""
        self.paused = False
        if self._exchange is not None:
            self._exchange.change()

    def stopProducing(self) -> None:
        """The stream is closed."""
