"""
A yamux session without I/O: bytes in, events out; bytes out on request.

Source: the yamux specification, version 0. The client of the session (the agent) opens streams
with odd ids, the server with even ids. The life of a stream, from our side::

    state          we sent FIN   FIN came     may send   may receive
    OPEN           no            no           yes        yes
    LOCAL_CLOSE    yes           no           no         yes
    REMOTE_CLOSE   no            yes          yes        no
    (forgotten)    both FINs, or RST in either direction

Bytes to send wait in their stream's queue until they are pulled: control frames come first, then
the streams take turns, a frame of at most 16 KiB each. What bounds the buffers: a stream's queue
by its user, who asks L{Yamux.queued} and is told by L{Session.take_drained}; the control queue by
L{MAX_ANSWERS}, by C{max_streams}, which counts a stream of the peer's until our RST of it was pulled, and by
what the user does with streams of its own; the windows to give back by one entry a stream, and what waits
there the peer may not send yet; the number of streams by C{max_streams}. Received bytes are never kept here.
"""

from __future__ import annotations

from collections import OrderedDict, deque

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
from burrow.wire.windows import INITIAL_WINDOW, GrowthBudget, ReceiveWindow

MAX_FRAME = 16 * 1024
"""Bytes of payload in one Data frame of ours, so that the next stream's turn comes soon."""

LOW_WATER = 32 * 1024
"""A queue that falls to this many bytes is reported by L{Yamux.take_drained}."""

MAX_ANSWERS = 4096
"""Control frames that wait to be pulled because of what the peer sent. A peer that asks for more
(a flood of pings or of refused streams) without reading our answers breaks the protocol."""

LAST_ID = 0xFFFFFFFF
_MAX_SEND_WINDOW = 0xFFFFFFFF


class _Stream:
    """
    What the session knows of one stream.

    @ivar opening: SYN or ACK while it is still to be sent, else 0.
    @ivar delayed: its SYN waits until the peer has taken others.
    @ivar taken: the peer opened it, or sent something on it since we did.
    @ivar breaking: what ends it is a RST, not a FIN.
    """

    __slots__ = (
        "breaking",
        "chunks",
        "delayed",
        "ending",
        "fin_received",
        "fin_sent",
        "opening",
        "queued",
        "send",
        "taken",
        "window",
    )

    def __init__(self, budget: GrowthBudget, opening: int) -> None:
        self.opening = opening
        self.send = INITIAL_WINDOW
        self.window = ReceiveWindow(budget)
        self.chunks: deque[bytes | memoryview] = deque()
        self.queued = 0
        self.ending = False
        self.fin_sent = False
        self.fin_received = False
        self.delayed = False
        self.taken = opening == ACK
        self.breaking = False


