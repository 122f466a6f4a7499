"""
HTTP/2 on a visitor's connection (RFC 9113): its streams, each with an L{Exchange} of its own.

Each request has a stream of its own to its tunnel, or one that an earlier request of this connection left. A
visitor that does not take an answer holds up that answer alone: it waits where it came from, since the
tunnel's stream is paused until the visitor's window opens. What a visitor sends of a body is acknowledged
once the tunnel's stream takes it, so its window bounds what waits here.

What bounds what a visitor costs: L{MAX_STREAMS} requests at a time, the windows, and L{Calm}, which counts
what costs its sender nothing (CVE-2023-44487 and its kind). What exceeds them ends the connection.

Long because what may be read, sent and ended depends on the state of the whole connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.http.head import BadMessage
from burrow.http.http2 import Http2Connection
from burrow.http.remembered import Remembered
from burrow.http.request_head import MAX_HEAD, RequestHead
from burrow.http.response_head import ResponseHead
from burrow.server.edge.calm import Calm
from burrow.server.edge.context import Edge, Finishable
from burrow.server.edge.forwarded import Hop
from burrow.server.edge.http2_bodies import BodiesPace
from burrow.server.edge.http2_lanes import Lanes
from burrow.server.edge.http2_pace import AnswersPace
from burrow.server.edge.http2_request import Malformed, read_request, read_trailers
from burrow.server.edge.http2_stream import Http2Stream
from burrow.server.edge.shown import Shown
from burrow.sockets import lowest_transport, taken, way

MAX_STREAMS = 100
"""Requests of one connection under way, at most."""

STREAM_WINDOW = 256 * 1024
"""Bytes of one request's body that a visitor may send ahead."""

CONNECTION_WINDOW = 1024 * 1024
"""Bytes of all bodies together that a visitor may send ahead."""

MAX_FIELDS = 2 * 1024 * 1024
"""
Bytes of the heads and trailers of all requests under way, at most: some three times as much in memory. HPACK
says 64 KiB in a few bytes. A request beyond is refused, which is no harm to a client that asks again.
"""

LEAST_WINDOW = 16 * 1024
"""Bytes of it, a frame's, below which a visitor may wait for more."""

ENDED_WITHIN = 2.0
"""Seconds that a visitor whose connection is ended has to read why, until it is reset."""

UPDATE_EACH = 1024
"""Bytes of an answer for which a visitor may open a window once: most do so for a frame of 16 KiB."""

FRAMES_EACH = 4
"""Frames that bring nothing by themselves, as priorities, that it may send for each request."""

SPARE_FRAMES = 1000
"""Such frames, windows among them, that it may send beyond."""

_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    # A request is checked by its reader, so that one that is malformed ends its stream alone (RFC 9113
    # section 8.1.1). h2 ends the connection.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # What is sent has come through our own readers, and is in lower case: 6 us of CPU less for an answer.
    # tests/server/edge/test_http2_fields.py holds it against h2's rules.
    normalize_outbound_headers=False,
    validate_outbound_headers=False,
)

_SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,  # RFC 8441: WebSockets
}


