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

from burrow.mux.pipe import PipeEnd
from burrow.server.edge.body import Body, ChunkedBody, LengthBody, UntilCloseBody
from burrow.server.edge.fields import named_by_connection
from burrow.server.edge.head import BadMessage
from burrow.server.edge.headers import Fields
from burrow.server.edge.response_head import ResponseHead, ResponseReader


class IAnswered(Interface):
    """The visitor's side of an exchange."""

    def answer_head(head: ResponseHead) -> None:
        """A head, interim ones (1xx) and a 101 included. May raise L{BadMessage}: it cannot be passed on."""

    def answer_body(data: bytes) -> None:
        """Bytes of the body, not empty."""

    def answer_end(trailers: Fields) -> None:
        """The response is whole."""

    def answer_switched(end: PipeEnd) -> None:
        """After a 101: what follows is the stream's new protocol's, which reads once it is joined."""

    def answer_lost(error: str) -> None:
        """No more will come: what the upstream did, in words; empty if it went between two responses."""


@implementer(IHalfCloseableProtocol)
class Responses(Protocol):
    """
    The edge's end of a stream.

    @ivar usable: whether another request may be sent on it.
    @ivar used: how many responses came whole.
    @ivar whole: whether the last request has been sent to its end.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
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
        self.deadline: float | None = None
        self.usable = True
        self.used = 0
        self.whole = True

    def expect(self, method: bytes, *, whole: bool) -> None:
        """The answer to a C{method} request comes next. C{whole}: whether no body of it is to come."""
        self._method = method
        self.whole = whole

    @property
    def waiting(self) -> bool:
        """Whether an answer is under way."""
        return bool(self._method)

    @property
    def granted(self) -> int:
        """A number that grows when the agent has passed on more of the request: see L{Stream.granted}."""
        granted: int = self.transport.granted
        return granted

    def detach(self, *, left: bool = False) -> None:
        """
        The visitor wants no more: reset the stream if anything is under way, else close it.

        @param left: the visitor is gone. A request that is whole is delivered whole all the same: with a FIN
            behind it, and a reset at the first byte of an answer; or, once an answer has begun, with a reset.
        """
        self._visitor = None
        self.usable = False
        if self.transport is not None:
            self.transport.unregisterProducer()
            if self.whole and not self.waiting:
                self.transport.loseConnection()
            elif not (self.whole and left):
                self.transport.abortConnection()
            elif self._body is None:
                self.transport.loseConnection()
            else:
                self.transport.breakConnection()

    def timed_out(self) -> None:
        """The sweep's word: the request of a visitor that left was not taken in time."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the upstream's."""
        try:
            while data and self._visitor is not None:
                data = self._receive(data)
        except BadMessage as error:
            self._lost(f"its answer cannot be passed on: {error.text}")

    def _receive(self, data: bytes) -> bytes:
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
            self._visitor.answer_head(head)
            visitor, self._visitor = self._visitor, None
            self.usable = False
            self.transport.unregisterProducer()
            end = PipeEnd()
            self.transport.become(end, rest)
            visitor.answer_switched(end)
            return b""
        if head.status < 200:
            self._visitor.answer_head(head)
        else:
            self._keep_alive = head.keep_alive
            if head.chunked:
                self._body = ChunkedBody(named_by_connection(head.headers))
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
            visitor.answer_lost(error if waiting else "")
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()
