"""
A visitor's connection: HTTP/1.1 in, one request at a time to a tunnel, the answer out.

The connection's states, and what leaves each::

    HEAD      no request is under way; its next head is being read, for idle_timeout at most
    EXCHANGE  a request is under way: routed, then sent on a stream, then answered. Bytes behind the
              request (pipelining) wait. Begun answers end the response_timeout.
    HANDED    another protocol has the connection (an agent's WebSocket; after 101, L{Upgraded})
    CLOSING   all is said; what still comes is dropped until the visitor closes or sends nothing for
              LINGER, so that no reset destroys the answer on its way; then the rest is flushed, for
              as long as the visitor takes it

A visitor that closes its half (a FIN, or TLS's close_notify) sends no more, and may still read. What it
asked and is whole is passed on with the same end behind it, and answered; what is not whole is reset.
A visitor that is gone looks the same until something is written to it.

What bounds the buffers: reading stops when MAX_WAITING bytes wait here, or when the stream to the
agent is full; when the visitor does not read, the stream is paused and no other request is begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import StoreError, StreamGone
from burrow.mux.pipe import PipeEnd, break_off, end_writing
from burrow.protocols.http import FAILURE_HEADER
from burrow.server.edge import pages
from burrow.server.edge.answers import write_answer, write_interim, write_switch
from burrow.server.edge.body import Body, ChunkedBody, LengthBody, chunk, last_chunk
from burrow.server.edge.context import Edge
from burrow.server.edge.fields import named_by_connection, write_head
from burrow.server.edge.flow import Answering, Reading
from burrow.server.edge.forwarded import Hop
from burrow.server.edge.head import BadMessage
from burrow.server.edge.headers import Fields
from burrow.server.edge.hops import last_stop
from burrow.server.edge.pace import Pace
from burrow.server.edge.request_head import RequestHead, RequestReader
from burrow.server.edge.response_head import ResponseHead
from burrow.server.edge.responses import IAnswered, Responses
from burrow.server.edge.tls import Shown
from burrow.server.edge.upgraded import Upgraded
from burrow.server.route import IRoute, NoRoute
from burrow.sockets import idle, lowest_transport, swap_protocol, taken

LINGER = 3.0
"""Seconds that a visitor may be silent which still sends what is answered already."""

_MAX_LINGERS = 10
LEAVE_WITHIN = 60.0
"""Seconds that an upstream has for the request of a visitor that is gone, until it is reset."""

_IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"TRACE")
_MAX_FAILURE = 4096


@implementer(IAnswered, IHalfCloseableProtocol)
class Visitor(Protocol):
    """
    One visitor's connection. See the module's own words for its states.

    @ivar ended: whether the visitor closed its half: it sends no more, or is gone.
    @ivar asked: whether it ever brought a request.
    """

    log = Logger()
    transport: Any

    def __init__(self, edge: Edge, scheme: str, redirect: Callable[[RequestHead], pages.Page] | None) -> None:
        self.deadline: float | None = None
        self._edge = edge
        self._scheme = scheme
        self._redirect = redirect
        self._reader = RequestReader()
        self._reading = Reading(self)
        self._answers = Answering(self)
        self._sends = Pace(edge.sweep, edge.rate, self._sent, self._sends_too_slowly)
        self._takes = Pace(edge.sweep, edge.rate, self._taken, self._takes_too_slowly)
        self._received = 0
        self._moved = 0
        self._granted = 0
        self._lingers = 0
        self.ended = False
        self._buffer = b""
        self._advancing = False
        self._request: RequestHead | None = None
        self._body: Body | None = None
        self._head = b""
        self._routing: Deferred[Any] | None = None
        self._answered = False
        self._rerouted = False
        self._chunk_answer = False
        self._close_after = False
        self._failure: tuple[str, bytearray] | None = None
        self._responses: Responses | None = None
        self._tunnel: IRoute | None = None
        self._address = ("", "")
        self._shown: Shown | None = None
        self._answer: ResponseHead | None = None
        self._closing = False
        self._flushing = False
        self.asked = False

    # -- the connection -----------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """Bytes read and not used yet."""
        return len(self._buffer)

    @property
    def may_be_gone(self) -> bool:
        """See L{Asking<burrow.server.waiting.Asking>}."""
        return self.ended

    @property
    def tunnel(self) -> IRoute | None:
        """The tunnel that this connection has a stream of."""
        return None if self._responses is None else self._tunnel

    @property
    def running(self) -> bool:
        """Whether there is something to finish: see L{burrow.server.finishing}."""
        if self._endless:
            return not idle(self.transport)
        return self._closing or self._request is not None or self._reader.started

    def finish(self, *, closing: bool) -> None:
        """
        Nothing runs here: give up the stream; with C{closing}, and from an event stream, the connection too.
        """
        if closing or self._endless:
            self._close()
        else:
            self._detach()

    @property
    def _endless(self) -> bool:
        """Whether what is under way has no end of its own: an event stream."""
        answer = None if self._request is None else self._answer
        return answer is not None and answer.headers.value(b"content-type").startswith(b"text/event-stream")

    def connectionMade(self) -> None:
        """The first head has idle_timeout to come."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._shown = getattr(self.transport, "shown", None)
        self._hop = Hop(self._edge.forwarding, self.transport.getPeer(), self._scheme)
        self.transport.registerProducer(self._answers, True)
        self._edge.visitors.add(self)
        self._edge.sweep.add(self, self._edge.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the visitor's."""
        self._received += len(data)
        if not self._closing:
            self._buffer += data
            self._advance()

    def readConnectionLost(self) -> None:
        """The visitor closed its half, or is gone."""
        self.ended = True
        if not self._closing:
            self._advance()
        elif not self._flushing:
            self._flush()

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor is gone. What it asked and is whole goes on to the upstream, with the end behind it."""
        self._edge.visitors.discard(self)
        self._edge.sweep.discard(self)
        self._sends.stop()
        self._takes.stop()
        self._closing = True
        routing, self._routing = self._routing, None
        if routing is not None:
            routing.cancel()
        self._detach(left=True)

    def timed_out(self) -> None:
        """The sweep's word: whatever was waited for did not come."""
        if self._flushing:
            least = self._edge.rate.least * self._edge.idle_timeout
            if not least or self._moves(taken(self.transport), least):
                self._edge.sweep.add(self, self._edge.idle_timeout)
            else:
                self.transport.abortConnection()
        elif self._closing:
            self._lingers += 1
            if self._lingers < _MAX_LINGERS and self._moves(self._received, 1):
                self._edge.sweep.add(self, LINGER)
            else:
                self._flush()
        elif self._routing is not None:
            self._edge.sweep.add(self, self._edge.response_timeout)  # it waits for its tunnel, for --hold
        elif self._request is not None and self._upstream_takes():
            self._edge.sweep.add(self, self._edge.response_timeout)
        elif self._request is not None:
            seconds = f"{self._edge.response_timeout:g} seconds"
            text = f"The upstream has not begun its answer within {seconds}."
            self._answer_page(pages.upstream_failed("timeout", text), linger=True)
        elif self._answers.full:
            self._edge.sweep.add(self, self._edge.idle_timeout)  # its pace is watched
        elif self._reader.started:
            page = pages.bad_request(408, "the head of the request did not come in time")
            self._answer_page(page, linger=True)
        else:
            self._close()

    def _upstream_takes(self) -> bool:
        """Whether the agent has passed on some of the request since that was asked last."""
        if self._responses is None or self._request is None or self._request.length == 0:
            return False
        before, self._granted = self._granted, self._responses.granted
        return self._granted > before

    def _moves(self, count: int | None, least: float) -> bool:
        """Whether a count has grown by at least so much since it was looked at last."""
        if count is None:
            return False
        before, self._moved = self._moved, count
        return count - before >= least

    def _advance(self) -> None:
        """Use the bytes that wait, as far as they can be used now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and not (self._closing or self._routing):
                if self._body is not None:
                    self._pass_body()
                elif self._request is not None or self._answers.full or not self._read_head():
                    break
        except BadMessage as error:
            self._answer_page(pages.bad_request(error.status, error.text), linger=True)
        finally:
            self._advancing = False
        if self.ended and not self._closing:
            self._no_more_comes()
        self._reading.update()

    def _no_more_comes(self) -> None:
        """The visitor has closed its half, and what can be used of its bytes is used."""
        if self._request is None:
            if not (self._buffer and self._answers.full):
                self._close()  # it asked nothing more, or not to the end
        elif self._buffer or self._routing:
            pass
        elif self._body is not None:
            self._answer_page(pages.bad_request(400, "the body of the request ended too early"))
        elif self._responses is not None:
            # The last request, and whole. Half a close is half a close for the upstream, too.
            self._close_after = True
            self._responses.transport.loseWriteConnection()

    # -- how fast the visitor is --------------------------------------------------------------------------

    def visitor_full(self) -> None:
        """See L{Flowing<burrow.server.edge.flow.Flowing>}."""
        self._takes.watch()

    def visitor_reads(self) -> None:
        """See L{Flowing<burrow.server.edge.flow.Flowing>}."""
        self._takes.fast_enough()
        if not self._closing:
            self._advance()

    def _sent(self) -> int | None:
        """What it has sent, while nothing but the rest of its request's body is waited for."""
        request = self._request
        if request is None or self._body is None or self._answered or self._closing or self._reading.paused:
            return None
        return None if self._routing is not None else self._received  # what came waits for its tunnel

    def _taken(self) -> int | None:
        """What it has taken, while more waits for it."""
        return taken(self.transport) if self._answers.full else None

    def _sends_too_slowly(self) -> None:
        text = "the body of the request came too slowly"
        self._answer_page(pages.bad_request(408, text), linger=True)

    def _takes_too_slowly(self) -> None:
        self._closing = True
        self._detach()
        self.transport.abortConnection()

    # -- the request ------------------------------------------------------------------------------------

    def _read_head(self) -> bool:
        data, self._buffer = self._buffer, b""
        result = self._reader.feed(data)
        if result is None:
            return False
        head, self._buffer = result
        self._begin(head)
        return True

    def _begin(self, head: RequestHead) -> None:
        self._request = head
        self.asked = True
        self._answered = self._chunk_answer = self._rerouted = False
        self._answer = None
        self._failure = None
        self._close_after = not head.keep_alive
        if head.length is None:
            self._body = ChunkedBody(named_by_connection(head.headers))
        else:
            self._body = LengthBody(head.length) if head.length else None
        self._edge.sweep.add(self, self._edge.response_timeout)
        if self._redirect is not None:
            self._answer_page(self._redirect(head))
            return
        if self._shown is not None and not self._shown.covers(head.host):
            self._answer_page(pages.misdirected(head.host))
            return
        own = self._edge.own(head)
        if isinstance(own, pages.Page):
            self._answer_page(own)
        elif own is not None:
            self._hand_over(own, head)
        else:
            self._route(head)

    def _route(self, head: RequestHead) -> None:
        page = last_stop(head, self._edge.forwarding)
        if page is not None:
            self._answer_page(page)
            return
        self._head, self._address = self._hop.rewrite(head)
        found = self._edge.find(head.host, self)
        if not isinstance(found, Deferred):
            self._send(found)
            return
        self._routing = found
        found.addCallbacks(self._routed, self._not_routed)

    def _routed(self, found: IRoute | pages.Page) -> None:
        self._routing = None
        if self._request is not None and not self._closing:
            if isinstance(found, pages.Page):
                self._answer_page(found)
            else:
                self._begin_response_time()
                self._send(found)
            self._advance()

    def _not_routed(self, reason: Failure) -> None:
        if self._closing:
            return  # the visitor left
        if isinstance(reason.value, NoRoute) and self._request is not None:
            self._routed(pages.no_route(self._request.host, reason.value.why))
            return
        if not reason.check(StoreError):
            self.log.failure("a request could not be routed", reason)
        text = "The server cannot tell now which tunnel this is. Try again in a few seconds."
        self._routed(
            pages.Page(503, "store-away", "The server is not ready", text, ((b"Retry-After", b"5"),))
        )

    def _send(self, tunnel: IRoute) -> None:
        """Send the request's head, on the stream that this connection has or on a new one."""
        assert self._request is not None
        responses = self._responses
        if responses is None or not responses.usable or self._tunnel is not tunnel:
            self._detach()
            responses = Responses(self)
            try:
                tunnel.connect(responses, *self._address)
            except StreamGone:
                self._answer_page(pages.agent_away(self._request.host))
                return
            self._responses, self._tunnel = responses, tunnel
            self._answers.stream = responses.transport
            responses.transport.registerProducer(self._reading, True)
        responses.expect(self._request.method, whole=self._body is None)
        responses.transport.write(self._head)
        self._granted = responses.granted if self._request.length != 0 else 0
        if self._body is not None and not self._request.headers.value(b"expect"):
            self._sends.watch()  # else once the body begins: who asks first is told by the upstream
        if self.ended and not self._advancing:
            self._no_more_comes()

    def _pass_body(self) -> None:
        """Pass on what has come of the request's body."""
        body, request = self._body, self._request
        assert body is not None
        assert request is not None
        payload, self._buffer = body.feed(self._buffer)
        out = chunk(payload) if payload and request.length is None else payload
        if body.done:
            self._body = None
            self._sends.fast_enough()
            if request.length is None:
                out += last_chunk(body.trailers)
        else:
            self._sends.watch()
        if self._responses is not None:
            self._responses.whole = body.done
            if out:
                self._responses.transport.write(out)
        if self.deadline is not None:
            self._begin_response_time()

    def _begin_response_time(self) -> None:
        """The upstream has response_timeout from now on to begin its answer, or to take more of the body."""
        self._edge.sweep.add(self, self._edge.response_timeout)
        if self._responses is not None:
            self._granted = self._responses.granted

    def _hand_over(self, factory: IProtocolFactory, head: RequestHead) -> None:
        """Let another protocol have the connection, beginning with this request."""
        self._detach()
        protocol: Any = factory.buildProtocol(self.transport.getPeer())
        first = write_head(
            head.method + b" " + head.target + b" HTTP/" + head.version.encode(), head.headers.fields
        )
        rest, self._buffer = self._buffer, b""
        self._give_to(protocol)
        protocol.dataReceived(first + rest)

    def _give_to(self, protocol: Any) -> None:
        """Put another protocol on the connection, for good."""
        self._edge.visitors.discard(self)
        self._edge.sweep.discard(self)
        self._sends.stop()
        self._takes.stop()
        self._closing = True
        self.transport.unregisterProducer()
        swap_protocol(self.transport, protocol)

    # -- the answer -----------------------------------------------------------------------------------------

    def answer_head(self, head: ResponseHead) -> None:
        """See L{IAnswered}."""
        request = self._request
        assert request is not None
        if head.status == 101:
            data = write_switch(request, head, self._edge.domain)
            if data is None:
                raise BadMessage(502, "it switches to a protocol that nobody asked for")
            self.transport.write(data)
            return
        if head.status < 200:
            if request.version == "1.1":
                self.transport.write(write_interim(head, self._edge.domain))
            self._begin_response_time()  # it works on it (RFC 2518 section 10.1)
            return
        failure = head.headers.value(FAILURE_HEADER.lower())
        if failure:
            self._failure = failure.decode("latin-1"), bytearray()
            return
        self._edge.sweep.discard(self)
        self._answered = True
        self._answer = head
        # An answer that begins before the request's end is the last: nobody knows where the next would begin.
        close = self._close_after or self._edge.draining or self._body is not None
        answer = write_answer(request, head, self._edge.domain, close=close)
        self._chunk_answer, self._close_after = answer.chunked, answer.close
        self.transport.write(answer.data)

    def answer_switched(self, end: PipeEnd) -> None:
        """See L{IAnswered}."""
        self._responses = self._answers.stream = None
        visitor = Upgraded(self._edge, self._tunnel, ended=self.ended)
        self._give_to(visitor)
        rest, self._buffer = self._buffer, b""
        if rest:
            end.transport.write(rest)
        visitor.join(end)

    def answer_body(self, data: bytes) -> None:
        """See L{IAnswered}."""
        if self._failure is not None:
            self._failure[1].extend(data[: _MAX_FAILURE - len(self._failure[1])])
        else:
            self.transport.write(chunk(data) if self._chunk_answer else data)

    def answer_end(self, trailers: Fields) -> None:
        """See L{IAnswered}."""
        if self._failure is not None:
            code, text = self._failure
            if code == pages.AGENT_AWAY and self._request is not None:
                # Another node's word: the agent left it, and came to no other.
                self._answer_page(pages.agent_away(self._request.host))
                return
            self._answer_page(pages.upstream_failed(code, text.decode("utf-8", "replace")))
            return
        if self._chunk_answer:
            self.transport.write(last_chunk(trailers))
        self._end_exchange()

    def answer_lost(self, error: str) -> None:
        """See L{IAnswered}."""
        responses, self._responses, self._answers.stream = self._responses, None, None
        if self._closing:
            return
        self._reading.resumeProducing()
        request, tunnel = self._request, self._tunnel
        if self._answered and request is not None and error:
            self._break()
        elif request is not None and tunnel is not None and error:
            self._unanswered(request, tunnel, responses, error)

    def _unanswered(
        self, request: RequestHead, tunnel: IRoute, responses: Responses | None, error: str
    ) -> None:
        """The stream ended, and nothing of the answer had come: ask again, where asking is all it was."""
        only_asks = request.method in _IDEMPOTENT and request.length == 0
        if only_asks and not self._rerouted and (tunnel.may_have_moved):
            # The agent went with the request, or may have, on another node: let its successor answer.
            self._rerouted = True
            self._route(request)
        elif not tunnel.alive:
            self._answer_page(pages.agent_away(request.host))
        elif only_asks and responses is not None and responses.used:
            # The upstream closed a kept connection while this request was on its way to it.
            self._send(tunnel)
        else:
            self._answer_page(pages.upstream_failed("failed", f"The upstream failed: {error}."))

    def _answer_page(self, page: pages.Page, *, linger: bool = False) -> None:
        """Answer with a page of ours, and end the exchange; where an answer has begun, break it off."""
        request = self._request
        if request is not None and self._answered:
            self._break()
            return
        self._close_after = self._close_after or linger or self._body is not None or self._edge.draining
        accept = b""
        if request is not None:
            accept = b",".join(request.headers.get(b"accept", ()))
        if self._responses is not None and self._responses.waiting:
            self._detach()
        head_only = request is not None and request.method == b"HEAD"
        self.transport.write(pages.render(page, accept, head_only=head_only, close=self._close_after))
        self._end_exchange(linger=linger)

    def _end_exchange(self, *, linger: bool = False) -> None:
        self._request = None
        self._head = b""
        if linger or self._body is not None:
            self._linger()
        elif self._close_after:
            self._close()
        else:
            self._answered = False
            if self._responses is not None and not self._responses.usable:
                self._detach()
            self._edge.sweep.add(self, self._edge.idle_timeout)
            self._advance()

    # -- the end --------------------------------------------------------------------------------------

    def _detach(self, *, left: bool = False) -> None:
        """Give the stream up. C{left}: because the visitor is gone."""
        responses, self._responses, self._answers.stream = self._responses, None, None
        if responses is not None:
            responses.detach(left=left)
            if left and responses.transport.connected:
                self._edge.sweep.add(responses, LEAVE_WITHIN)
            self._reading.resumeProducing()

    def _break(self) -> None:
        """Part of an answer is out, and no more comes: only a broken connection says that some is missing."""
        self._closing = True
        self._detach()
        self.transport.unregisterProducer()
        break_off(self.transport)

    def _close(self) -> None:
        """Close once everything is written."""
        self._closing = True
        self._detach()
        self._flush()

    def _flush(self) -> None:
        self._flushing = True
        self._moved = taken(self.transport) or 0
        self._edge.sweep.add(self, self._edge.idle_timeout)
        self.transport.unregisterProducer()
        if self.transport.disconnecting:
            # TLS has said its end, and waited for the visitor's.
            lowest_transport(self.transport).loseConnection()
        else:
            self.transport.loseConnection()

    def _linger(self) -> None:
        """Close, but read on for a while: the visitor is still sending what is answered already."""
        self._closing = True
        self._buffer = b""
        self._detach()
        if self.ended:
            self._flush()
            return
        self._reading.update()
        self._moved = self._received
        self._edge.sweep.add(self, LINGER)
        self.transport.unregisterProducer()
        end_writing(self.transport)


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
        self._redirect = redirect

    def buildProtocol(self, addr: Any) -> Visitor:
        """One connection."""
        return Visitor(self._edge, self._scheme, self._redirect)
