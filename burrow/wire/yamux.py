"""
A yamux session without I/O: bytes in, events out; bytes out on request.

Source: the yamux specification, version 0. The client of the session (the agent) opens streams
with odd ids, the server with even ids. The life of one stream: L{burrow.wire.stream}.

Bytes to send wait in their stream's queue until they are pulled: control frames come first, then window
updates, then the streams take turns, a frame each (L{Yamux.frame}). What bounds the buffers: a stream's
queue is bounded by its user, who reads L{YamuxStream.queued} and L{Yamux.take_drained}; the control frames
by L{MAX_ANSWERS}, by C{max_streams}, which counts a stream of the peer's until our RST of it was pulled, and
by what the user does with its own streams; the window updates by one a stream; the number of streams by
C{max_streams}. Received bytes are not kept.
"""

from __future__ import annotations

from collections import OrderedDict

from burrow.errors import StreamGone, WireError
from burrow.wire.backlog import Backlog
from burrow.wire.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from burrow.wire.fair import RoundRobin
from burrow.wire.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    Frame,
    FrameReader,
    GoAwayCode,
    encode,
)
from burrow.wire.pacing import MAX_FRAME
from burrow.wire.stream import REMOTE_CLOSE, YamuxStream
from burrow.wire.windows import Allowance, GrowthBudget

MAX_ANSWERS = 4096
"""
Control frames that answer the peer's and wait to be pulled, at most. A peer that makes more necessary, by a
flood of pings or of refused streams, without reading our answers breaks the protocol.
"""

SMALL, MUCH = 4 * 1024, 64 * 1024
"""Bytes of a frame below which it is a small stream's, and of a pull from which bulk is beside it."""

_ROUND_TRIPS = 6
LAST_ID = 0xFFFFFFFF


