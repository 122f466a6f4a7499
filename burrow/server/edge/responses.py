"""
What an upstream answers on a stream: response heads parsed, bodies passed on as they come.

One L{Responses} sits on one stream, which carries one visitor connection's requests to one upstream, one
after the other. It tells its visitor's connection, an L{IAnswered}, what came.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from burrow.server.edge.body import Body, ChunkedBody, LengthBody, UntilCloseBody
from burrow.server.edge.fields import Headers, named_by_connection
from burrow.server.edge.head import BadMessage, ResponseHead, ResponseReader


class IAnswered(Interface):
    """The visitor's side of an exchange."""

    def answer_head(head: ResponseHead) -> None:
        """A head, interim ones (1xx) included. May raise L{BadMessage}: it cannot be passed on."""

    def answer_body(data: bytes) -> None:
        """Bytes of the body, not empty."""

    def answer_end(trailers: Headers) -> None:
        """The response is whole."""

    def answer_raw(data: bytes) -> None:
        """Bytes of the protocol that was switched to, after a 101."""

    def answer_lost(error: str) -> None:
        """No more will come: what the upstream did, in words; empty if it went between two responses."""


@implementer(IHalfCloseableProtocol)
class Responses(Protocol):
    """
    The edge's end of a stream.

    @ivar usable: whether another request may be sent on it.
    @ivar used: how many responses came whole.
    @cvar reads_before_reset: an upstream that resets its connection behind a whole answer has answered.
    """

    reads_before_reset = True

    transport: Any

    def __init__(self, visitor: Any) -> None:
        self._visitor = visitor
        self._reader = ResponseReader()
        self._body: Body | None = None
        self._keep_alive = True
        self._method = b""
        self._raw = False
        self.usable = True
        self.used = 0

    def expect(self, method: bytes) -> None:
        """The answer to a C{method} request comes next."""
        self._method = method

    @property
    def waiting(self) -> bool:
        """Whether an answer is under way."""
        return bool(self._method)

    def detach(self) -> None:
        """The visitor is gone or wants no more: reset the stream if anything is under way, else close it."""
        self._visitor = None
        self.usable = False
        if self.transport is not None:
            self.transport.unregisterProducer()
            if self.waiting or self._raw:
                self.transport.abortConnection()
            else:
                self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the upstream's."""
        try:
            while data and self._visitor is not None:
                data = self._receive(data)
        except BadMessage as error:
            self._lost(f"its answer cannot be passed on: {error.text}")

    def _receive(self, data: bytes) -> bytes:
        if self._raw:
            self._visitor.answer_raw(data)
            return b""
        if not self._method:
            self._lost("it sent more than it was asked for")
            return b""
        if self._body is not None:
            payload, rest = self._body.feed(data)
            if payload:
                self._visitor.answer_body(payload)
            self._check_end(rest)
            return rest
        result = self._reader.feed(data, self._method)
        if result is None:
            return b""
        head, rest = result
        if head.status == 101:
            self._raw = True
            self.usable = False
            self._visitor.answer_head(head)
        elif head.status < 200:
            self._visitor.answer_head(head)
        else:
            self._keep_alive = head.keep_alive
            if head.chunked:
                self._body = ChunkedBody(named_by_connection(head.values))
            elif head.length is not None:
                self._body = LengthBody(head.length)
            else:
                self._body = UntilCloseBody()
            self._visitor.answer_head(head)
            self._check_end(rest)
        return rest

    def _check_end(self, rest: bytes = b"") -> None:
        body = self._body
        if body is not None and body.done and self._visitor is not None:
            self._body = None
            self._method = b""
            self.used += 1
            # Bytes behind an answer belong to no request: nobody else's may meet them.
            if rest or not self._keep_alive:
                self.usable = False
            self._visitor.answer_end(body.trailers)

    def readConnectionLost(self) -> None:
        """The upstream closed its half: for a body that ends with the connection, its end."""
        self.usable = False
        if isinstance(self._body, UntilCloseBody):
            self._body.done = True
            self._check_end()
        else:
            self._lost("it closed the connection" + (" before the end of its answer" if self.waiting else ""))

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream is gone."""
        self._lost("the connection to it was lost")

    def _lost(self, error: str) -> None:
        self.usable = False
        visitor, self._visitor = self._visitor, None
        if visitor is not None:
            waiting, self._method = self.waiting, b""
            visitor.answer_lost(error if waiting or self._raw else "")
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()
