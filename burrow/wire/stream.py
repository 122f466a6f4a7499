"""
One yamux stream without I/O: its state, its queue of bytes to send, and its two windows.

Source: the yamux specification, "Stream Management" and "Flow Control". What each end of the stream may do::

    state          our FIN sent   peer's FIN received   may send   may receive
    OPEN           no             no                    yes        yes
    LOCAL_CLOSE    yes            no                    no         yes
    REMOTE_CLOSE   no             yes                   yes        no
    CLOSED         both FINs, or a RST in either direction; the session has forgotten the stream

A stream announces itself to its session (L{IOwner}) when it has something to send, and the session pulls it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from burrow.errors import StreamGone, WireError
from burrow.wire.fair import RoundRobin
from burrow.wire.frames import ACK, DATA, FIN, HEADER_SIZE, RST, WINDOW_UPDATE, encode
from burrow.wire.pieces import put
from burrow.wire.windows import INITIAL_WINDOW, Allowance, GrowthBudget, ReceiveWindow

_MAX_SEND_WINDOW = 0xFFFFFFFF

_FEW = 8
"""Pieces that may wait before small ones are joined."""

LOW_WATER = 32 * 1024
"""Bytes in a queue from which on it has run low: see L{YamuxStream.report_drained}."""


class State(Enum):
    """Which halves of a stream are open: the table above."""

    OPEN = auto()
    LOCAL_CLOSE = auto()
    REMOTE_CLOSE = auto()
    CLOSED = auto()


# Names of the module: an attribute of an Enum class costs a look-up in its metaclass.
OPEN, LOCAL_CLOSE, REMOTE_CLOSE, CLOSED = State


class IOwner(Protocol):
    """
    What a stream needs of its session.

    @ivar turns: the streams that have something to send.
    @ivar grants: the deltas of the Window Updates to send, by stream.
    @ivar drained: the streams to report: see L{YamuxStream.report_drained}.
    @ivar rtt: the round trip in seconds.
    @ivar frame: bytes of payload in one Data frame, at most, so that the next stream's turn comes soon.
    """

    turns: RoundRobin
    grants: OrderedDict[int, int]
    drained: list[int]
    rtt: float
    frame: int

    def reset(self, stream: YamuxStream) -> None:
        """Queue a RST for this stream, and forget it."""

    def forget(self, stream: YamuxStream) -> None:
        """The stream is CLOSED: count it no more."""


class YamuxStream:
    """
    One stream of a L{burrow.wire.yamux.Yamux}. On a stream that is CLOSED, L{write} raises and the other
    methods do nothing.

    @ivar opening: SYN or ACK while it is still to be sent, else 0.
    @ivar closing: FIN or RST once our half is to end behind what is queued, else 0.
    @ivar cut: whether its last frame left something, so that the next may be the rest of what was bulk.
    @ivar delayed: whether its SYN is held back until the peer has accepted others.
    @ivar taken: whether the peer has accepted it, or opened it.
    @ivar send: bytes that we may send: the peer's receive window.
    @ivar allowed: bytes that we were allowed to send so far, all together.
    @ivar on_closed: called once with this stream when it is CLOSED; None for nobody.
    @ivar chunks: bytes that wait to be sent. @ivar queued: how many there are.
    @ivar window: our receive window.
    """

    __slots__ = (
        "_owner",
        "_reports",
        "allowed",
        "chunks",
        "closing",
        "cut",
        "delayed",
        "on_closed",
        "opening",
        "queued",
        "send",
        "state",
        "stream_id",
        "taken",
        "window",
    )

    def __init__(
        self,
        owner: IOwner,
        stream_id: int,
        opening: int,
        budget: GrowthBudget,
        allowance: Allowance | None = None,
    ) -> None:
        self._owner = owner
        self.stream_id = stream_id
        self.state = OPEN
        self.opening = opening
        self.closing = 0
        self.delayed = self.cut = False
        self.taken = opening == ACK
        self.send = self.allowed = INITIAL_WINDOW
        self.window = ReceiveWindow(budget, allowance)
        self.chunks: list[bytes | memoryview] = []  # not a deque: an empty one takes 760 bytes
        self.queued = 0
        self._reports = False
        self.on_closed: Callable[[YamuxStream], None] | None = None

    @property
    def received(self) -> int:
        """Bytes that the peer sent on it, so far."""
        return self.window.allowed - self.window.available

    @property
    def sent(self) -> int:
        """Bytes that went out on it, so far."""
        return self.allowed - self.send

    @property
    def write_ended(self) -> bool:
        """Whether our FIN went out after all that was queued, or the stream is CLOSED."""
        return self.state is LOCAL_CLOSE or self.state is CLOSED

    @property
    def read_ended(self) -> bool:
        """Whether the peer can send no more: its FIN came, or the stream is CLOSED."""
        return self.state is REMOTE_CLOSE or self.state is CLOSED

    @property
    def granted(self) -> int:
        """
        A number that grows with what the peer has used of this stream, and falls with what is given to
        L{write}: the window less the bytes that wait. 0 for a stream that is CLOSED.
        """
        return 0 if self.state is CLOSED else self.send - self.queued

    def write(self, data: bytes) -> int:
        """
        Queue bytes; return how many wait now.

        @raise StreamGone: the stream is CLOSED, or our half was ended.
        """
        if self.closing or self.state is CLOSED:
            raise StreamGone(f"stream {self.stream_id} takes no more data")
        if data:
            chunks = self.chunks
            if len(chunks) < _FEW:  # as of a usual request or answer
                chunks.append(data)
            else:
                put(chunks, data)
            self.queued += len(data)
            if self.send > 0 and not self.delayed:
                self._owner.turns.add(self.stream_id)
        return self.queued

    def limit(self, window: int) -> None:
        """
        The peer asks to be sent no more than C{window} bytes before its first Window Update, 256 KiB at most.
        What was sent by now is not counted.
        """
        less = max(min(INITIAL_WINDOW - window, self.send), 0)
        self.send -= less
        self.allowed -= less

    def report_drained(self, wanted: bool) -> None:
        """
        Have L{Yamux.take_drained} name this stream when its queue falls to L{LOW_WATER} and when it is empty,
        or no more. When our FIN or RST has gone out it is named in any case.
        """
        self._reports = wanted

    def end(self) -> None:
        """Send FIN after what is queued."""
        if not self.closing and self.state is not CLOSED:
            self.closing = FIN
            self.offer()

    def break_off(self) -> None:
        """
        Send RST after what is queued; at once if our FIN is out already. L{write_ended} tells whether
        there is anything to wait for.
        """
        if self.state is CLOSED or self.closing == RST:
            return
        if self.state is LOCAL_CLOSE:
            self._owner.reset(self)
        else:
            self.closing = RST
            self.offer()

    def reset(self) -> None:
        """Drop what is queued and send RST."""
        if self.state is not CLOSED:
            self._owner.reset(self)

    def consumed(self, amount: int, now: float) -> bool:
        """
        Give C{amount} received bytes back to the peer's window.

        @param now: seconds of any monotonic clock; the window's growth is measured with it.
        @return: whether a Window Update is to be sent.
        """
        if self.state is REMOTE_CLOSE or self.state is CLOSED:
            return False
        delta = self.window.consumed(amount, now, self._owner.rtt)
        if delta:
            grants = self._owner.grants
            grants[self.stream_id] = grants.get(self.stream_id, 0) + delta
        return delta > 0

    # -- for the session ---------------------------------------------------------------------

    def offer(self) -> None:
        """
        Ask for a turn, unless the SYN is held back: then the session gives one when the backlog has room.
        """
        if not self.delayed:
            self._owner.turns.add(self.stream_id)

    def allow(self, amount: int) -> None:
        """The peer's Window Update came. @raise WireError: the window is larger than it may be."""
        self.send += amount
        self.allowed += amount
        if self.send > _MAX_SEND_WINDOW:
            raise WireError(f"the window of stream {self.stream_id} overflows")
        if self.queued:
            self.offer()

    def close(self) -> None:
        """The stream becomes CLOSED: drop what is queued."""
        self.state = CLOSED
        self.queued = 0
        self.chunks.clear()
        self.window.close()
        if self.on_closed is not None:
            self.on_closed(self)

    def ended(self) -> None:
        """The peer's FIN came. If ours is sent, too, the stream is CLOSED."""
        if self.state is LOCAL_CLOSE:
            self._owner.forget(self)
        else:
            self.state = REMOTE_CLOSE

    def pull(self, parts: list[bytes | memoryview]) -> int:
        """
        Append one frame of what is queued to C{parts}, and FIN or RST if nothing is left. FIN and RST go out
        in frames of their own: the reference implementation handles a frame's flags before it has stored the
        frame's data, so its reader may miss data that comes with a FIN.

        @return: how many bytes were appended.
        """
        was, stream_id = self.queued, self.stream_id
        amount = size = min(was, self.send, self._owner.frame)
        if amount or self.opening:
            parts.append(encode(DATA if amount else WINDOW_UPDATE, self.opening, stream_id, amount))
            self.opening = 0
            size += HEADER_SIZE
        if amount:
            if amount == was:
                parts.extend(self.chunks)
                self.chunks.clear()
            else:
                self._take(amount, parts)
            self.queued = left = was - amount
            self.send -= amount
            if self._reports and (not left or left <= LOW_WATER < was):
                self._owner.drained.append(stream_id)
        if self.queued:
            if self.send > 0:
                self._owner.turns.add(stream_id)
        elif self.closing:
            parts.append(encode(WINDOW_UPDATE, self.closing, stream_id, 0))
            size += HEADER_SIZE
            self._owner.drained.append(stream_id)
            if self.closing == RST or self.state is REMOTE_CLOSE:
                self._owner.forget(self)
            else:
                self.state = LOCAL_CLOSE
        return size

    def _take(self, amount: int, parts: list[bytes | memoryview]) -> None:
        """Move the first C{amount} bytes of what is queued, which has more, to C{parts}."""
        chunks, whole = self.chunks, 0
        while (size := len(chunks[whole])) <= amount:
            whole += 1
            amount -= size
        parts += chunks[:whole]
        if amount:
            view = memoryview(chunks[whole])
            parts.append(view[:amount])
            chunks[whole] = view[amount:]
        del chunks[:whole]
