"""
A visitor's connection: HTTP/1.1 in, one request at a time to a tunnel, the answer out.

The connection's states, and what leaves each::

    HEAD      no request is under way; its next head is being read, for idle_timeout at most
    EXCHANGE  a request is under way: routed, then sent on a stream, then answered. Bytes behind the
              request (pipelining) wait. Begun answers end the response_timeout.
    RAW       after 101: bytes pass both ways
    HANDED    another protocol has the connection (an agent's WebSocket, the server's own pages)
    CLOSING   all is said; what still comes is dropped until the visitor closes, for LINGER at most,
              so that no reset destroys the answer on its way; then the rest is flushed, for
              idle_timeout at most

What bounds the buffers: reading stops when L{MAX_WAITING} bytes wait here, or when the stream to the
agent is full; the stream is paused when the visitor does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import StoreError, StreamGone
from burrow.mux.pipe import end_writing
from burrow.server.edge import pages
from burrow.server.edge.answers import write_answer, write_interim, write_switch
from burrow.server.edge.body import Body, ChunkedBody, LengthBody, chunk, last_chunk
from burrow.server.edge.context import Edge, Tunnel
from burrow.server.edge.fields import Headers, named_by_connection, write_head
from burrow.server.edge.head import BadMessage, RequestHead, RequestReader, ResponseHead
from burrow.server.edge.hops import last_stop
from burrow.server.edge.responses import IAnswered, Responses
from burrow.server.edge.tls import Shown

MAX_WAITING = 64 * 1024
LINGER = 3.0
_IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"TRACE")
_MAX_FAILURE = 4096

FAILURE_HEADER = b"Burrow-Error"
"""An agent that cannot reach its upstream answers with this field, a page's code, and the text as body."""


