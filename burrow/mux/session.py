"""
A session: one agent's logical connection, and the streams on it.

It joins the yamux state (L{burrow.wire.yamux}), the carrier that moves its bytes, and the streams with their
Twisted protocols (L{burrow.mux.streams}).

Bytes are pulled, not pushed: a stream's bytes stay in its own queue until the carrier takes more and the line
has carried what went before (L{burrow.wire.pacing}), so that a stream with few bytes never waits behind one
with many. What is written in one reactor turn goes out in one message, if the line is fast.

A callback of a protocol or of its producer that raises ends its own stream and no other. How a session ends::

    what happens            what the peer sends   then
    close()                 is delivered          go away, then the carrier closes
    abort()                 is dropped            the carrier is aborted
    the peer broke yamux    is dropped            go away with code 1, then the carrier closes with code 4002
    the peer sends go away  is delivered          close() by the sweep when no stream is left
    go away, code not 0     is dropped            abort(): the peer has ended the session
    carrier_lost()          is dropped            connectionLost to each stream, then on_lost

After each of these L{Session.open_stream} raises L{StreamGone}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.clock import at_turn_end
from burrow.errors import StreamGone, WireError
from burrow.mux.backlog import BacklogWatch
from burrow.mux.control import shown
from burrow.mux.interfaces import UNKNOWN_PEER, CloseCode, ICarrier
from burrow.mux.listeners import Listeners
from burrow.mux.pings import Pings
from burrow.mux.stream import Stream, StreamAddress
from burrow.mux.streams import Streams
from burrow.wire.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PongReceived,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from burrow.wire.frames import HEADER_SIZE, GoAwayCode
from burrow.wire.pacing import MIN_PULL, Pacer
from burrow.wire.windows import Allowance
from burrow.wire.yamux import Yamux

GOING = 1.0
"""Seconds that a peer has to close an idle session itself after its go away, as most do."""


class Session:
    """
    One yamux session over a carrier.

    @param clock: tells time and runs the flush at the end of a reactor turn.
    @param client: True for the agent's side. @param factory: see L{listen}.
    @param max_streams: how many streams the peer may have open at once.
    @ivar factory: builds the protocol of each stream that the peer opens; while it is None they are reset.
    @ivar on_lost: called once with the L{Failure} that ended the session, after all its streams are closed.
    @ivar on_go_away: called with the code when the peer sends go away, before the streams that it has not
        acknowledged are lost.
    @ivar peer: the address of the other end of the last connection.
    @ivar connected: whether a connection carries it now. @ivar pings: have the last round trip.
    @ivar last_received: the time of the peer's last sign of life, in the clock's seconds.
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
        self.on_lost: Listeners[Failure] = Listeners()
        self.on_go_away: Listeners[int] = Listeners()
        self.peer: IAddress = UNKNOWN_PEER
        self.last_received = clock.seconds()
        self.connected = self.lost = False
        self._closing = False
        self._deaf = False
        self._left_at: float | None = None
        self._wire = Yamux(client=client, max_streams=max_streams)
        self._carrier: ICarrier | None = None
        self._streams = Streams(clock, self._wire, self.schedule)
        self.pings = Pings(clock, self._wire)
        self._pacer = Pacer()
        self._backlog = BacklogWatch(clock, self._wire, self.ping, self.schedule)
        self._paused = self._flushing = self._scheduled = False
        self._at_turn_end = at_turn_end(clock)

    # -- for its users ----------------------------------------------------------------------

    @property
    def stream_count(self) -> int:
        """How many streams have a protocol, or still have bytes of a former one to send."""
        return len(self._streams)

    @property
    def going(self) -> bool:
        """Whether no more streams can be opened: the peer sent go away, or either side ends the session."""
        return self._closing or self._wire.remote_go_away

    @property
    def protocols(self) -> list[IProtocol]:
        """The protocols that its streams have now."""
        return [stream.protocol for stream in self._streams.by_id.values()]

    def listen(self, factory: IProtocolFactory) -> None:
        """
        Build the protocols of the streams that the peer opens with C{factory} from now on.

        @raise RuntimeError: the session has a factory already.
        """
        if self.factory is not None:
            raise RuntimeError(f"the session with {shown(self.peer)} has a factory already")
        self.factory = factory

    def stop_listening(self) -> None:
        """Reset the streams that the peer opens from now on."""
        self.factory = None

    def open_stream(
        self, protocol: IProtocol, prefix: bytes = b"", allowance: Allowance | None = None
    ) -> Stream:
        """
        Open a stream under C{protocol}; it may write at once, before the peer has answered.

        @param prefix: bytes that go out before those of the protocol. @param allowance: bounds its window.
        @raise StreamGone: the session is lost or takes no more streams.
        """
        if self._closing:
            raise StreamGone("the session is lost" if self.lost else "the session is being closed")
        stream = self._streams.add(self._wire.open_stream(allowance), protocol, self.peer)
        if prefix:
            stream.write(prefix)
        stream.connect()
        self._backlog.watch()
        self.schedule()
        return stream

    def ping(self) -> Deferred[float]:
        """
        Ask the peer for an answer; fires with the round trip in seconds. Fails when the session is lost, and
        at once while L{MAX_PINGS<burrow.mux.pings.MAX_PINGS>} others wait.
        """
        if self.lost:
            return fail(ConnectionLost("the session is lost"))
        answer = self.pings.send()
        self.schedule()
        return answer

    def go_away(self, code: GoAwayCode = GoAwayCode.NORMAL) -> None:
        """Refuse new streams from now on; those that are open go on."""
        self._wire.go_away(code)
        self.schedule()

    def close(self, reason: str, code: int = CloseCode.NORMAL) -> None:
        """Send go away and what is queued, then close the carrier. C{code} is a L{CloseCode}."""
        if self._closing:
            return
        self._closing = True
        self._wire.go_away(GoAwayCode.NORMAL)
        self._paused = False
        self._pacer.finish()
        self._flush()
        if self._carrier is not None:
            self._carrier.close(reason, code)
        else:
            self.carrier_lost(Failure(ConnectionDone(reason)))

    def abort(self) -> None:
        """Abort the carrier, and drop what still comes from it."""
        self._closing = self._deaf = True
        if self._carrier is not None:
            self._carrier.abort()
        else:
            self.carrier_lost(Failure(ConnectionLost("the session was ended")))

    # -- for the carrier --------------------------------------------------------------------

    def attach(self, carrier: ICarrier, peer: IAddress = UNKNOWN_PEER) -> None:
        """Begin to use C{carrier}; what is queued goes out. A session that is lost aborts it."""
        if self.lost:
            carrier.abort()
            return
        self._carrier, self._paused = carrier, False
        self.connected_to(peer)
        self.schedule()

    def connected_to(self, peer: IAddress) -> None:
        """The carrier has a connection to C{peer}, its first or another."""
        self.connected = True
        self.peer = peer
        self._pacer.reset()
        self.heard()

    def carrier_received(self, data: bytes | memoryview) -> None:
        """Bytes of the peer's, split in any way; a memoryview is not kept."""
        if self._deaf:
            return
        self.last_received = self.clock.seconds()
        self._flushing = True  # what the protocols write now goes out below, in one message
        try:
            for event in self._wire.receive_data(data):
                if not isinstance(event, DataReceived):
                    self._handle(event)
                elif (stream := self._streams.by_id.get(event.stream_id)) is not None:
                    stream.data_received(event.data)
                else:
                    self._streams.reset(event.stream_id)
        except WireError as error:
            self._breach(error)
        finally:
            self._flushing = False
        if any(self._wire.output):
            self._flush()

    def disconnected(self) -> None:
        """The carrier has no connection: send nothing until it has one and calls L{carrier_drained}."""
        self.connected, self._paused = False, True

    def carrier_paused(self) -> None:
        """Send nothing until L{carrier_drained}."""
        self._paused = True

    def carrier_drained(self) -> None:
        """The carrier takes more."""
        self._paused = False
        if any(self._wire.output) and not self._flushing:
            self._flush()

    def carrier_lost(self, reason: Failure) -> None:
        """The carrier is lost: end the session, all its streams and the pings that wait."""
        if self.lost:
            return
        self.lost = self._closing = self._deaf = True
        self.connected = False
        self._carrier = None
        self._backlog.stop()
        self._streams.lose()
        self.pings.fail(reason)
        self.on_lost.tell(reason)

    # -- for the heartbeat --------------------------------------------------------------------

    def heard(self) -> None:
        """There was a sign of life from the peer; or this machine slept, and the wait for one begins anew."""
        self.last_received = self.clock.seconds()

    def sweep(self) -> None:
        """Do what no event asks for. To be called once a second."""
        self._streams.sweep()
        self._pacer.sweep(self.clock.seconds())
        if any(self._wire.output):
            self.schedule()
        self._backlog.watch()
        idle = not self._streams.by_id and not self._wire.stream_count
        if self._left_at is not None and idle and self.clock.seconds() - self._left_at >= GOING:
            self.close("nothing is left to do after the go away")

    # -- inside -------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Flush at the end of this reactor turn, unless that is under way."""
        if not (self._scheduled or self._flushing or self._paused or self._carrier is None):
            self._scheduled = True
            self._at_turn_end(self._flush)

    def _flush(self) -> None:
        """Give the carrier what it takes, and tell the streams whose queue ran low."""
        self._scheduled = False
        self._flushing = True
        wire, pacer = self._wire, self._pacer
        wire.frame = pacer.frame
        try:
            while self._carrier is not None and not self._paused:
                ping = None
                if pacer.full:  # the answers and windows that the peer waits for go out all the same
                    data = wire.pull(HEADER_SIZE * (len(wire.output[0]) + len(wire.output[1])))
                else:
                    if pacer.due:
                        ping = wire.ping()
                    data = wire.pull(pacer.pull)
                if not data:
                    break
                pacer.sent(len(data), self.clock.seconds(), any(wire.output), ping, wire.shared)
                self._paused = not self._carrier.send(data)
                for stream_id in wire.take_drained() if wire.drained else ():
                    self._streams.drained(stream_id)
        finally:
            self._flushing = False

    def _breach(self, error: WireError) -> None:
        """The peer broke yamux: send go away, close the carrier, and drop what still comes from it."""
        self.log.warn("{peer} broke the protocol: {error}", peer=shown(self.peer), error=error)
        self._closing = self._deaf = True
        if self._carrier is not None:
            self._carrier.send(self._wire.pull(MIN_PULL))
            self._carrier.close(str(error), CloseCode.PROTOCOL_ERROR)

    def _handle(self, event: Event) -> None:
        """Handle an event that brings no data of a stream."""
        if isinstance(event, StreamOpened):
            self._accept(event.stream_id)
        elif isinstance(event, StreamEnded):
            self._streams.ended(event.stream_id)
        elif isinstance(event, StreamReset):
            self._streams.was_reset(event.stream_id)
        elif isinstance(event, PongReceived):
            now = self.clock.seconds()
            if not self._pacer.answered(event.opaque, now):
                self._pacer.measured(self.pings.answered(event.opaque), now)
        elif isinstance(event, GoAwayReceived):
            self._peer_went_away(event.code)

    def _accept(self, stream_id: int) -> None:
        protocol = None
        if self.factory is not None and not self._closing:
            try:
                protocol = self.factory.buildProtocol(StreamAddress(self.peer, stream_id))
            except Exception:
                self.log.failure("{factory} failed in buildProtocol", factory=self.factory)
        if protocol is None:
            self._streams.reset(stream_id)
        else:
            self._streams.add(self._wire.streams[stream_id], protocol, self.peer).connect()

    def _peer_went_away(self, code: int) -> None:
        if self._deaf:
            return  # an earlier one, in the same message, ended the session
        self._left_at = self.clock.seconds()
        self.on_go_away.tell(code)
        if code != GoAwayCode.NORMAL:
            self.log.warn(
                "{peer} ended the session: go away with code {code}", peer=shown(self.peer), code=code
            )
            self.abort()
