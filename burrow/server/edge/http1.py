"""
HTTP/1.1 on a visitor's connection: requests read, one L{Exchange} after the other, and its answer written.

While a request is under way, what comes behind it (pipelining) waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from burrow.http.body import Body, ChunkedBody, LengthBody, chunk, last_chunk
from burrow.http.fields import named_by_connection, write_head
from burrow.http.head import BadMessage
from burrow.http.headers import Fields
from burrow.http.remembered import Remembered
from burrow.http.request_head import RequestHead, RequestReader
from burrow.http.response_head import ResponseHead
from burrow.mux.pipe import PipeEnd
from burrow.server.edge import pages
from burrow.server.edge.answers import write_answer, write_interim, write_switch
from burrow.server.edge.connection import IConnection
from burrow.server.edge.context import Edge, Own
from burrow.server.edge.exchange import Exchange
from burrow.server.edge.pace import Pace
from burrow.server.edge.upgraded import Upgraded
from burrow.server.edge.visitor import OPEN, State, Visitor
from burrow.traffic.watched import watch


@implementer(IConnection)
class Http1Visitor(Visitor):
    """See the docstrings of the module and of L{Visitor}."""

    only_switches = False

    def __init__(self, edge: Edge, scheme: str, own: Own) -> None:
        super().__init__(edge, scheme, own)
        self._asked: Remembered[RequestHead] = Remembered(edge.memory)
        self._reader = RequestReader(self._asked)
        self._sends = Pace(edge.sweep, edge.rate, self._sent, self._sends_too_slowly)
        self._advancing = False
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        self._chunked = False
        self._close_after = False

    # -- the requests -------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Use the bytes that wait, as far as they can be used now. See L{IConnection}."""
        if self._advancing or self.state not in OPEN:
            return
        self._advancing = True
        try:
            while self._buffer:
                exchange = self._exchange
                if self.state is State.IDLE and not self._answers.full:
                    data, self._buffer = self._buffer, b""
                    result = self._reader.feed(data)
                    if result is None:
                        break
                    head, self._buffer = result
                    self._begin(head)
                elif self.state is State.EXCHANGE and exchange and not (exchange.whole or exchange.waits):
                    self._pass_body(exchange)
                else:
                    break
        except BadMessage as error:
            self.answer_page(pages.bad_request(error.status, error.text), linger=True)
        finally:
            self._advancing = False
        if self.ended:
            self._no_more_comes()
        if self._buffer or self._reading.paused:
            self._reading.update()

    def _begin(self, head: RequestHead) -> None:
        """Begin the exchange of a request."""
        self._enter(State.EXCHANGE)
        self.asked = True
        self._close_after = not head.keep_alive
        if head.length is None:
            self._body = ChunkedBody(named_by_connection(head.headers))
        elif head.length:
            self._body = LengthBody(head.length)
        self._exchange = Exchange(self._edge, self, head)
        self._exchange.begin()

    def _pass_body(self, exchange: Exchange) -> None:
        """Pass on what has come of the request's body."""
        body = self._body
        assert body is not None
        payload, self._buffer = body.feed(self._buffer)
        if body.done:
            self._sends.fast_enough()
            exchange.send_body(payload, body.trailers)
        else:
            self._sends.watch()
            exchange.send_body(payload)

    def _no_more_comes(self) -> None:
        """The visitor has closed its half, and what can be used of its bytes is used."""
        exchange = self._exchange
        if self.state is State.IDLE:
            if not (self._buffer and self._answers.full):
                self._close()  # it asked nothing more, or not to the end
        elif self.state is State.EXCHANGE and exchange and not (self._buffer or exchange.waits):
            if not exchange.whole:
                self.answer_page(pages.bad_request(400, "the body of the request ended too early"))
            elif self._kept.responses is not None:
                # The last request, and whole. Half a close is half a close for the upstream, too.
                self._close_after = True
                self._kept.responses.transport.loseWriteConnection()

    @property
    def _head_begun(self) -> bool:
        """See L{Visitor}."""
        return self._reader.started

    def _head_timed_out(self) -> None:
        """See L{Visitor}."""
        if self._reader.started:
            page = pages.bad_request(408, "the head of the request did not come in time")
            self.answer_page(page, linger=True)
        else:
            self._close()

    @property
    def _endless(self) -> bool:
        """See L{Visitor}."""
        return self._exchange is not None and self._exchange.endless

    # -- how fast the body comes --------------------------------------------------------------------------

    def body_awaited(self) -> None:
        """See L{IConnection}."""
        self._sends.watch()

    def _sent(self) -> int | None:
        """What it has sent, while nothing but the rest of its request's body is waited for."""
        exchange = self._exchange
        if exchange is None or self.state is not State.EXCHANGE or self._reading.paused:
            return None
        return None if exchange.whole or exchange.waits or exchange.answer is not None else self._received

    def _sends_too_slowly(self) -> None:
        text = "the body of the request came too slowly"
        self.answer_page(pages.bad_request(408, text), linger=True)

    # -- the exchange's answer: see L{IConnection} --------------------------------------------------------

    def answer_interim(self, head: ResponseHead) -> None:
        """See L{IConnection}. HTTP/1.0 has no interim answers."""
        assert self._exchange is not None
        if self._exchange.request.version == "1.1":
            self.transport.write(write_interim(head, self._edge.domain))

    def answer(self, head: ResponseHead) -> None:
        """See L{IConnection}."""
        exchange = self._exchange
        assert exchange is not None
        # An answer that begins before the request's end is the last: where a next one begins is unknown.
        close = self._close_after or self._edge.draining or not exchange.whole
        request = exchange.request
        cookie = exchange.among.cookie if exchange.among is not None else b""
        usual = not close and request.version == "1.1" and not cookie
        passed_on = head.passed_on if usual else None
        if passed_on is None:
            passed_on = write_answer(request, head, self._edge.domain, close=close, cookie=cookie)
            if usual:
                head.passed_on = passed_on
        data, self._chunked, self._close_after, numbered = passed_on
        self.transport.write(b"%b%b\r\n\r\n" % (data, exchange.request_id) if numbered else data)

    def answer_data(self, data: bytes) -> None:
        """See L{IConnection}."""
        self.transport.write(chunk(data) if self._chunked else data)

    def answer_end(self, trailers: Fields) -> None:
        """See L{IConnection}."""
        if self._chunked:
            self.transport.write(last_chunk(trailers))
        self._end_exchange()

    def answer_page(self, page: pages.Page, *, linger: bool = False) -> None:
        """See L{IConnection}. Also the answer to what is no request; breaks off an answer that has begun."""
        exchange, responses = self._exchange, self._kept.responses
        accept, head_only = b"", False
        # Behind 421 a visitor is to connect anew; with HTTP/1.1 it does so once this connection is gone.
        self._close_after = self._close_after or linger or self._edge.draining or page.status == 421
        if exchange is not None:
            if exchange.answer is not None:
                self.break_off()
                return
            exchange.stop(page)
            self._close_after = self._close_after or not exchange.whole
            accept = b",".join(exchange.request.headers.get(b"accept", ()))
            head_only = exchange.request.method == b"HEAD"
        if responses is not None and responses.waiting:
            self._kept.drop()
        request_id = exchange.request_id if exchange is not None else b""
        self.transport.write(
            pages.render(page, accept, head_only=head_only, close=self._close_after, request_id=request_id)
        )
        self._end_exchange(linger=linger)

    def _end_exchange(self, *, linger: bool = False) -> None:
        """The answer is whole. C{linger}: the visitor may still be sending."""
        exchange, self._exchange = self._exchange, None
        if linger or (exchange is not None and not exchange.whole):
            self._linger()
        elif self._close_after:
            self._close()
        else:
            self._enter(State.IDLE)
            responses = self._kept.responses
            if responses is not None and not responses.usable:
                self._kept.drop()
            self._edge.sweep.add(self, self._edge.idle_timeout)
            self.advance()

    # -- the connection becomes another protocol's --------------------------------------------------------

    def hand_over(self, factory: IProtocolFactory) -> None:
        """See L{IConnection}."""
        assert self._exchange is not None
        head = self._exchange.request
        self._kept.drop()
        protocol: Any = factory.buildProtocol(self.transport.getPeer())
        first_line = b"%b %b HTTP/%b" % (head.method, head.target, head.version.encode())
        first = write_head(first_line, head.headers.fields)
        rest, self._buffer = self._buffer, b""
        self._give_to(protocol)
        protocol.dataReceived(first + rest)

    def answer_switch(self, head: ResponseHead) -> None:
        """See L{IConnection}."""
        assert self._exchange is not None
        data = write_switch(self._exchange.request, head, self._edge.domain)
        if data is None:
            raise BadMessage(502, "it switches to a protocol that nobody asked for")
        self.transport.write(data)

    def switch(self, end: PipeEnd) -> None:
        """See L{IConnection}."""
        visitor = Upgraded(self._edge, self._kept.route, ended=self.ended)
        record = self._exchange.record if self._exchange is not None else None
        if record is not None:
            watch(self._edge.traffic, record, visitor)
        self._kept.forget()
        self._give_to(visitor)
        rest, self._buffer = self._buffer, b""
        if rest:
            end.transport.write(rest)
        visitor.join(end)

    # -- the end ------------------------------------------------------------------------------------------

    def _withdraw(self) -> None:
        """See L{Visitor}."""
        self._sends.stop()
        self._asked.forget()
        super()._withdraw()

    def _stop_exchange(self) -> None:
        """See L{Visitor}."""
        if self._exchange is not None:
            self._exchange.stop()


class VisitorFactory(Factory):
    """
    Builds visitors' connections.

    @param scheme: "https" inside TLS, else "http".
    @param redirect: answers every request instead of the tunnels, where visitors belong elsewhere.
    """

    noisy = False

    def __init__(
        self, edge: Edge, scheme: str, redirect: Callable[[RequestHead], pages.Page] | None = None
    ) -> None:
        self._edge = edge
        self._scheme = scheme
        self._own: Own = redirect or edge.own

    def buildProtocol(self, addr: Any) -> Http1Visitor:
        """One connection."""
        return Http1Visitor(self._edge, self._scheme, self._own)
