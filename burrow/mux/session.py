"""
A session: one agent's logical connection, and the streams on it.

It joins the three parts that know nothing of each other: the yamux state (L{burrow.wire.yamux}),
the carrier that moves its bytes, and the Twisted protocols that sit on its streams.

Bytes are pulled, not pushed: a stream's bytes stay in its own queue until the carrier's socket
takes more, so that who writes a little never waits behind who writes much. Everything written in
one reactor turn goes out in one message.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import StreamGone, WireError
from burrow.mux.interfaces import ICarrier
from burrow.mux.stream import Stream, StreamAddress
from burrow.wire.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PongReceived,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from burrow.wire.frames import GoAwayCode
from burrow.wire.yamux import Session as Wire

MIN_PULL = 8 * 1024
MAX_PULL = 256 * 1024
"""Bytes pulled at a time: as much as the socket took in the last few milliseconds."""

PROTOCOL_ERROR = 4002
"""The WebSocket close code for a peer that broke yamux."""

_FAST, _SLOW = 0.002, 0.008
_LINGER = 60.0
_RTT_SAMPLES = 6


class Session:
    """
    One yamux session over a carrier.

    @param clock: tells time and runs the flush at the end of a reactor turn.
    @param client: True for the agent's side.
    @param factory: builds the protocol of each stream that the peer opens; without one they are
        reset. May be set later.
    @param max_streams: how many streams the peer may have open at once.
    @ivar on_lost: called once with the L{Failure} that ended the session, after all its streams
        are gone.
    @ivar on_go_away: called with the code when the peer says go away.
    @ivar last_received: when the carrier last brought bytes, in the clock's seconds.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        client: bool,
        factory: IProtocolFactory | None = None,
        max_streams: int = 65_536,
    ) -> None:
        self.clock = clock
        self.factory = factory
        self.on_lost: Callable[[Failure], None] = lambda reason: None
        self.on_go_away: Callable[[int], None] = lambda code: None
        self.peer: IAddress = IPv4Address("TCP", "0.0.0.0", 0)
        self.last_received = clock.seconds()
        self.lost = False
        self._wire = Wire(client=client, max_streams=max_streams)
        self._carrier: ICarrier | None = None
        self._streams: dict[int, Stream] = {}
        self._lingering: dict[int, float] = {}
        self._pings: dict[int, tuple[float, Deferred[float]]] = {}
        self._round_trips: list[float] = []
        self._paused = False
        self._flushing = False
        self._scheduled = False
        self._pull = 64 * 1024
        self._sent_at = 0.0

    # -- for those who use the session ------------------------------------------------------

    @property
    def rtt(self) -> float:
        """The shortest of the last round trips, in seconds; 0 before the first."""
        return self._wire.rtt

    @property
    def stream_count(self) -> int:
        """How many streams have a protocol on them."""
        return len(self._streams)

    @property
    def going(self) -> bool:
        """Whether the peer said go away: it takes no more streams."""
        return self._wire.remote_go_away

    def open_stream(self, protocol: IProtocol, prefix: bytes = b"") -> Stream:
        """
        Open a stream under C{protocol}; it may write at once, before the peer has answered.

        @param prefix: bytes that go first, whatever the protocol does when it is connected.
        @raise StreamGone: the session is lost or takes no more streams.
        """
        if self.lost:
            raise StreamGone("the session is lost")
        stream = Stream(self, self._wire.open_stream(), protocol)
        self._streams[stream.stream_id] = stream
        if prefix:
            stream.write(prefix)
        protocol.makeConnection(stream)
        self.schedule()
        return stream

    def ping(self) -> Deferred[float]:
        """Ask the peer for an answer; fires with the round trip in seconds."""
        answer: Deferred[float] = Deferred()
        self._pings[self._wire.ping()] = (self.clock.seconds(), answer)
        self.schedule()
        return answer

    def go_away(self, code: GoAwayCode = GoAwayCode.NORMAL) -> None:
        """Refuse new streams from now on; those that are open go on."""
        self._wire.go_away(code)
        self.schedule()

    def close(self, reason: str, code: int = 1000) -> None:
        """Say go away, flush what the carrier takes and close it. C{code} is the WebSocket close code."""
        if self._carrier is not None:
            self._wire.go_away(GoAwayCode.NORMAL)
            self._paused = False
            self._flush()
            self._carrier.close(reason, code)

    def abort(self) -> None:
        """Drop the carrier at once."""
        if self._carrier is not None:
            self._carrier.abort()

    # -- for the carrier --------------------------------------------------------------------

    def attach(self, carrier: ICarrier) -> None:
        """Begin to use C{carrier}; what is queued goes out."""
        self._carrier = carrier
        self._paused = False
        self.last_received = self.clock.seconds()
        self.schedule()

    def carrier_received(self, data: bytes) -> None:
        """Bytes of the peer's, split in any way."""
        self.last_received = self.clock.seconds()
        self._flushing = True  # what the protocols write now goes out below, in one message
        try:
            for event in self._wire.receive_data(data):
                self._dispatch(event)
        except WireError as error:
            self.log.warn("{peer} broke the protocol: {error}", peer=self.peer, error=error)
            if self._carrier is not None:
                self._carrier.send(self._wire.pull(MIN_PULL))
                self._carrier.close(str(error), PROTOCOL_ERROR)
        finally:
            self._flushing = False
        self._flush()

    def carrier_paused(self) -> None:
        """The carrier's socket has bytes waiting: keep ours."""
        self._paused = True

    def carrier_drained(self) -> None:
        """The carrier's socket took everything."""
        self._paused = False
        elapsed = self.clock.seconds() - self._sent_at
        if elapsed < _FAST:
            self._pull = min(self._pull * 2, MAX_PULL)
        elif elapsed > _SLOW:
            self._pull = max(self._pull // 2, MIN_PULL)
        if not self._flushing:
            self._flush()

    def carrier_lost(self, reason: Failure) -> None:
        """The carrier is gone: so are the session and its streams."""
        if self.lost:
            return
        self.lost = True
        self._carrier = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lost(Failure(ConnectionLost("the session is lost")))
        pings, self._pings = self._pings, {}
        for _, answer in pings.values():
            answer.errback(reason)
        self.on_lost(reason)

    # -- for the streams --------------------------------------------------------------------

    def write(self, stream_id: int, data: bytes) -> int:
        """Queue bytes of a stream; return how many wait there."""
        try:
            queued = self._wire.send_data(stream_id, data)
        except StreamGone:
            return 0
        self.schedule()
        return queued

    def queued(self, stream_id: int) -> int:
        """Bytes that wait on a stream."""
        return self._wire.queued(stream_id)

    def write_ended(self, stream_id: int) -> bool:
        """Whether our FIN of a stream went out, after all that was queued."""
        return self._wire.write_ended(stream_id)

    def consumed(self, stream_id: int, amount: int) -> None:
        """A protocol has taken C{amount} bytes."""
        self._wire.consumed(stream_id, amount, self.clock.seconds())
        self.schedule()

    def end(self, stream_id: int) -> None:
        """Send FIN after what is queued."""
        self._wire.end_stream(stream_id)
        self.schedule()

    def reset(self, stream_id: int) -> None:
        """Send RST, and forget the stream."""
        self._wire.reset_stream(stream_id)
        self._streams.pop(stream_id, None)
        self.schedule()

    def break_off(self, stream_id: int) -> None:
        """Send RST after what is queued."""
        self._wire.break_stream(stream_id)
        self.schedule()

    def forget(self, stream_id: int) -> None:
        """The stream's protocol and the stream itself are gone."""
        self._streams.pop(stream_id, None)

    def release(self, stream_id: int) -> None:
        """
        The stream's protocol is gone though the peer may still be sending: it has a minute to
        end, and is reset at once if it sends data that nobody will read.
        """
        if self._streams.pop(stream_id, None) is not None:
            self._lingering[stream_id] = self.clock.seconds() + _LINGER

    def sweep(self) -> None:
        """Reset what has lingered too long. The heartbeat calls it: no stream has a timer."""
        now = self.clock.seconds()
        for stream_id in [i for i, deadline in self._lingering.items() if deadline <= now]:
            del self._lingering[stream_id]
            self.reset(stream_id)

    # -- inside -------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Flush at the end of this reactor turn, unless that is under way."""
        if self._scheduled or self._flushing or self._paused or self._carrier is None:
            return
        if self._wire.has_output:
            self._scheduled = True
            self.clock.callLater(0, self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self._flush()

    def _flush(self) -> None:
        """Give the carrier what it takes, and tell the streams whose queue ran low."""
        self._flushing = True
        try:
            while self._carrier is not None and not self._paused:
                data = self._wire.pull(self._pull)
                if not data:
                    return
                self._sent_at = self.clock.seconds()
                self._carrier.send(data)
                for stream_id in self._wire.take_drained():
                    stream = self._streams.get(stream_id)
                    if stream is not None:
                        stream.drained()
        finally:
            self._flushing = False

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.data_received(event.data)
            else:
                self._lingering.pop(event.stream_id, None)
                self._wire.reset_stream(event.stream_id)
        elif isinstance(event, StreamOpened):
            self._accept(event.stream_id)
        elif isinstance(event, StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.ended()
            self._lingering.pop(event.stream_id, None)
        elif isinstance(event, StreamReset):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None:
                stream.was_reset(Failure(ConnectionLost("the peer reset the stream")))
            self._lingering.pop(event.stream_id, None)
        elif isinstance(event, PongReceived):
            self._ponged(event.opaque)
        elif isinstance(event, GoAwayReceived):
            self.on_go_away(event.code)

    def _accept(self, stream_id: int) -> None:
        protocol = None
        if self.factory is not None:
            protocol = self.factory.buildProtocol(StreamAddress(self.peer, stream_id))
        if protocol is None:
            self._wire.reset_stream(stream_id)
            return
        stream = self._streams[stream_id] = Stream(self, stream_id, protocol)
        protocol.makeConnection(stream)

    def _ponged(self, opaque: int) -> None:
        sent, answer = self._pings.pop(opaque, (None, None))
        if sent is not None and answer is not None:
            elapsed = self.clock.seconds() - sent
            self._round_trips = [*self._round_trips[1 - _RTT_SAMPLES :], elapsed]
            self._wire.rtt = min(self._round_trips)
            answer.callback(elapsed)