@implementer(IHalfCloseableProtocol, IPushProducer)
class Http2Visitor(Protocol):
    """
    One connection.

    @ivar hop: see L{IConnection<burrow.server.edge.connection.IConnection>}, as C{shown}.
    @ivar asked: whether it ever brought a request. @ivar full: whether its socket takes no more now.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    log = Logger()
    transport: Any
    hop: Hop
    shown: Shown | None

    def __init__(self, edge: Edge, scheme: str) -> None:
        self.edge = edge
        self.asked = False
        self.full = False
        self.deadline: float | None = None
        self.h2 = Http2Connection(_CONFIGURATION)
        self.h2.local_settings = Settings(client=False, initial_values=_SETTINGS)
        self.requests: Remembered[RequestHead] = Remembered(edge.memory)
        self.answers: Remembered[ResponseHead] = Remembered(edge.memory)
        self._scheme = scheme
        self._streams: dict[int, Http2Stream] = {}
        self._waiting: dict[int, Http2Stream] = {}  # those that have something to send
        self.lanes = Lanes(self, MAX_STREAMS)
        self._calm = Calm()
        self._takes = AnswersPace(
            edge.sweep, edge.rate, self._taken, self.abort, self._waiting, lambda: way(self.transport)
        )
        self._sends = BodiesPace(
            edge.sweep,
            edge.rate,
            self._streams,
            lambda: self._came,
            lambda: self.h2.inbound_flow_control_window < LEAST_WINDOW,
            lambda: self.full,
            lambda: taken(self.transport),
        )
        self._moved = self._came = self._asked = self._idle = self._fields = 0
        self._flushed: int | None = None  # bytes that it had taken at the last look, since it is closed
        self._begun = self._closing = self._gone = self._receiving = self._leaving = False
        self._shut = False  # whether it is told to open no more streams

    # -- the connection's events --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The first request has idle_timeout to come."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.shown = getattr(self.transport, "shown", None)
        self.hop = Hop(self.edge.forwarding, self.transport.getPeer(), self._scheme)
        self.transport.registerProducer(self, True)
        self.edge.visitors.add(self)
        self.edge.sweep.add(self, self.edge.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Frames of the visitor's."""
        if self._closing:
            return
        self._receiving = True
        if not self._begun:
            # Not before: what is written during the handshake makes TLS pause who writes.
            self._begun = True
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        try:
            events = self.h2.receive_data(data)
            for event in events:
                self._event(event)
                if self._closing:
                    return
            if self.h2.idle:
                self._for_nothing(self.h2.idle)
                self.h2.idle = 0
        except ProtocolError as error:
            # h2 has written the GOAWAY (RFC 9113 section 5.4.1).
            self.log.debug("an HTTP/2 connection is ended: {error}", error=error)
            self._close(ended=True)
        finally:
            self._receiving = False
            self.send()

    def readConnectionLost(self) -> None:
        """Without its half nothing works: not even windows open any more. What is written goes out still."""
        self._closing = True
        self.transport.unregisterProducer()  # for which the transport would wait
        self.transport.loseConnection()
        self.edge.sweep.add(self, ENDED_WITHIN)

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor is gone. What it asked and is whole goes on to the upstream, with the end behind it."""
        self._gone = self._closing = self.lanes.closed = True
        self.edge.visitors.discard(self)
        self.edge.sweep.discard(self)
        self._takes.stop()
        self._sends.stop()
        for stream in list(self._streams.values()):
            stream.left(connection=True)
        self.lanes.drop()
        self.requests.forget()
        self.answers.forget()

    def timed_out(self) -> None:
        """Called by the sweep: no request came in time; or the peer does not let the connection close."""
        if not self._closing:
            self.go_away()
        elif self._goes_out():
            self.edge.sweep.add(self, self.edge.idle_timeout)
        else:
            self.abort()

    def _goes_out(self) -> bool:
        """Whether a visitor whose connection is closed still takes what was written, as fast as it has to."""
        before, self._flushed = self._flushed, taken(self.transport)
        least = self.edge.rate.least * self.edge.idle_timeout
        return before is not None and self._flushed is not None and self._flushed - before >= max(least, 1)

    # -- what a visitor sends -----------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, DataReceived):
            self._data(event)
        elif isinstance(event, StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.body_ended()
        elif isinstance(event, TrailersReceived):
            self._trailers(event)
        elif isinstance(event, StreamReset):
            self.costs(1.0)
            if stream := self._streams.get(event.stream_id):
                stream.left()
        elif isinstance(event, WindowUpdated):
            self._for_nothing()
            self.flush()
        elif isinstance(event, (PingReceived, RemoteSettingsChanged)):
            self.costs(0.2)  # each is answered
            self.flush()  # settings may have opened windows
        elif isinstance(event, ConnectionTerminated):
            if event.error_code or not self._streams:
                self._close()
                return
            self._leaving = True  # what is under way is answered still
            self._for_nothing()
        else:  # priorities, acknowledgements, frames of types that are not known
            self._for_nothing()

    def _request(self, event: RequestReceived) -> None:
        ended = event.stream_ended is not None
        try:
            head = read_request(event.headers, ended, self._scheme, self.requests)
        except Malformed:
            self.costs(1.0)
            with suppress(ProtocolError):  # the visitor may have reset it
                self.h2.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        except BadMessage as error:
            self.costs(1.0)
            stream = Http2Stream(self, event.stream_id, None)
            self._streams[event.stream_id] = stream
            stream.refuse(error)
            return
        if self._fields + head.size > MAX_FIELDS:
            self.costs(1.0)
            with suppress(ProtocolError):
                self.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._fields += head.size
        self.asked = True
        self._asked += 1
        self.edge.sweep.discard(self)
        stream = self._streams[event.stream_id] = Http2Stream(self, event.stream_id, head)
        if self.edge.draining and len(self._streams) > 1:
            self._shut_down()
        stream.begin()

    def _trailers(self, event: TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            try:
                trailers = read_trailers(event.headers)
            except BadMessage:
                stream.malformed()
                return
            size = sum(len(name) + len(value) for name, value in trailers)
            if self._fields + size > MAX_FIELDS:
                stream.too_many_fields()
                return
            self._fields += size
            stream.fields += size
            stream.trailers_came(trailers)

    def _data(self, event: DataReceived) -> None:
        size = event.flow_controlled_length
        self._came += len(event.data)
        if not event.data and not event.stream_ended:
            self.costs(0.5)
        stream = self._streams.get(event.stream_id)
        if stream is None:
            self.taken(event.stream_id, size)
        else:
            stream.body(event.data, size)

    def _for_nothing(self, frames: int = 1) -> None:
        """
        Frames came that bring nothing by themselves. Those that go with requests and answers cost nothing.
        """
        self._idle += frames
        beyond = self._idle - SPARE_FRAMES - self._moved // UPDATE_EACH - self._asked * FRAMES_EACH
        if beyond > 0:
            self.costs(0.2 * min(frames, beyond))

    def costs(self, amount: float) -> None:
        """The visitor did something that costs it nothing."""
        if self._calm.too_much(amount, self.edge.sweep.now()) and not self._closing:
            self.log.info(
                "an HTTP/2 connection of {peer} is ended: it resets, or asks for nothing, too often",
                peer=getattr(self.transport.getPeer(), "host", "unknown"),
            )
            self.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close(ended=True)

    def taken(self, stream_id: int, size: int) -> None:
        """Bytes of a body are used: the visitor may send more. @param size: with their padding."""
        if size and not self._gone:
            try:
                self.h2.acknowledge_received_data(size, stream_id)
            except ProtocolError:
                return  # the connection is ended
            self.send()

    # -- what it is sent ----------------------------------------------------------------------------------

    def flush(self, stream: Http2Stream | None = None) -> None:
        """
        Send what waits, as far as the windows allow, the streams in turns.

        @param stream: one that may have something to send since.
        """
        waiting = self._waiting
        if stream is not None:
            waiting[stream.id] = stream
        turns = [each for each in waiting.values() if each.waits]
        while turns and not self.full:
            turns = [each for each in turns if each.send_some()]
        for each in [each for each in waiting.values() if not each.waits]:
            waiting.pop(each.id, None)
            self._takes.waits_no_more(each)
        if waiting:
            self._takes.watch()

    def moved(self, size: int) -> None:
        """Bytes of an answer are sent."""
        self._moved += size

    def send(self) -> None:
        """Write the frames that are ready."""
        if not self._receiving and not self._gone and (data := self.h2.data_to_send()):
            self.transport.write(data)

    def pauseProducing(self) -> None:
        """The socket takes no more. Nothing is read either, since what is read may want an answer."""
        self.full = True
        self._takes.watch()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It takes more."""
        self.full = False
        self.transport.resumeProducing()
        self.flush()
        self.send()

    def stopProducing(self) -> None:
        """The connection is gone: its protocol learns of it itself."""

    def _taken(self) -> int | None:
        """What it has taken, while more waits for it."""
        waits = self.full or any(stream.waits for stream in self._waiting.values())
        return self._moved if waits else None

    def body_awaited(self) -> None:
        """A request's body is waited for."""
        self._sends.watch()

    # -- the end ------------------------------------------------------------------------------------------

    def over(self, stream: Http2Stream) -> None:
        """A stream is over."""
        if self._streams.pop(stream.id, None) is not None:
            self._fields -= stream.fields
        self._waiting.pop(stream.id, None)
        if self._closing or self._streams:
            return
        if self.edge.draining or self._leaving:
            self.go_away()
        else:
            self.edge.sweep.add(self, self.edge.idle_timeout)

    def _shut_down(self) -> None:
        """
        The server goes away, and requests overlap: have the next ones come by another connection, else there
        might always be one under way. A request that is alone is told behind its answer: some clients (h2 and
        so httpx) drop what is under way at a GOAWAY.
        """
        if not self._shut:
            self._shut = True
            self.h2.shut_down()

    def go_away(self) -> None:
        """Say that no request is taken any more (RFC 9113 section 6.8), and close: none may be under way."""
        if not self._closing:
            with suppress(ProtocolError):
                self.h2.close_connection()
            self._close()

    def _give_up(self) -> None:
        """Nothing more is answered on this connection."""
        self._closing = self.lanes.closed = True
        for stream in list(self._streams.values()):
            stream.left()
        self.lanes.drop()

    def _close(self, *, ended: bool = False) -> None:
        """C{ended}: for what the visitor did: it has little time to close its half."""
        self._give_up()
        self._takes.stop()
        self._sends.stop()
        if not self._gone:
            self._receiving = False
            self.send()
            self.transport.unregisterProducer()
            if self.full:
                self.transport.resumeProducing()  # to see the end
            self.transport.loseConnection()
            self._flushed = None if ended else taken(self.transport)
            self.edge.sweep.add(self, ENDED_WITHIN if ended else self.edge.idle_timeout)

    def abort(self) -> None:
        """Reset the connection: the visitor takes its answers too slowly."""
        self._give_up()
        lowest_transport(self.transport).abortConnection()

    # -- for a server that stops: see L{burrow.server.edge.context.Connected} ------------------------------

    @property
    def running(self) -> bool:
        """Whether there is something to finish."""
        return any(stream.running for stream in self._streams.values())

    def parts(self) -> Iterable[Finishable]:
        """Requests' streams, and streams to tunnels that it keeps. WebSockets are visitors themselves."""
        return [*(stream for stream in self._streams.values() if not stream.switched), *self.lanes]

    def end(self) -> None:
        """Nothing runs here but event streams, which end."""
        self.go_away()


class Http2Factory(Factory):
    """Builds visitors' connections. @param scheme: "https" inside TLS."""

    noisy = False

    def __init__(self, edge: Edge, scheme: str) -> None:
        self._edge = edge
        self._scheme = scheme

    def buildProtocol(self, addr: IAddress | None) -> Http2Visitor:
        """One connection."""
        return Http2Visitor(self._edge, self._scheme)