@implementer(IPushProducer)
class _Reading:
    """The visitor's connection as the producer of its stream: two reasons to pause, one transport."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._stream_full = False
        self._paused = False

    def pauseProducing(self) -> None:
        self._stream_full = True
        self.update()

    def resumeProducing(self) -> None:
        self._stream_full = False
        self.update()

    def stopProducing(self) -> None:
        self._stream_full = False
        self.update()

    def update(self) -> None:
        """Read, or do not, as things are now."""
        pause = self._stream_full or self._visitor.waiting_bytes > MAX_WAITING
        if pause != self._paused and self._visitor.connected:
            self._paused = pause
            if pause:
                self._visitor.transport.pauseProducing()
            else:
                self._visitor.transport.resumeProducing()


@implementer(IAnswered)
class Visitor(Protocol):
    """One visitor's connection. See the module's own words for its states."""

    log = Logger()
    transport: Any

    def __init__(self, edge: Edge, scheme: str, redirect: Callable[[RequestHead], pages.Page] | None) -> None:
        self.deadline: float | None = None
        self._edge = edge
        self._scheme = scheme
        self._redirect = redirect
        self._reader = RequestReader()
        self._reading = _Reading(self)
        self._buffer = b""
        self._advancing = False
        self._request: RequestHead | None = None
        self._body: Body | None = None
        self._head = b""
        self._routing = False
        self._answered = False
        self._rerouted = False
        self._chunk_answer = False
        self._close_after = False
        self._failure: tuple[str, bytearray] | None = None
        self._responses: Responses | None = None
        self._tunnel: Tunnel | None = None
        self._address = ("", "")
        self._shown: Shown | None = None
        self._raw = False
        self._closing = False
        self._flushing = False

    # -- the connection -----------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """Bytes read and not used yet."""
        return len(self._buffer)

    def connectionMade(self) -> None:
        """The first head has idle_timeout to come."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._shown = getattr(self.transport, "shown", None)
        self._edge.visitors.add(self)
        self._edge.sweep.add(self, self._edge.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the visitor's."""
        if self._raw and self._responses is not None:
            self._responses.transport.write(data)
        elif not self._closing:
            self._buffer += data
            self._advance()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor is gone: so is its request at the upstream."""
        self._edge.visitors.discard(self)
        self._edge.sweep.discard(self)
        self._closing = True
        self._detach()

    def timed_out(self) -> None:
        """The sweep's word: whatever was waited for did not come."""
        if self._flushing:
            self.transport.abortConnection()
        elif self._closing:
            self._flush()
        elif self._request is not None:
            seconds = f"{self._edge.response_timeout:g} seconds"
            text = f"The upstream has not begun its answer within {seconds}."
            self._answer_page(pages.upstream_failed("timeout", text), linger=True)
        elif self._reader.started:
            page = pages.bad_request(408, "the head of the request did not come in time")
            self._answer_page(page, linger=True)
        else:
            self._close()

    def _advance(self) -> None:
        """Use the bytes that wait, as far as they can be used now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and not (self._closing or self._raw or self._routing):
                if self._body is not None:
                    self._pass_body()
                elif self._request is not None or not self._read_head():
                    break
        except BadMessage as error:
            self._answer_page(pages.bad_request(error.status, error.text), linger=True)
        finally:
            self._advancing = False
        self._reading.update()

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
        self._answered = self._chunk_answer = self._rerouted = False
        self._failure = None
        self._close_after = not head.keep_alive
        if head.length is None:
            self._body = ChunkedBody(named_by_connection(head.values))
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
        self._head, self._address = self._edge.forwarding.rewrite(
            head, self.transport.getPeer(), self._scheme
        )
        found = self._edge.find(head.host)
        if not isinstance(found, Deferred):
            self._send(found)
            return
        self._routing = True
        found.addCallbacks(self._routed, self._not_routed)

    def _routed(self, found: Tunnel | pages.Page) -> None:
        self._routing = False
        if self._request is not None and not self._closing:
            if isinstance(found, pages.Page):
                self._answer_page(found)
            else:
                self._send(found)
            self._advance()

    def _not_routed(self, reason: Failure) -> None:
        if not reason.check(StoreError):
            self.log.failure("a request could not be routed", reason)
        text = "The server cannot tell now which tunnel this is. Try again in a few seconds."
        self._routed(
            pages.Page(503, "store-away", "The server is not ready", text, ((b"Retry-After", b"5"),))
        )

    def _send(self, tunnel: Tunnel) -> None:
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
            responses.transport.registerProducer(self._reading, True)
            self.transport.registerProducer(responses.transport, True)
        responses.expect(self._request.method)
        responses.transport.write(self._head)

    def _pass_body(self) -> None:
        """Pass on what has come of the request's body."""
        body, request = self._body, self._request
        assert body is not None
        assert request is not None
        payload, self._buffer = body.feed(self._buffer)
        out = chunk(payload) if payload and request.length is None else payload
        if body.done:
            self._body = None
            if request.length is None:
                out += last_chunk(body.trailers)
        if out and self._responses is not None:
            self._responses.transport.write(out)
        if self.deadline is not None:
            self._edge.sweep.add(self, self._edge.response_timeout)

    def _hand_over(self, factory: IProtocolFactory, head: RequestHead) -> None:
        """Let another protocol have the connection, beginning with this request."""
        self._detach()
        self._edge.visitors.discard(self)
        protocol: Any = factory.buildProtocol(self.transport.getPeer())
        first = write_head(head.method + b" " + head.target + b" HTTP/" + head.version.encode(), head.headers)
        rest, self._buffer = self._buffer, b""
        self._edge.sweep.discard(self)
        self._closing = True
        # From here on the transport calls the other protocol through us.
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self.connectionLost = protocol.connectionLost  # type: ignore[method-assign]
        protocol.makeConnection(self.transport)
        protocol.dataReceived(first + rest)

    # -- the answer -----------------------------------------------------------------------------------------

    def answer_head(self, head: ResponseHead) -> None:
        """See L{IAnswered}."""
        request = self._request
        assert request is not None
        if head.status == 101:
            self._switch(request, head)
            return
        if head.status < 200:
            if request.version == "1.1":
                self.transport.write(write_interim(head))
            return
        failure = head.value(FAILURE_HEADER.lower())
        if failure:
            self._failure = failure.decode("latin-1"), bytearray()
            return
        self._edge.sweep.discard(self)
        self._answered = True
        close = self._close_after or self._edge.draining
        answer = write_answer(request, head, self._edge.domain, close=close)
        self._chunk_answer, self._close_after = answer.chunked, answer.close
        self.transport.write(answer.data)

    def _switch(self, request: RequestHead, head: ResponseHead) -> None:
        data = write_switch(request, head)
        if data is None:
            raise BadMessage(502, "it switches to a protocol that nobody asked for")
        self.transport.write(data)
        self._edge.sweep.discard(self)
        self._raw = True
        rest, self._buffer = self._buffer, b""
        if rest and self._responses is not None:
            self._responses.transport.write(rest)
        self._reading.update()

    def answer_body(self, data: bytes) -> None:
        """See L{IAnswered}."""
        if self._failure is not None:
            self._failure[1].extend(data[: _MAX_FAILURE - len(self._failure[1])])
        else:
            self.transport.write(chunk(data) if self._chunk_answer else data)

    def answer_end(self, trailers: Headers) -> None:
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

    def answer_raw(self, data: bytes) -> None:
        """See L{IAnswered}."""
        self.transport.write(data)

    def answer_lost(self, error: str) -> None:
        """See L{IAnswered}."""
        responses, self._responses = self._responses, None
        if self._closing:
            return
        self.transport.unregisterProducer()
        self._reading.resumeProducing()
        request, tunnel = self._request, self._tunnel
        if self._raw:
            self._close()
        elif self._answered and request is not None and error:
            # Part of the answer is out: only a broken connection says that the rest is missing.
            self._closing = True
            self.transport.abortConnection()
        elif request is not None and tunnel is not None and error:
            self._unanswered(request, tunnel, responses, error)

    def _unanswered(
        self, request: RequestHead, tunnel: Tunnel, responses: Responses | None, error: str
    ) -> None:
        """The stream ended, and nothing of the answer had come: ask again, where asking is all it was."""
        only_asks = request.method in _IDEMPOTENT and not request.has_body
        if only_asks and not self._rerouted and (tunnel.relayed or not tunnel.alive):
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
        """Answer with a page of ours, and end the exchange."""
        request = self._request
        self._close_after = self._close_after or linger or self._body is not None or self._edge.draining
        accept = b""
        if request is not None:
            accept = b",".join(value for name, value in request.headers if name.lower() == b"accept")
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
            if self._responses is not None and not self._responses.usable:
                self._detach()
            self._edge.sweep.add(self, self._edge.idle_timeout)
            self._advance()

    # -- the end --------------------------------------------------------------------------------------

    def _detach(self) -> None:
        """Give the stream up."""
        responses, self._responses = self._responses, None
        if responses is not None:
            self.transport.unregisterProducer()
            responses.detach()
            self._reading.resumeProducing()

    def _close(self) -> None:
        """Close once everything is written."""
        self._closing = True
        self._detach()
        self._flush()

    def _flush(self) -> None:
        self._flushing = True
        self._edge.sweep.add(self, self._edge.idle_timeout)
        self.transport.loseConnection()

    def _linger(self) -> None:
        """Close, but read on for a while: the visitor is still sending what is answered already."""
        self._closing = True
        self._buffer = b""
        self._detach()
        self._reading.update()
        self._edge.sweep.add(self, LINGER)
        if self._scheme == "http":
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
