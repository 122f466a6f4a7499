"""
HTTP/2 on a visitor's connection (RFC 9113): its streams, each with an L{Exchange} of its own.

Each request has a stream of its own to its tunnel, or one that an earlier request of this connection left. A
visitor that does not take an answer holds up that answer alone: it waits where it came from, since the
tunnel's stream is paused until the visitor's window opens. What a visitor sends of a body is acknowledged
once the tunnel's stream takes it, so its window bounds what waits here.

What bounds what a visitor costs: L{MAX_STREAMS} requests at a time, the windows, and L{Calm}, which counts
what costs its sender nothing (CVE-2023-44487 and its kind). What exceeds them ends the connection. All
requests of an address count beside its connections: see L{burrow.server.counting}.

Long because what may be read, sent and ended depends on the state of the whole connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.http.head import BadMessage
from burrow.http.headers import Fields
from burrow.http.http2_server.connection import Http2Server
from burrow.http.http2_server.frames import Code, Fault, Setting
from burrow.http.http2_server.listener import IListener
from burrow.http.http2_server.streams import Stream
from burrow.http.remembered import Remembered
from burrow.http.request_head import MAX_HEAD, MAX_HEADERS, RequestHead
from burrow.http.response_head import ResponseHead
from burrow.server.counting import Counted, counted
from burrow.server.edge.calm import Calm
from burrow.server.edge.context import Edge, Finishable
from burrow.server.edge.forwarded import Hop
from burrow.server.edge.http2_bodies import BodiesPace
from burrow.server.edge.http2_lanes import Lanes
from burrow.server.edge.http2_pace import AnswersPace
from burrow.server.edge.http2_request import Malformed, read_trailers, understand
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

USUAL_SETTINGS = 100
"""Bytes of a SETTINGS frame that counts once; one that is longer counts for as many."""

_SETTINGS = {
    Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    Setting.MAX_HEADER_LIST_SIZE: MAX_HEAD,
    Setting.ENABLE_CONNECT_PROTOCOL: 1,  # RFC 8441: WebSockets
}


@implementer(IHalfCloseableProtocol, IPushProducer, IListener)
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
        self.requests: Remembered[RequestHead] = Remembered(edge.memory)
        self.h2 = Http2Server(
            self,
            partial(understand, scheme=scheme, known=self.requests),
            edge.memory,
            _SETTINGS,
            CONNECTION_WINDOW,
        )
        self.answers: Remembered[ResponseHead] = Remembered(edge.memory)
        self._scheme = scheme
        self._streams: dict[int, Http2Stream] = {}
        self._counted: Counted | None = None
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
            lambda: self.h2.open < LEAST_WINDOW,
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
        self._counted = counted(self.transport)
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
            self.h2.begin()
        try:
            self.h2.receive(data)
        except Fault as error:
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
        self.h2.stop()
        self.edge.visitors.discard(self)
        self.edge.sweep.discard(self)
        self._takes.stop()
        self._sends.stop()
        for stream in list(self._streams.values()):
            stream.left(connection=True)
        self.lanes.drop()
        self.h2.heads.forget()
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

    # -- what a visitor sends: see L{IListener} -----------------------------------------------------------

    def request(self, stream: Stream, meaning: RequestHead | BadMessage, ended: bool) -> None:
        """See L{IListener}. C{meaning}: see L{understand}."""
        id = stream.id
        if isinstance(meaning, BadMessage):
            self.costs(1.0)
            if self._closing:
                return
            if isinstance(meaning, Malformed):
                self.h2.reset(id, Code.PROTOCOL_ERROR)
            elif not self._counts():
                self.h2.reset(id, Code.REFUSED_STREAM)
            else:
                refused = self._streams[id] = Http2Stream(self, stream, None, ended)
                refused.refuse(meaning)
            return
        if self._fields + meaning.size > MAX_FIELDS or not self._counts():
            self.costs(1.0)
            self.h2.reset(id, Code.REFUSED_STREAM)
            return
        self._fields += meaning.size
        self.asked = True
        self._asked += 1
        if self.deadline is not None:
            self.edge.sweep.discard(self)
        asked = self._streams[id] = Http2Stream(self, stream, meaning, ended)
        if self.edge.draining and len(self._streams) > 1:
            self._shut_down()
        asked.begin()

    def _counts(self) -> bool:
        """
        Count one more request under way; the first is counted with its connection. @return: whether its
        address may have it.
        """
        return not self._streams or self._counted is None or self._counted.more()

    def data(self, id: int, data: bytes, size: int, ended: bool) -> None:
        """See L{IListener}."""
        self._came += len(data)
        if not data and not ended:
            self.costs(0.5)
        stream = self._streams.get(id)
        if stream is None:
            self.taken(id, size)
        else:
            stream.body(data, size)
            if ended:
                stream.body_ended()

    def trailers(self, id: int, fields: Fields) -> None:
        """See L{IListener}."""
        stream = self._streams.get(id)
        if stream is not None:
            try:
                trailers = read_trailers(fields)
            except BadMessage:
                stream.malformed()
                return
            size = sum(len(name) + len(value) + 4 for name, value in trailers)  # as of a head
            if len(trailers) > MAX_HEADERS or self._fields + size > MAX_FIELDS:
                stream.too_many_fields()
                return
            self._fields += size
            stream.fields += size
            stream.trailers_came(trailers)
            stream.body_ended()

    def reset(self, id: int) -> None:
        """See L{IListener}."""
        self.costs(1.0)
        if stream := self._streams.get(id):
            stream.left()

    broken = reset

    def widened(self) -> None:
        """See L{IListener}."""
        self._for_nothing()
        if self._waiting:
            self.flush()

    def answered(self, size: int) -> None:
        """See L{IListener}. SETTINGS may hold 2,700 of them, each of which takes time."""
        self.costs(0.2 * (1 + size // USUAL_SETTINGS))
        if self._waiting:
            self.flush()

    def nothing(self) -> None:
        """See L{IListener}."""
        self._for_nothing()

    def leaves(self, code: int) -> None:
        """See L{IListener}."""
        if code or not self._streams:
            self._close()
            return
        self._leaving = True  # what is under way is answered still
        self._for_nothing()

    def _for_nothing(self) -> None:
        """
        A frame came that brings nothing by itself. Those that go with requests and answers cost nothing.
        """
        self._idle += 1
        if self._idle > SPARE_FRAMES + self._moved // UPDATE_EACH + self._asked * FRAMES_EACH:
            self.costs(0.2)

    def costs(self, amount: float) -> None:
        """The visitor did something that costs it nothing."""
        if self._calm.too_much(amount, self.edge.sweep.now()) and not self._closing:
            self.log.info(
                "an HTTP/2 connection of {peer} is ended: it resets, or asks for nothing, too often",
                peer=getattr(self.transport.getPeer(), "host", "unknown"),
            )
            self.h2.close(Code.ENHANCE_YOUR_CALM)
            self._close(ended=True)

    def taken(self, stream_id: int, size: int) -> None:
        """Bytes of a body are used: the visitor may send more. @param size: with their padding."""
        if size and not self._gone:
            self.h2.used(stream_id, size)
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

    def has_turn(self, stream: Http2Stream) -> bool:
        """Whether a stream that has something to send may send it now, as far as its windows allow."""
        return not self.full and stream.id not in self._waiting

    def moved(self, size: int) -> None:
        """Bytes of an answer are sent."""
        self._moved += size

    def send(self) -> None:
        """Write the frames that are ready."""
        if not self._receiving and not self._gone and (data := self.h2.take()):
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
            if self._streams and self._counted is not None:
                self._counted.less()
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
            self.h2.close()
            self._close()

    def _give_up(self) -> None:
        """Nothing more is answered on this connection."""
        self._closing = self.lanes.closed = True
        self.h2.stop()
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
