"""
One request of an HTTP/2 connection: its exchange, the stream to its tunnel, and its answer's frames.

Long because what is read, sent and ended of one stream is one state.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from wsproto.utilities import generate_accept_token
from zope.interface import implementer

from burrow.http.head import BadMessage
from burrow.http.headers import Fields
from burrow.http.http2_server.frames import Code
from burrow.http.http2_server.streams import Stream
from burrow.http.request_head import RequestHead
from burrow.http.response_head import ResponseHead
from burrow.mux.pipe import PipeEnd
from burrow.server.edge import pages
from burrow.server.edge.answers import interim_fields, switch_fields
from burrow.server.edge.connection import IConnection
from burrow.server.edge.context import Own
from burrow.server.edge.exchange import Exchange
from burrow.server.edge.http2_answers import answer_block
from burrow.server.edge.http2_lanes import Lane, Unwanted
from burrow.server.edge.http2_socket import StreamSocket
from burrow.server.edge.responses import Responses
from burrow.server.edge.silence import Silence
from burrow.server.edge.upgraded import Upgraded
from burrow.server.route import IRoute
from burrow.sockets import idle
from burrow.traffic.watched import watch
from burrow.wire.pieces import SMALL

_NOTHING: deque[tuple[bytes, int]] = deque(maxlen=0)

LINGER = 2.0
"""Seconds until a stream is reset whose answer is whole and whose visitor still sends."""


@implementer(IConnection)
class Http2Stream:
    """
    See the module's docstring.

    @param visitor: the L{Http2Visitor<burrow.server.edge.http2.Http2Visitor>}.
    @param wire: the connection's L{Stream<burrow.http.http2_server.streams.Stream>}.
    @param head: of the request; None for one that is refused. @param body_ended: whether no body follows.
    @ivar trailers: the fields behind the request's body, once they have come.
    @ivar fields: bytes of the request's head, and of its trailers.
    @ivar came: bytes of the request's body that have come.
    @ivar moved: bytes of the answer's body that are sent.
    """

    ended = False
    only_switches = True
    trailers: Fields = ()  # type: ignore[assignment]
    came = moved = 0
    _silence: Silence | None = None
    _lane: Lane | None = None
    _socket: StreamSocket | None = None
    _held = _NOTHING  # until the first bytes of a body come
    _pending: bytes | bytearray = b""
    _over = _all = _waits_for_room = False
    _part = b""
    _last: Fields | None = None

    def __init__(self, visitor: Any, wire: Stream, head: RequestHead | None, body_ended: bool) -> None:
        self.id = wire.id
        self.fields = head.size if head is not None else 0
        self.hop, self.shown = visitor.hop, visitor.shown
        self.own: Own = visitor.edge.own
        self._visitor = visitor
        self._wire = wire
        self._body_ended = body_ended
        self._exchange = Exchange(visitor.edge, self, head) if head is not None else None
        self._asks_socket = head is not None and bool(head.upgrade)

    def begin(self) -> None:
        """Have the request answered."""
        assert self._exchange is not None
        self._exchange.begin()

    # -- for a tunnel or server that stops: see L{Finishable<burrow.server.edge.context.Finishable>} --------

    @property
    def tunnel(self) -> IRoute | None:
        """The tunnel that it has a stream of; None without one."""
        return self._lane.kept.route if self._lane is not None else None

    @property
    def switched(self) -> bool:
        """Whether it is a WebSocket's: then its end is decided by L{Upgraded}."""
        return self._socket is not None

    @property
    def running(self) -> bool:
        """Whether there is something to finish: see L{burrow.server.finishing}."""
        exchange = self._exchange
        if self._socket is None and (exchange is None or not exchange.endless):
            return True
        return not self.silent()

    def silent(self) -> bool:
        """
        Whether nothing passes: see L{idle}. A socket tells it of all streams together, so of one beside
        others that are busy it is known L{QUIET<burrow.sockets.QUIET>} seconds after the first call.
        """
        if self.waits or (self._socket is not None and self._socket.asked):
            return False
        if idle(self.transport):
            return True
        if self._silence is None:
            self._silence = Silence(self._visitor.edge.sweep.now)
        return self._silence.lasts(self.moved)

    def finish(self) -> None:
        """Nothing runs here: reset the stream, since an event stream has no other end that says so."""
        self.cancel()

    @property
    def transport(self) -> Any:
        """The connection's."""
        return self._visitor.transport

    # -- the request's body -------------------------------------------------------------------------------

    @property
    def awaits_body(self) -> bool:
        """
        Whether more of the body is waited for, and taken. One that was announced by Expect is not, before the
        visitor sends some of it, or a rule wants it.
        """
        exchange = self._exchange
        if exchange is None or exchange.whole or exchange.waits or exchange.answer is not None:
            return False
        if not (self.came or exchange.gathers) and exchange.request.headers.value(b"expect"):
            return False
        return not (self._over or self._body_ended or self._held or self.waits)  # a page may wait already

    def sends_too_slowly(self) -> None:
        """The body does not come as fast as it has to: as with HTTP/1.1, its request is answered."""
        if self._exchange is not None and not self._over:
            page = pages.bad_request(408, "the body of the request came too slowly")
            self._exchange.stop(page)
            self.answer_page(page, linger=True)

    def body(self, data: bytes, size: int) -> None:
        """Some of the body has come. C{size}: of its frame's window."""
        self.came += len(data)
        if self._held is _NOTHING:
            self._held = deque()
        held = self._held
        if held and len(data) < SMALL and len(held[-1][0]) < SMALL:
            before, counted = held[-1]
            held[-1] = before + data, counted + size
        else:
            held.append((data, size))
        length = self._exchange.request.length if self._exchange is not None else None
        if length is not None and self.came > length and not self._asks_socket:
            self.malformed()
        else:
            self.pass_body()

    def trailers_came(self, trailers: Fields) -> None:
        """The fields behind the body. A WebSocket's stream has none (RFC 9113 section 8.5)."""
        if self._asks_socket:
            self.malformed()
        else:
            self.trailers = trailers

    def too_many_fields(self) -> None:
        """
        What follows the body has more fields than a head may have, or there is no room left for it:
        L{MAX_FIELDS<burrow.server.edge.http2.MAX_FIELDS>}.
        """
        self._visitor.costs(1.0)
        self._reset(Code.ENHANCE_YOUR_CALM)

    def malformed(self) -> None:
        """
        What follows the body is none of it (RFC 9113 section 8.1.1). That counts as if the visitor had reset
        the stream: it can have the server do so as often (CVE-2025-8671).
        """
        self._visitor.costs(1.0)
        self._reset(Code.PROTOCOL_ERROR)

    def body_ended(self) -> None:
        """All of it has come, as much as its Content-Length says, or the request is malformed."""
        if self._over:
            return
        self._body_ended = True
        length = self._exchange.request.length if self._exchange is not None else None
        if length not in (None, self.came) and not self._asks_socket:
            self.malformed()
        else:
            self.pass_body()

    def pass_body(self) -> None:
        """Pass on what has come, as far as it is taken now."""
        exchange, lane = self._exchange, self._lane
        if self._asks_socket:
            if self._socket is not None:  # else the answer says whether it becomes one
                self._socket.feed(self._held, partial(self._visitor.taken, self.id), self._body_ended)
                self.half_closed()
            return
        while not self._over and exchange is not None and not exchange.waits:
            if lane is None and not exchange.gathers:
                return
            if lane is not None and lane.full:
                return
            if self._held:
                data, size = self._held.popleft()
                if data and not exchange.whole:
                    exchange.send_body(data)
                self._visitor.taken(self.id, size)
            else:
                if self._body_ended and not exchange.whole:
                    exchange.send_body(b"", self.trailers)
                elif self.came and not self._body_ended:
                    self._visitor.body_awaited()
                return
            lane = self._lane

    # -- the exchange's connection: see L{IConnection} -----------------------------------------------------

    def stream_to(self, route: IRoute, address: tuple[str, str]) -> Responses:
        """See L{IConnection}."""
        lane = self._lane
        if lane is None:
            lane = self._lane = self._visitor.lanes.to(route)
        # Not before there is a stream: one that is given up here, for it is another upstream's, makes room,
        # and what of the body has come would be passed on to nobody.
        lane.current = None
        lane.kept.use_part(self._part)
        responses = lane.kept.to(route, address)
        lane.current = self
        return responses

    def use_part(self, part: bytes) -> None:
        """See L{IConnection}."""
        self._part = part

    def body_awaited(self) -> None:
        """See L{IConnection}."""
        self._visitor.body_awaited()

    def advance(self) -> None:
        """See L{IConnection}."""
        self.pass_body()

    def answer_interim(self, head: ResponseHead) -> None:
        """
        See L{IConnection}. No window bounds it: once the socket takes no more, the tunnel's stream waits.
        """
        self._headers(head.status, interim_fields(head, self._visitor.edge.domain))
        if self._visitor.full and not self._over and (source := self._source) is not None:
            self._waits_for_room = True
            source.pauseProducing()
            self._visitor.flush(self)

    def answer(self, head: ResponseHead) -> None:
        """See L{IConnection}."""
        exchange = self._exchange
        assert exchange is not None
        # Without a body, the head says that it is all: so gRPC knows its answers without messages.
        self._all = head.length == 0
        if self._over:
            return
        h2 = self._visitor.h2
        block = answer_block(exchange, head, self._visitor.edge.domain, h2.heads)
        h2.send_head(self._wire, block, self._all)
        self._visitor.send()

    def answer_data(self, data: bytes) -> None:
        """See L{IConnection}."""
        if not self._pending:
            self._pending = data
        elif isinstance(self._pending, bytes):
            self._pending = bytearray(self._pending + data)
        else:
            self._pending += data
        exchange = self._exchange
        if exchange is not None and exchange.ends and self._socket is None:
            return  # its end follows in this call, and goes in the same frame if that has room
        self._push()

    def _push(self) -> None:
        """Send what the visitor takes now; what it does not take keeps the tunnel's stream waiting."""
        self._visitor.flush(self)
        if self._pending and not self._over and (source := self._source) is not None:
            source.pauseProducing()
        self._visitor.send()

    @property
    def _source(self) -> Any:
        """The producer of what is sent; None without one."""
        if self._socket is not None:
            return self._socket.producer
        return self._lane.stream if self._lane is not None else None

    def answer_end(self, trailers: Fields) -> None:
        """See L{IConnection}."""
        self._finish(trailers)

    def answer_page(self, page: pages.Page, *, linger: bool = False) -> None:
        """See L{IConnection}."""
        exchange = self._exchange
        if exchange is not None and exchange.answer is not None:
            self.break_off()
            return
        accept, head_only, request_id = b"", False, b""
        if exchange is not None:
            accept = b",".join(exchange.request.headers.get(b"accept", ()))
            head_only = exchange.request.method == b"HEAD"
            request_id = exchange.request_id
        fields, body = pages.parts(page, accept, request_id)
        if self._headers(page.status, fields):
            self._pending += b"" if head_only else body
            self._finish([])
        self._leave_lane()

    def refuse(self, error: BadMessage) -> None:
        """The request cannot be passed on."""
        self.answer_page(pages.bad_request(error.status, error.text))

    def break_off(self) -> None:
        """See L{IConnection}."""
        self._visitor.flush()
        self._reset(Code.INTERNAL_ERROR)

    def answer_switch(self, head: ResponseHead) -> None:
        """See L{IConnection}. To the visitor, a 200 is what a 101 is in HTTP/1.1 (RFC 8441 section 5)."""
        assert self._exchange is not None
        request = self._exchange.request
        fields = switch_fields(request, head, self._visitor.edge.domain)
        if fields is None:
            raise BadMessage(502, "it switches to a protocol that nobody asked for")
        key = request.headers.value(b"sec-websocket-key")
        if head.headers.get(b"sec-websocket-accept") != [generate_accept_token(key)]:
            raise BadMessage(502, "its Sec-WebSocket-Accept is not the answer to the key that it was sent")
        self._headers(200, fields)

    def switch(self, end: PipeEnd) -> None:
        """See L{IConnection}."""
        lane, self._lane = self._lane, None
        route = lane.kept.route if lane is not None else None
        upgraded = Upgraded(self._visitor.edge, route, ended=False, silent=self.silent)
        record = self._exchange.record if self._exchange is not None else None
        if record is not None:
            watch(self._visitor.edge.traffic, record, upgraded)
        if lane is not None:
            lane.current = None
            lane.kept.forget()
        self._socket = StreamSocket(self, upgraded)
        upgraded.makeConnection(self._socket)
        if self._over:  # the visitor has reset it meanwhile
            self._socket.done(cleanly=False)
            end.transport.abortConnection()
        else:
            upgraded.join(end)

    def hand_over(self, factory: IProtocolFactory) -> None:
        """
        See L{IConnection}. What the server itself answers is spoken to by HTTP/1.1: its own host is not
        offered HTTP/2, and a browser that comes over a tunnel's connection is sent to one of its own.
        """
        assert self._exchange is not None
        self.answer_page(pages.misdirected(self._exchange.request.host))

    # -- the answer's frames ------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether there is something to send, or was, and its source waits for room."""
        return bool(self._pending) or self._last is not None or self._waits_for_room

    @property
    def more_waits(self) -> bool:
        """Whether there is something to send here, or where it comes from."""
        return self.waits or ((source := self._source) is not None and source.holds)

    @property
    def stalled(self) -> bool:
        """Whether there is something to send that its own window does not take."""
        return bool(self._pending) and self._wire.window <= 0

    def send_some(self) -> bool:
        """Send a frame. @return: whether more can be sent now."""
        visitor, wire, pending, last = self._visitor, self._wire, self._pending, self._last
        if pending:
            size = visitor.h2.room(wire)
            if size <= 0:
                return False
            if size < len(pending):
                if isinstance(pending, bytes):
                    self._pending = pending = bytearray(pending)
                visitor.h2.send_data(wire, bytes(pending[:size]))
                del pending[:size]
                self.moved += size
                visitor.moved(size)
                return True
            self._send_all(end=last == [])
            if last == []:
                return False
        elif last is not None:
            if last:
                trailers = [(name.lower(), value) for name, value in last]
                visitor.h2.send_head(wire, visitor.h2.heads.write(trailers), True)
            else:
                visitor.h2.send_data(wire, b"", True)
            self._sent_end()
            return False
        if last is None:
            self._waits_for_room = False
            if (source := self._source) is not None:
                source.resumeProducing()
            return False
        return True

    def _send_all(self, *, end: bool) -> None:
        """Send what waits, for which there is room. C{end}: whether it is the last."""
        visitor, data = self._visitor, bytes(self._pending)
        self._pending = b""
        visitor.h2.send_data(self._wire, data, end)
        self.moved += len(data)
        visitor.moved(len(data))
        if end:
            self._sent_end()

    def _headers(self, status: int, fields: Fields, *, end: bool = False) -> bool:
        """C{end}: whether nothing follows. @return: whether the visitor still wants them."""
        if self._over:
            return False
        h2 = self._visitor.h2
        h2.send_head(self._wire, h2.heads.write([(b":status", b"%d" % status), *fields]), end)
        self._visitor.send()
        return True

    def _finish(self, trailers: Fields) -> None:
        """The answer is whole; its end is sent behind what waits."""
        if self._over:
            return
        if self._all:
            self._ended()
            return
        visitor = self._visitor
        if not trailers and visitor.has_turn(self) and len(self._pending) <= visitor.h2.room(self._wire):
            self._send_all(end=True)
            visitor.send()
            return
        self._last = list(trailers)
        self._push()

    def _sent_end(self) -> None:
        """All is sent, of a WebSocket on our half alone."""
        self._last = None
        if self._socket is None:
            self._ended()
        else:
            self.half_closed()

    def half_closed(self) -> None:
        """A half of a WebSocket's stream is closed; it is over with the other, if that is waited for."""
        socket = self._socket
        if socket is None or self._over or self.waits or not socket.disconnecting:
            return
        if socket.closing or socket.read_ended:
            self._ended()

    def _ended(self) -> None:
        """It is over, as it should be."""
        exchange = self._exchange
        self._over = True
        self._last = None
        if not self._body_ended and (exchange is None or exchange.request.length != 0 or self._asks_socket):
            # The visitor may stop to send (RFC 9113 section 8.1), and is told so later: some clients drop an
            # answer whose stream is reset before they have read it.
            self._visitor.edge.sweep.add(Unwanted(self._visitor, self.id), LINGER)
        self._drop_held()
        self._leave_lane()
        if self._socket is not None:
            self._socket.done(cleanly=True)
        self._visitor.over(self)

    # -- the end ------------------------------------------------------------------------------------------

    def _leave_lane(self) -> None:
        """The tunnel's stream is another request's."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.current = None
            self._visitor.lanes.keep(lane)

    def too_slow(self) -> None:
        """The visitor does not take the answer."""
        self._reset(Code.CANCEL)

    def cancel(self) -> None:
        """The upstream has reset a WebSocket's connection, or what has no end is ended."""
        self._visitor.flush()
        self._reset(Code.CANCEL)

    def _reset(self, code: Code) -> None:
        if not self._over:
            self._over = True
            self._visitor.h2.reset(self.id, code)
            self._give_up(left=False)
            self._visitor.over(self)
            self._visitor.send()

    def left(self, *, connection: bool = False) -> None:
        """The visitor wants no answer. C{connection}: for its whole connection is gone."""
        if not self._over:
            self._over = True
            self._give_up(left=connection)
            self._visitor.over(self)

    def _give_up(self, *, left: bool) -> None:
        self._pending = b""
        self._last = None
        exchange, lane = self._exchange, self._lane
        self._lane = None
        if exchange is not None:
            exchange.stop()
        if lane is not None:
            lane.current = None
            lane.kept.drop(left=left)
        if self._socket is not None:
            self._socket.done(cleanly=False)
        self._drop_held()

    def _drop_held(self) -> None:
        """What has come and is not used makes room all the same."""
        while self._held:
            self._visitor.taken(self.id, self._held.popleft()[1])