class Yamux:
    """
    One yamux session, either side.

    @param client: whether we open the odd ids.
    @param max_streams: how many streams the peer may have open at once; a SYN beyond is answered
        with RST, and so is one that comes while a RST of ours for one of them waits to be pulled.
    @ivar rtt: the shortest round trip measured lately, in seconds; 0 if none was. The user sets it.
    @ivar local_go_away: whether we said go away. @ivar remote_go_away: whether the peer did.
    """

    def __init__(self, *, client: bool, max_streams: int = 65_536) -> None:
        self._reader = FrameReader()
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1 if client else 2
        self._peer_parity = 0 if client else 1
        self._peer_open = 0
        self._peer_highest = 0
        self._stray = 0
        self._max_streams = max_streams
        self._control: deque[bytes] = deque()
        self._answers = 0
        self._resets = 0
        self._grants: OrderedDict[int, int] = OrderedDict()
        self._turns = RoundRobin()
        self._backlog = Backlog()
        self._drained: list[int] = []
        self._budget = GrowthBudget()
        self._next_ping = 0
        self.rtt = 0.0
        self.local_go_away = False
        self.remote_go_away = False

    # -- what the user asks of the session ------------------------------------------------

    @property
    def stream_count(self) -> int:
        """How many streams are open or half open."""
        return len(self._streams)

    @property
    def backlogged(self) -> bool:
        """Whether a stream of ours waits until the peer has taken others."""
        return bool(self._backlog.waiting)

    @property
    def progress(self) -> int:
        """A number that grows when the peer takes streams of ours."""
        return self._backlog.progress

    def sending(self) -> list[int]:
        """The streams whose FIN or RST of ours is not out yet."""
        return [stream_id for stream_id, stream in self._streams.items() if not stream.fin_sent]

    def knows(self, stream_id: int) -> bool:
        """Whether the stream is open or half open."""
        return stream_id in self._streams

    def open_stream(self) -> int:
        """
        Open a stream; its SYN goes out with its first bytes, or alone with the next pull.

        @raise StreamGone: the peer said go away, or all ids are used up: a new session is needed.
        """
        if self.remote_go_away:
            raise StreamGone("the peer is going away and takes no more streams")
        if self._next_id > LAST_ID:
            raise StreamGone("all stream ids of this session are used up")
        stream_id = self._next_id
        self._next_id += 2
        stream = self._streams[stream_id] = _Stream(self._budget, SYN)
        if self._backlog.announce(stream_id):
            self._turns.add(stream_id)
        else:
            stream.delayed = True
        return stream_id

    def presume_taken(self) -> None:
        """The peer reads and acknowledges late: what has its SYN out counts no more against its backlog."""
        self._backlog.presume_taken(lambda stream_id: not self._streams[stream_id].opening)
        self._open_delayed()

    def send_data(self, stream_id: int, data: bytes) -> int:
        """
        Queue bytes; return how many wait on this stream now.

        @raise StreamGone: the stream is not open, or we ended it.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.ending:
            raise StreamGone(f"stream {stream_id} takes no more data")
        if data:
            stream.chunks.append(data)
            stream.queued += len(data)
            if stream.send > 0:
                self._offer(stream_id, stream)
        return stream.queued

    def end_stream(self, stream_id: int) -> None:
        """Send FIN after what is queued. Nothing happens if the stream is gone or ended."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.ending:
            stream.ending = True
            self._offer(stream_id, stream)

    def break_stream(self, stream_id: int) -> None:
        """
        Send RST after what is queued; at once if our FIN is out already. Nothing happens if the stream is
        gone. L{write_ended} tells whether there is anything to wait for.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.breaking:
            return
        if stream.fin_sent:
            self.reset_stream(stream_id)
        else:
            stream.ending = stream.breaking = True
            self._offer(stream_id, stream)

    def reset_stream(self, stream_id: int) -> None:
        """Drop what is queued and send RST. Nothing happens if the stream is gone."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            if not stream.opening & SYN:
                self._control.append(encode(WINDOW_UPDATE, RST, stream_id, 0))
                if stream_id & 1 == self._peer_parity:
                    # Counts as open until the RST is pulled: endless SYNs must not queue endless RSTs.
                    self._peer_open += 1
                    self._resets += 1
            self._forget(stream_id, stream)

    def consumed(self, stream_id: int, amount: int, now: float) -> None:
        """
        Give C{amount} received bytes back to the peer's window.

        @param now: seconds of any monotonic clock; the window's growth is measured with it.
        """
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.fin_received:
            delta = stream.window.consumed(amount, now, self.rtt)
            if delta:
                self._grants[stream_id] = self._grants.get(stream_id, 0) + delta

    def queued(self, stream_id: int) -> int:
        """Bytes that wait to be sent on this stream; 0 for one that is gone."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.queued

    def granted(self, stream_id: int) -> int:
        """
        A number that grows with what the peer has used of this stream, and falls with what is given to
        L{send_data}: the window less the bytes that wait. 0 for a stream that is gone.
        """
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.send - stream.queued

    def write_ended(self, stream_id: int) -> bool:
        """Whether our FIN went out after all that was queued, or the stream is gone."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.fin_sent

    def ping(self) -> int:
        """Send a ping; the L{PongReceived} that answers it carries the returned value."""
        opaque = self._next_ping
        self._next_ping = (opaque + 1) & 0xFFFFFFFF
        self._control.append(encode(PING, SYN, 0, opaque))
        return opaque

    def go_away(self, code: GoAwayCode) -> None:
        """
        Tell the peer to open no more streams; what it opens all the same is reset. It is told before anything
        else that waits, but for the ACKs of the streams that we took: a peer may give up what has none.
        """
        frames = []
        if code == GoAwayCode.NORMAL:
            if self.local_go_away:
                return
            for stream_id, stream in self._streams.items():
                if stream.opening == ACK:
                    frames.append(encode(WINDOW_UPDATE, ACK, stream_id, 0))
                    stream.opening = 0
        frames.append(encode(GO_AWAY, 0, 0, int(code)))
        self.local_go_away = True
        self._control.extendleft(reversed(frames))

    # -- bytes out -------------------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        """Whether L{pull} may return anything now."""
        return bool(self._control) or bool(self._turns) or bool(self._grants)

    def pull(self, limit: int) -> bytes:
        """
        The next bytes to send: whole frames, of C{limit} bytes or one frame more; empty if none.
        """
        parts: list[bytes | memoryview] = []
        size = 0
        control = self._control
        while control and size < limit:
            frame = control.popleft()
            parts.append(frame)
            size += len(frame)
        if not control:
            self._answers = 0
            self._peer_open -= self._resets
            self._resets = 0
        while size < limit and self._grants:
            size += self._pull_grant(parts)
        while size < limit and self._turns:
            size += self._pull_stream(self._turns.pop(), parts)
        return b"".join(parts)

    def take_drained(self) -> list[int]:
        """The streams whose queue fell to L{LOW_WATER} or was emptied since the last call."""
        drained, self._drained = self._drained, []
        return drained

    def _pull_grant(self, parts: list[bytes | memoryview]) -> int:
        stream_id, delta = self._grants.popitem(last=False)
        stream = self._streams[stream_id]
        stream.window.granted(delta)
        parts.append(encode(WINDOW_UPDATE, stream.opening, stream_id, delta))
        stream.opening = 0
        return HEADER_SIZE

    def _pull_stream(self, stream_id: int, parts: list[bytes | memoryview]) -> int:
        stream = self._streams[stream_id]
        amount = min(stream.queued, stream.send, MAX_FRAME)
        size = amount
        if amount or stream.opening:
            parts.append(encode(DATA if amount else WINDOW_UPDATE, stream.opening, stream_id, amount))
            stream.opening = 0
            size += HEADER_SIZE
        if amount:
            self._take_chunks(stream, amount, parts)
            was, stream.queued = stream.queued, stream.queued - amount
            stream.send -= amount
            if not stream.queued or stream.queued <= LOW_WATER < was:
                self._drained.append(stream_id)
        if stream.ending and not stream.queued:
            self._finish(stream_id, stream, parts)
            size += HEADER_SIZE
        elif stream.queued and stream.send > 0:
            self._turns.add(stream_id)
        return size

    def _finish(self, stream_id: int, stream: _Stream, parts: list[bytes | memoryview]) -> None:
        """
        Send FIN or RST. In a frame of its own: the reference implementation tells its reader of a frame's
        flags before it has the frame's data, and so may lose them.
        """
        parts.append(encode(WINDOW_UPDATE, RST if stream.breaking else FIN, stream_id, 0))
        self._drained.append(stream_id)
        stream.fin_sent = True
        if stream.breaking or stream.fin_received:
            self._forget(stream_id, stream)

    @staticmethod
    def _take_chunks(stream: _Stream, amount: int, parts: list[bytes | memoryview]) -> None:
        chunks = stream.chunks
        while amount:
            chunk = chunks[0]
            if len(chunk) <= amount:
                parts.append(chunks.popleft())
                amount -= len(chunk)
            else:
                view = memoryview(chunk)
                parts.append(view[:amount])
                chunks[0] = view[amount:]
                return

    def _offer(self, stream_id: int, stream: _Stream) -> None:
        # A delayed stream gets its turn when the peer's backlog has room.
        if not stream.delayed:
            self._turns.add(stream_id)

    # -- bytes in --------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """
        Take the peer's next bytes, split in any way; return what they mean, in order.

        @raise WireError: the peer broke the protocol. A go away with that code is queued: pull
            it, send it and close the connection.
        """
        events: list[Event] = []
        try:
            for frame in self._reader.receive(data):
                kind = frame.kind
                if kind in (DATA, WINDOW_UPDATE):
                    self._receive_stream(frame, events)
                elif kind == PING:
                    self._receive_ping(frame, events)
                else:
                    self._receive_go_away(frame.value, events)
        except WireError:
            self.go_away(GoAwayCode.PROTOCOL_ERROR)
            raise
        return events

    def _receive_ping(self, frame: Frame, events: list[Event]) -> None:
        if frame.flags & SYN:
            self._answer(encode(PING, ACK, 0, frame.value))
        elif frame.flags & ACK:
            events.append(PongReceived(frame.value))

    def _receive_go_away(self, code: int, events: list[Event]) -> None:
        if self.remote_go_away and code == GoAwayCode.NORMAL:
            return
        self.remote_go_away = True
        events.append(GoAwayReceived(code))
        # What the peer has not taken it never will: nobody shall wait for it.
        for stream_id in [i for i, stream in self._streams.items() if not stream.taken]:
            self.reset_stream(stream_id)
            events.append(StreamReset(stream_id))

    def _receive_stream(self, frame: Frame, events: list[Event]) -> None:
        kind, flags, stream_id, value, payload = frame
        if flags & SYN and not self._accept(stream_id, events):
            return
        stream = self._streams.get(stream_id)
        if stream is None or stream.opening == SYN:  # the peer cannot know of one whose SYN was not sent
            self._receive_stray(kind, flags, stream_id)
            return
        if not stream.taken and not flags & RST:
            stream.taken = True
            self._backlog.taken(stream_id)
            if self._backlog.waiting:
                self._open_delayed()
            events.append(StreamAccepted(stream_id))
        if kind == WINDOW_UPDATE:
            if value:
                stream.send += value
                if stream.send > _MAX_SEND_WINDOW:
                    raise WireError(f"the window of stream {stream_id} overflows")
                if stream.queued:
                    self._offer(stream_id, stream)
        elif payload:
            if stream.fin_received:
                raise WireError(f"data on stream {stream_id} after its FIN")
            if not stream.window.received(value):
                raise WireError(f"stream {stream_id} exceeds its window")
            events.append(DataReceived(stream_id, payload))
        if flags & RST:
            self._forget(stream_id, stream)
            events.append(StreamReset(stream_id))
        elif flags & FIN and not stream.fin_received:
            stream.fin_received = True
            self._grants.pop(stream_id, None)
            events.append(StreamEnded(stream_id))
            if stream.fin_sent:
                self._forget(stream_id, stream)

    def _accept(self, stream_id: int, events: list[Event]) -> bool:
        if not stream_id or stream_id & 1 != self._peer_parity:
            raise WireError(f"stream {stream_id} is not the peer's to open")
        if stream_id in self._streams:
            raise WireError(f"stream {stream_id} is opened twice")
        # Not always in order: the reference implementation takes an id and sends its SYN in two steps.
        self._peer_highest = max(self._peer_highest, stream_id)
        if self._peer_open >= self._max_streams or self.local_go_away:
            self._answer(encode(WINDOW_UPDATE, RST, stream_id, 0))
            return False
        self._peer_open += 1
        self._streams[stream_id] = _Stream(self._budget, ACK)
        self._turns.add(stream_id)
        events.append(StreamOpened(stream_id))
        return True

    def _receive_stray(self, kind: int, flags: int, stream_id: int) -> None:
        """
        A frame for a stream that is not open.

        One that was open may have crossed our RST or FIN: it is dropped, as the reference
        implementation does. One that never was gets RST, so that its sender learns of it.
        """
        if not stream_id:
            raise WireError("a stream's frame has stream id 0")
        ours = stream_id & 1 != self._peer_parity
        known = stream_id < self._next_id if ours else stream_id <= self._peer_highest
        if kind == DATA and not known and not flags & RST and stream_id != self._stray:
            self._stray = stream_id  # one answer is enough, in however many pieces a frame comes
            self._answer(encode(WINDOW_UPDATE, RST, stream_id, 0))

    def _answer(self, frame: bytes) -> None:
        """Queue a frame that the peer's own made necessary."""
        self._answers += 1
        if self._answers > MAX_ANSWERS:
            raise WireError("the peer asks for more answers than it reads")
        self._control.append(frame)

    def _open_delayed(self) -> None:
        for stream_id in self._backlog.admit():
            self._streams[stream_id].delayed = False
            self._turns.add(stream_id)

    def _forget(self, stream_id: int, stream: _Stream) -> None:
        del self._streams[stream_id]
        self._turns.discard(stream_id)
        self._grants.pop(stream_id, None)
        stream.window.close()
        if stream_id & 1 == self._peer_parity:
            self._peer_open -= 1
        else:
            self._backlog.discard(stream_id)
            if self._backlog.waiting:
                self._open_delayed()