class Yamux:
    """
    One yamux session, either side.

    @param client: whether we open the odd ids.
    @param max_streams: how many streams the peer may have open at once; a SYN beyond is answered
        with RST, and so is one that comes while a RST of ours for one of them waits to be pulled.
    @ivar streams: those that are open or half open, by id. @ivar turns: see L{burrow.wire.stream.IOwner}, for
        C{grants} and C{drained} too.
    @ivar backlog: our streams that the peer has not accepted yet.
    @ivar output: what L{pull} takes from, in that order: C{any(output)} tells whether it returns anything.
    @ivar frame: see L{burrow.wire.stream.IOwner}. @ivar shared: the last pull had bulk beside small frames.
    @ivar rtt: the shortest of the last round trips, in seconds; 0 before the first.
    @ivar local_go_away: whether we said go away. @ivar remote_go_away: whether the peer did.
    """

    def __init__(self, *, client: bool, max_streams: int = 65_536) -> None:
        self._reader = FrameReader()
        self.streams: dict[int, YamuxStream] = {}
        self._next_id = 1 if client else 2
        self._peer_parity = 0 if client else 1
        self._peer_open = self._peer_highest = self._stray = 0
        self._max_streams = max_streams
        self._control: list[bytes] = []
        self._answers = self._resets = 0
        self.grants: OrderedDict[int, int] = OrderedDict()
        self.turns = RoundRobin()
        self.output = self._control, self.grants, self.turns.order
        self.backlog = Backlog()
        self.drained: list[int] = []
        self._budget = GrowthBudget()
        self._next_ping = 0
        self.frame = MAX_FRAME
        self.shared = False
        self.rtt = 0.0
        self._round_trips: tuple[float, ...] = ()
        self.local_go_away = self.remote_go_away = False

    # -- what the user asks of the session ------------------------------------------------

    @property
    def stream_count(self) -> int:
        """How many streams are open or half open."""
        return len(self.streams)

    def sending(self) -> list[int]:
        """The streams whose FIN or RST of ours is not out yet."""
        return [stream_id for stream_id, stream in self.streams.items() if not stream.write_ended]

    def open_stream(self, allowance: Allowance | None = None) -> YamuxStream:
        """
        Open a stream; its SYN goes out with its first bytes, or alone with the next pull.

        @param allowance: see L{ReceiveWindow<burrow.wire.windows.ReceiveWindow>}.
        @raise StreamGone: the peer said go away, or all ids are used up: a new session is needed.
        """
        if self.remote_go_away:
            raise StreamGone("the peer is going away and takes no more streams")
        if self._next_id > LAST_ID:
            raise StreamGone("all stream ids of this session are used up")
        stream_id = self._next_id
        self._next_id += 2
        stream = self.streams[stream_id] = YamuxStream(self, stream_id, SYN, self._budget, allowance)
        if self.backlog.announce(stream_id):
            self.turns.add(stream_id)
        else:
            stream.delayed = True
        return stream

    def presume_taken(self) -> None:
        """The peer acknowledges late: streams whose SYN was sent no longer count against its backlog."""
        self.backlog.presume_taken(lambda stream_id: not self.streams[stream_id].opening)
        self._open_delayed()

    def ping(self) -> int:
        """Send a ping; the L{PongReceived} that answers it carries the returned value."""
        opaque = self._next_ping
        self._next_ping = (opaque + 1) & 0xFFFFFFFF
        self._control.append(encode(PING, SYN, 0, opaque))
        return opaque

    def measured(self, round_trip: float) -> None:
        """A ping was answered after so many seconds: receive windows grow by what the line holds (L{rtt})."""
        self._round_trips = (*self._round_trips[1 - _ROUND_TRIPS :], round_trip)
        self.rtt = min(self._round_trips)

    def go_away(self, code: GoAwayCode) -> None:
        """
        Tell the peer to open no more streams; those that it opens all the same are reset. The frame goes out
        before all but the ACKs of the streams that we accepted: a peer may give up streams without one.
        """
        frames = []
        if code == GoAwayCode.NORMAL:
            if self.local_go_away:
                return
            for stream_id, stream in self.streams.items():
                if stream.opening == ACK:
                    frames.append(encode(WINDOW_UPDATE, ACK, stream_id, 0))
                    stream.opening = 0
        frames.append(encode(GO_AWAY, 0, 0, int(code)))
        self.local_go_away = True
        self._control[:0] = frames

    # -- bytes out -------------------------------------------------------------------------

    def pull(self, limit: int) -> bytes:
        """The next bytes to send, if any: whole frames, of C{limit} bytes or one more. See C{shared}."""
        parts: list[bytes | memoryview] = []
        if self._control:
            parts += self._control[: -(-limit // HEADER_SIZE)]
            del self._control[: len(parts)]
        size = HEADER_SIZE * len(parts)
        if not self._control:
            self._peer_open -= self._resets
            self._answers = self._resets = 0
        while size < limit and self.grants:
            size += self._pull_grant(parts)
        small = False
        while size < limit and self.turns.order:
            stream_id, _ = self.turns.pop()
            stream = self.streams[stream_id]
            moved = stream.pull(parts)
            # More than a FIN, and not the rest of bulk that the last frame left.
            small = small or (HEADER_SIZE < moved < SMALL and not stream.cut)
            stream.cut = stream.queued > 0
            size += moved
        self.shared = small and size >= MUCH
        return b"".join(parts)

    def take_drained(self) -> list[int]:
        """The streams to report since the last call: see L{YamuxStream.report_drained}."""
        drained, self.drained = self.drained, []
        return drained

    def _pull_grant(self, parts: list[bytes | memoryview]) -> int:
        stream_id, delta = self.grants.popitem(last=False)
        stream = self.streams[stream_id]
        stream.window.granted(delta)
        parts.append(encode(WINDOW_UPDATE, stream.opening, stream_id, delta))
        stream.opening = 0
        return HEADER_SIZE

    # -- bytes in --------------------------------------------------------------------------

    def receive_data(self, data: bytes | memoryview) -> list[Event]:
        """
        Take the peer's next bytes, split in any way; return what they mean, in order. No memoryview is kept.

        @raise WireError: the peer broke the protocol. A go away with that code is queued: pull
            it, send it and close the connection.
        """
        events: list[Event] = []
        try:
            for frame in self._reader.receive(data):
                kind, flags, stream_id, value, payload = frame
                if payload and not flags:  # nearly all: handled here, which saves a tenth of a frame's time
                    stream = self.streams.get(stream_id)
                    if stream is not None and stream.taken and stream.state is not REMOTE_CLOSE:
                        if not stream.window.received(value):
                            raise WireError(f"stream {stream_id} exceeds its window")
                        events.append(DataReceived(stream_id, payload))
                        continue
                if kind <= WINDOW_UPDATE:
                    self._receive_stream(frame, events)
                elif kind == GO_AWAY:
                    self._receive_go_away(value, events)
                elif flags & SYN:
                    self._answer(encode(PING, ACK, 0, value))
                elif flags & ACK:
                    events.append(PongReceived(value))
        except WireError:
            self.go_away(GoAwayCode.PROTOCOL_ERROR)
            raise
        return events

    def _receive_go_away(self, code: int, events: list[Event]) -> None:
        if self.remote_go_away and code == GoAwayCode.NORMAL:
            return
        self.remote_go_away = True
        events.append(GoAwayReceived(code))
        # The peer takes no more streams: those not taken yet end here, so that no user waits.
        for stream_id in [i for i, stream in self.streams.items() if not stream.taken]:
            self.reset(self.streams[stream_id])
            events.append(StreamReset(stream_id))

    def _receive_stream(self, frame: Frame, events: list[Event]) -> None:
        kind, flags, stream_id, value, payload = frame
        if flags & SYN and not self._accept(stream_id, events):
            return
        stream = self.streams.get(stream_id)
        if stream is None or stream.opening == SYN:  # the peer cannot know of one whose SYN was not sent
            self._receive_stray(kind, flags, stream_id)
            return
        if not stream.taken and not flags & RST:
            stream.taken = True
            self.backlog.taken(stream_id)
            if self.backlog.waiting:
                self._open_delayed()
            events.append(StreamAccepted(stream_id))
        if kind == WINDOW_UPDATE:
            if value:
                stream.allow(value)
        elif payload:
            if stream.state is REMOTE_CLOSE:
                raise WireError(f"data on stream {stream_id} after its FIN")
            if not stream.window.received(value):
                raise WireError(f"stream {stream_id} exceeds its window")
            events.append(DataReceived(stream_id, payload))
        if flags & RST:
            self.forget(stream)
            events.append(StreamReset(stream_id))
        elif flags & FIN and not stream.read_ended:
            self.grants.pop(stream_id, None)
            events.append(StreamEnded(stream_id))
            stream.ended()

    def _accept(self, stream_id: int, events: list[Event]) -> bool:
        if not stream_id or stream_id & 1 != self._peer_parity:
            raise WireError(f"stream {stream_id} is not the peer's to open")
        if stream_id in self.streams:
            raise WireError(f"stream {stream_id} is opened twice")
        # Not always in order: the reference implementation takes an id and sends its SYN in two steps.
        self._peer_highest = max(self._peer_highest, stream_id)
        if self._peer_open >= self._max_streams or self.local_go_away:
            self._answer(encode(WINDOW_UPDATE, RST, stream_id, 0))
            return False
        self._peer_open += 1
        self.streams[stream_id] = YamuxStream(self, stream_id, ACK, self._budget)
        self.turns.add(stream_id)
        events.append(StreamOpened(stream_id))
        return True

    def _receive_stray(self, kind: int, flags: int, stream_id: int) -> None:
        """
        A frame for a stream that is not open.

        If the stream was open once, the frame may have crossed our RST or FIN: it is dropped, as the
        reference implementation does. If it never was, the answer is RST, so that the sender learns of it.
        """
        if not stream_id:
            raise WireError("a stream's frame has stream id 0")
        ours = stream_id & 1 != self._peer_parity
        known = stream_id < self._next_id if ours else stream_id <= self._peer_highest
        if kind == DATA and not known and not flags & RST and stream_id != self._stray:
            self._stray = stream_id  # one answer is enough, in however many pieces a frame comes
            self._answer(encode(WINDOW_UPDATE, RST, stream_id, 0))

    def _answer(self, frame: bytes) -> None:
        """Queue a control frame that answers one of the peer's."""
        self._answers += 1
        if self._answers > MAX_ANSWERS:
            raise WireError("the peer asks for more answers than it reads")
        self._control.append(frame)

    def _open_delayed(self) -> None:
        for stream_id in self.backlog.admit():
            self.streams[stream_id].delayed = False
            self.turns.add(stream_id)

    # -- for the streams: IOwner ------------------------------------------------------------

    def reset(self, stream: YamuxStream) -> None:
        """Forget a stream that is open, and queue a RST for it, unless its SYN was not sent."""
        stream_id = stream.stream_id
        if not stream.opening & SYN:
            self._control.append(encode(WINDOW_UPDATE, RST, stream_id, 0))
            if stream_id & 1 == self._peer_parity:
                # Counts as open until the RST is pulled: endless SYNs must not queue endless RSTs.
                self._peer_open += 1
                self._resets += 1
        self.forget(stream)

    def forget(self, stream: YamuxStream) -> None:
        """A stream becomes CLOSED: forget it, and drop what it has queued."""
        stream_id = stream.stream_id
        stream.close()
        del self.streams[stream_id]
        self.turns.discard(stream_id)
        self.grants.pop(stream_id, None)
        if stream_id & 1 == self._peer_parity:
            self._peer_open -= 1
        else:
            self.backlog.discard(stream_id)
            if self.backlog.waiting:
                self._open_delayed()
