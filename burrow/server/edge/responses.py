"""
What an upstream answers on a stream: response heads parsed, bodies passed on as they come.

One L{Responses} sits on one stream, which carries requests of one visitor's connection to one upstream, one
after the other. It tells the exchange whose answer is under way, an L{IAnswered}, what came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from burrow.http.body import Body, ChunkedBody, LengthBody, UntilCloseBody
from burrow.http.fields import named_by_connection
from burrow.http.head import BadMessage
from burrow.http.headers import Fields
from burrow.http.remembered import Remembered
from burrow.http.response_head import ResponseHead, ResponseReader
from burrow.mux.pipe import PipeEnd


class IAnswered(Interface):
    """Who is told of one answer. After the last three nothing more is told."""

    def answer_head(head: ResponseHead) -> None:
        """A head, interim ones (1xx) and a 101 included. May raise L{BadMessage}: it cannot be passed on."""

    def answer_body(data: bytes) -> None:
        """Bytes of the body, not empty."""

    def answer_end(trailers: Fields) -> None:
        """The answer is whole."""

    def answer_switched(end: PipeEnd) -> None:
        """After a 101: what follows is the stream's new protocol's, which reads once it is joined."""

    def answer_lost(error: str) -> None:
        """No more will come: what the upstream did, in words."""


@implementer(IHalfCloseableProtocol)
class Responses(Protocol):
    """
    The edge's end of a stream.

    @param lost: called when no more comes on the stream, before the exchange that waits is told; not after
        L{detach}.
    @param remembered: the heads of answers that came before to the same visitor's connection.
    @ivar ends: whether the answer that is under way, or came last, is the last.
    @ivar used: how many responses came whole.
    @ivar whole: whether the last request has been sent to its end.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    @cvar reads_before_reset: an upstream that resets its connection behind a whole answer has answered.
    """

    reads_before_reset = True

    transport: Any

    def __init__(self, lost: Callable[[], None], remembered: Remembered[ResponseHead] | None = None) -> None:
        self._on_lost: Callable[[], None] | None = lost
        self._answered: Any = None
        self._reader = ResponseReader(remembered)
        self._body: Body | None = None
        self._keep_alive = True
        self._method = b""
        self.deadline: float | None = None
        self.ends = False
        self.used = 0
        self.whole = True

    def expect(self, answered: Any, method: bytes, *, whole: bool) -> None:
        """
        The answer to a C{method} request comes next.

        @param answered: an L{IAnswered}, which is told of it.
        @param whole: whether no body of the request is to come.
        """
        self._answered = answered
        self._method = method
        self.whole = whole

    @property
    def waiting(self) -> bool:
        """Whether an answer is under way."""
        return self._answered is not None

    @property
    def has_end(self) -> bool:
        """Whether the end of the body has come, which is told behind the bytes that are told now."""
        return self._body is not None and self._body.done

    @property
    def usable(self) -> bool:
        """
        Whether another request may be sent on it. The last one must be sent to its end, or the next would be
        read as the rest of its body; and it must be answered, or the next would get its answer.
        """
        return self.whole and not self.waiting and not self.ends

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
        waiting, self._answered, self._on_lost = self.waiting, None, None
        self.ends = True
        if self.transport is not None:
            self.transport.unregisterProducer()
            if self.whole and not waiting:
                self.transport.loseConnection()
            elif not (self.whole and left):
                self.transport.abortConnection()
            elif self._body is None:
                self.transport.loseConnection()
            else:
                self.transport.breakConnection()

    def timed_out(self) -> None:
        """Called by the sweep: the request of a visitor that left was not taken in time."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the upstream's."""
        try:
            while data and self._answered is not None:
                if self._body is None:
                    data = self._receive_head(data)
                else:
                    payload, data = self._body.feed(data)
                    if payload:
                        self._answered.answer_body(payload)
                if self._body is not None and self._body.done and self._answered is not None:
                    self._end(self._body, data)
        except BadMessage as error:
            self._lost(f"its answer cannot be passed on: {error.text}")
        if data and not self.ends and self._answered is None:
            self._lost("it sent more than it was asked for")

    def _receive_head(self, data: bytes) -> bytes:
        """Read a head. @return: what is behind it."""
        result = self._reader.feed(data, self._method)
        if result is None:
            return b""
        head, rest = result
        if head.status == 101:
            self._switch(head, rest)
            return b""
        if head.status >= 200:
            self._keep_alive = head.keep_alive
            if head.chunked:
                self._body = ChunkedBody(named_by_connection(head.headers))
            elif head.length is not None:
                self._body = LengthBody(head.length)
            else:
                self._body = UntilCloseBody()
        self._answered.answer_head(head)
        return rest

    def _switch(self, head: ResponseHead, rest: bytes) -> None:
        """The stream is another protocol's from here on."""
        self._answered.answer_head(head)
        if self._answered is None:
            return  # the visitor has left just now
        answered, self._answered, self._on_lost = self._answered, None, None
        self.ends = True
        self.transport.unregisterProducer()
        end = PipeEnd()
        self.transport.become(end, rest)
        answered.answer_switched(end)

    def _end(self, body: Body, rest: bytes = b"") -> None:
        """The answer is whole. C{rest}: what came behind it."""
        answered, self._answered, self._body = self._answered, None, None
        self.used += 1
        # Bytes behind an answer belong to no request: no later request may get them as its answer.
        if rest or not self._keep_alive:
            self.ends = True
        answered.answer_end(body.trailers)

    def readConnectionLost(self) -> None:
        """The upstream closed its half: for a body that ends with the connection, its end."""
        self.ends = True
        if isinstance(self._body, UntilCloseBody):
            if self._answered is not None:
                self._end(self._body)
        else:
            self._lost("it closed the connection" + (" before the end of its answer" if self.waiting else ""))

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream is gone."""
        self._lost("the connection to it was lost")

    def _lost(self, error: str) -> None:
        self.ends = True
        answered, self._answered = self._answered, None
        lost, self._on_lost = self._on_lost, None
        if lost is not None:
            lost()
        if answered is not None:
            answered.answer_lost(error)
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()
