"""
One connection of a client's, as the server has it: frames in, calls of an
L{IListener<burrow.http.http2_server.listener.IListener>} out. No I/O.

What is read and written of a small request is a few lines: a frame's head by one call of C{struct}, one
dictionary for the streams, one for the heads that came before. No object is made for a frame or a field.

Streams that are open or half-closed are objects (L{Stream}); those that are closed cost nothing, but for what
tells a late frame from an error: which ones were reset from here, the last L{MAX_RESET}, whose late frames
are dropped, and how much of their windows is left, for a body that goes on beyond what it might be is no late
one; and which numbers were left out, L{MAX_GAPS} ranges of them. RFC 9113 section 5.1 has the rules.

What ends the connection, and what a stream alone: where the RFC leaves the choice, a fault of framing, or a
body beyond the windows, ends the connection, since who sends that is broken or hostile. What belongs to one
request ends its stream: bytes behind its end, trailers that do not end it, a window opened too far or by
nothing, more streams than allowed. A listener is told of each such stream (C{broken}): to have the server
reset streams must not be cheaper than to reset them (CVE-2025-8671).

Long because what may come and go next depends on the state of the whole connection.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from burrow.http.http2_server import frames
from burrow.http.http2_server.frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEAD,
    LEAST_FRAME,
    MOST,
    NUMBER,
    NUMBERS,
    PADDED,
    PREFACE,
    SETTING,
    Code,
    Fault,
    Setting,
    check_priority,
    check_size,
    frame,
    unpadded,
)
from burrow.http.http2_server.heads import Heads, Mean
from burrow.http.http2_server.streams import Granting, Stream, widened
from burrow.http.remembered import Memory

MAX_PARTS = 64
"""Frames that one head may come in: HEADERS and CONTINUATION."""

MAX_RESET = 1024
"""Streams reset from here whose late frames are known as such, at most."""

MAX_GAPS = 64
"""Ranges of streams' numbers that the peer left out, of which that is known, at most."""

SMALL = 1024
"""
Bytes of a frame's body on a stream that was reset, below which it costs its sender less than its reader. What
is longer is bounded by the stream's window.
"""

_DEFAULT_WINDOW = 65535
_FRAME_HEAD = 9


class Http2Server:
    """
    See the module's docstring. What is to be sent is had by L{take}.

    @param listener: an L{IListener}. @param mean: says what requests mean: see L{Mean}.
    @param memory: where heads are remembered. @param settings: ours. @param window: bytes of all bodies
        together that the peer may send ahead.
    @ivar streams: those that are open or half-closed, by their numbers. To be read only.
    @ivar window: bytes of all answers together that the peer takes. @ivar longest: of a frame that it takes.
    @ivar closed: whether GOAWAY was sent, or the peer's fault found: nothing is read or told any more.
    """

    def __init__(
        self, listener: Any, mean: Mean, memory: Memory, settings: dict[Setting, int], window: int
    ) -> None:
        self.streams: dict[int, Stream] = {}
        self.window = _DEFAULT_WINDOW
        self.longest = LEAST_FRAME
        self.closed = False
        self.heads = Heads(settings[Setting.MAX_HEADER_LIST_SIZE], mean, memory)
        self._listener = listener
        self._settings = settings
        self._most = settings[Setting.MAX_CONCURRENT_STREAMS]
        self._stream_size = settings[Setting.INITIAL_WINDOW_SIZE]
        self._longest_head = settings[Setting.MAX_HEADER_LIST_SIZE]
        self._granting = Granting(window)
        self._initial = _DEFAULT_WINDOW  # of a new stream, as the peer says
        self._last = 0  # the largest number that the peer used
        self._gaps: deque[range] = deque(maxlen=MAX_GAPS)
        self._reset: dict[int, int] = {}  # bytes that may come still, for the peer does not know yet
        self._buffer = b""
        self._begun = self._settled = False  # whether the preface has come, and the SETTINGS behind it
        self._parts: list[bytes] = []  # of a head that has not come whole
        self._parts_size = 0
        self._parts_of = 0
        self._parts_end = False
        self._out: list[bytes] = []

    # -- what is sent -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Say our settings. To be called first."""
        self._out.append(frames.settings_frame(self._settings))
        increment = self._granting.open - _DEFAULT_WINDOW
        if increment > 0:
            self._out.append(frame(frames.WINDOW_UPDATE, 0, 0, NUMBER.pack(increment)))

    def take(self) -> bytes:
        """What is to be sent."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def send_head(self, stream: Stream, block: bytes, end: bool = False) -> None:
        """
        Send an answer's head, an interim one's, or trailers.

        @param block: of L{Heads}, which has to be sent, or else is lost to the peer's table. @param end:
            whether nothing follows.
        """
        if stream.sends and not self.closed:
            if len(block) <= self.longest:
                size = len(block)
                head = HEAD.pack(size >> 8, size & 0xFF, frames.HEADERS, END_HEADERS | end, stream.id)
                self._out += (head, block)
            else:
                self._out.append(frames.head_frames(stream.id, block, end, self.longest))
            if end:
                self._sent_end(stream)

    def room(self, stream: Stream) -> int:
        """Bytes of a body that one frame can bring the peer now; less than 1 if none."""
        return min(stream.window, self.window, self.longest)

    def send_data(self, stream: Stream, data: bytes, end: bool = False) -> None:
        """Send some of a body: not more than there is L{room} for. C{end}: whether nothing follows."""
        if stream.sends and not self.closed:
            size = len(data)
            stream.window -= size
            self.window -= size
            self._out += (HEAD.pack(size >> 8, size & 0xFF, frames.DATA, end, stream.id), data)
            if end:
                self._sent_end(stream)

    def reset(self, id: int, code: Code) -> None:
        """Reset a stream. Nothing happens if it is closed."""
        stream = self.streams.get(id)
        if stream is not None and not self.closed:
            del self.streams[id]
            self._forbid(id, code, stream.open)

    def used(self, id: int, size: int) -> None:
        """Bytes of a body are used: give them back to the windows, of which the stream's may be gone."""
        if self.closed or not size:
            return
        self._give_back(size)
        stream = self.streams.get(id)
        if stream is not None and stream.receives and (increment := stream.use(size)):
            self._out.append(frame(frames.WINDOW_UPDATE, 0, id, NUMBER.pack(increment)))

    @property
    def open(self) -> int:
        """Bytes of all bodies together that the peer may send now."""
        return self._granting.open

    def shut_down(self) -> None:
        """
        Have the peer open no more streams, as soon as it knows. All that it opens before go on: 2^31-1 says
        so, since which is the last is not known yet (RFC 9113 section 6.8). L{close} may follow.
        """
        if not self.closed:
            self._out.append(frame(frames.GOAWAY, 0, 0, NUMBERS.pack(MOST, Code.NO_ERROR)))

    def close(self, code: Code = Code.NO_ERROR) -> None:
        """End the connection behind what is sent: nothing is read any more."""
        if not self.closed:
            self.closed = True
            self._out.append(frame(frames.GOAWAY, 0, 0, NUMBERS.pack(self._last, code)))
            self._buffer = b""
            self._parts = []

    def stop(self) -> None:
        """Read and send nothing more."""
        self.closed = True

    def _give_back(self, size: int) -> None:
        """Bytes are used, of the connection's window."""
        if increment := self._granting.use(size):
            self._out.append(frame(frames.WINDOW_UPDATE, 0, 0, NUMBER.pack(increment)))

    def _sent_end(self, stream: Stream) -> None:
        """Our half of a stream is closed."""
        stream.sends = False
        if not stream.receives:
            del self.streams[stream.id]

    def _came_end(self, stream: Stream) -> None:
        """The peer's half is closed."""
        stream.receives = False
        if not stream.sends:
            del self.streams[stream.id]

    def _forbid(self, id: int, code: Code, window: int) -> None:
        """
        Reset a stream that is not among the open ones (any more): what comes of it is late, and of its body
        C{window} bytes at most.
        """
        if len(self._reset) >= MAX_RESET:
            del self._reset[next(iter(self._reset))]
        self._reset[id] = window
        self._out.append(frame(frames.RST_STREAM, 0, id, NUMBER.pack(code)))

    def _break(self, id: int, code: Code) -> None:
        """A stream is over for what the peer did (RFC 9113 section 5.4.2); it may never have been open."""
        stream = self.streams.pop(id, None)
        self._forbid(id, code, self._stream_size if stream is None else stream.open)
        self._listener.broken(id)

    # -- what comes ---------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """
        Read some bytes.

        @raise Fault: the connection is at its end, for what the peer did; the GOAWAY is to be taken.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        try:
            at = 0 if self._begun else self._preface(data)
            size = len(data)
            while size - at >= _FRAME_HEAD and not self.closed:
                high, low, kind, flags, id = HEAD.unpack_from(data, at)
                length = high << 8 | low
                if length > LEAST_FRAME:
                    raise Fault(Code.FRAME_SIZE_ERROR, "a frame is longer than allowed")
                start = at + _FRAME_HEAD
                at = start + length
                if at > size:
                    at = start - _FRAME_HEAD
                    break
                if self._parts_of or not self._settled:
                    self._check_order(kind, flags, id & MOST)
                if kind < len(_READERS):
                    _READERS[kind](self, flags, id & MOST, data[start:at])
                else:
                    self._listener.nothing()  # RFC 9113 section 5.5: types that are not known are ignored
        except Fault as fault:
            self.close(fault.code)
            raise
        if at < size and not self.closed:
            self._buffer = data[at:]

    def _preface(self, data: bytes) -> int:
        """@return: where the frames begin; the end, if it has not come whole."""
        if data.startswith(PREFACE):
            self._begun = True
            return len(PREFACE)
        if not PREFACE.startswith(data):
            raise Fault(Code.PROTOCOL_ERROR, "the connection does not begin as HTTP/2 (RFC 9113 section 3.4)")
        self._buffer = data
        return len(data)

    def _check_order(self, kind: int, flags: int, id: int) -> None:
        """What may come now: SETTINGS first, and between a head's frames no other one."""
        if not self._settled and (kind != frames.SETTINGS or flags & ACK):
            raise Fault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS (RFC 9113 section 3.4)")
        if self._parts_of and (kind != CONTINUATION or id != self._parts_of):
            raise Fault(Code.PROTOCOL_ERROR, "a frame comes within a head (RFC 9113 section 6.10)")

    def _check_known(self, id: int) -> None:
        """A frame that may come of streams that are open, or were (RFC 9113 section 5.1)."""
        if id > self._last or not id & 1:
            raise Fault(Code.PROTOCOL_ERROR, "a frame is of a stream that is not open (RFC 9113 section 5.1)")

    # .. each type's frames ...............................................................................

    def _read_data(self, flags: int, id: int, data: bytes) -> None:
        size = len(data)
        self._granting.open -= size
        if self._granting.open < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "a body is larger than the connection's window")
        stream = self.streams.get(id)
        if stream is None or not stream.receives:
            self._check_known(id)
            self._give_back(size)
            if stream is not None:
                self._break(id, Code.STREAM_CLOSED)
            elif id not in self._reset:
                self._forbid(id, Code.STREAM_CLOSED, self._stream_size)
                self._listener.nothing()
            else:
                self._late(id, size)
            return
        stream.open -= size
        if stream.open < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "a body is larger than its stream's window")
        if flags & PADDED:
            data = unpadded(data)
        end = flags & END_STREAM != 0
        if end:
            self._came_end(stream)
        self._listener.data(id, data, size, end)

    def _late(self, id: int, size: int) -> None:
        """Some of a body whose stream was reset from here: what its window has let on its way is dropped."""
        self._reset[id] -= size
        if self._reset[id] < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "a body goes on for longer than it takes to see a reset")
        if size < SMALL:
            self._listener.nothing()

    def _read_headers(self, flags: int, id: int, block: bytes) -> None:
        if not id & 1:
            raise Fault(
                Code.PROTOCOL_ERROR, "no stream of a client's has this number (RFC 9113 section 5.1.1)"
            )
        if flags & PADDED:
            block = unpadded(block)
        if flags & HAS_PRIORITY:
            check_priority(id, block)
            block = block[5:]
        if flags & END_HEADERS:
            self._head(id, block, flags & END_STREAM != 0)
        else:
            self._parts, self._parts_of, self._parts_end = [block], id, flags & END_STREAM != 0
            self._parts_size = len(block)

    def _read_continuation(self, flags: int, id: int, block: bytes) -> None:
        if not self._parts_of:
            raise Fault(Code.PROTOCOL_ERROR, "a CONTINUATION continues nothing (RFC 9113 section 6.10)")
        self._parts.append(block)
        self._parts_size += len(block)
        if len(self._parts) > MAX_PARTS:
            raise Fault(Code.PROTOCOL_ERROR, f"a head comes in more than {MAX_PARTS} frames")
        if self._parts_size > self._longest_head:
            raise Fault(Code.ENHANCE_YOUR_CALM, f"a head is longer than {self._longest_head} bytes")
        if flags & END_HEADERS:
            parts, self._parts, self._parts_of = self._parts, [], 0
            self._head(id, b"".join(parts), self._parts_end)

    def _head(self, id: int, block: bytes, ended: bool) -> None:
        """A head has come whole."""
        if id <= self._last:
            self._second_head(id, block, ended)
            return
        gap = range(self._last + 2 if self._last else 1, id, 2)
        self._last = id
        if gap:
            self._gaps.append(gap)
        if len(self.streams) >= self._most:
            self.heads.decode(block)  # the table changes all the same
            self._break(id, Code.REFUSED_STREAM)
            return
        meaning = self.heads.read(block, ended)
        stream = self.streams[id] = Stream(id, self._initial, self._stream_size, not ended)
        self._listener.request(stream, meaning, ended)

    def _second_head(self, id: int, block: bytes, ended: bool) -> None:
        """A head on a stream that is not new: trailers, or an error (RFC 9113 sections 5.1 and 8.1)."""
        stream = self.streams.get(id)
        if stream is None and any(id in gap for gap in self._gaps):
            raise Fault(Code.PROTOCOL_ERROR, "a stream is opened behind a later one")
        if stream is None and id not in self._reset:
            raise Fault(Code.STREAM_CLOSED, "a head comes on a stream that is closed")
        fields = self.heads.decode(block)
        if stream is None:
            self._listener.nothing()  # however long it is: to read it costs more than to send it
        elif not stream.receives:
            self._break(id, Code.STREAM_CLOSED)
        elif not ended:
            self._break(id, Code.PROTOCOL_ERROR)  # RFC 9113 section 8.1: the request is malformed
        else:
            self._came_end(stream)
            self._listener.trailers(id, fields)

    def _read_priority(self, flags: int, id: int, body: bytes) -> None:
        if not id:
            raise Fault(Code.PROTOCOL_ERROR, "PRIORITY is of no stream (RFC 9113 section 6.3)")
        check_size(body, 5)
        check_priority(id, body)
        self._listener.nothing()

    def _read_reset(self, flags: int, id: int, body: bytes) -> None:
        check_size(body, 4)
        self._check_known(id)
        if self.streams.pop(id, None) is None:
            self._listener.nothing()
        else:
            self._listener.reset(id)

    def _read_settings(self, flags: int, id: int, body: bytes) -> None:
        if id:
            raise Fault(Code.PROTOCOL_ERROR, "SETTINGS are of a stream (RFC 9113 section 6.5)")
        if flags & ACK:
            check_size(body, 0)
            self._listener.nothing()
            return
        if len(body) % SETTING.size:
            raise Fault(Code.FRAME_SIZE_ERROR, "SETTINGS have no possible length (RFC 9113 section 6.5)")
        settings, sizes = {}, []
        for code, value in SETTING.iter_unpack(body):
            settings[code] = value
            if code == Setting.HEADER_TABLE_SIZE:
                sizes.append(value)
            elif code in _LIMITS:
                least, most, fault = _LIMITS[code]
                if not least <= value <= most:
                    raise Fault(fault, f"the setting {code} cannot be {value} (RFC 9113 section 6.5.2)")
        self._settled = True
        self.heads.resize(sizes)
        self.longest = settings.get(Setting.MAX_FRAME_SIZE, self.longest)
        self._widen_all(settings.get(Setting.INITIAL_WINDOW_SIZE, self._initial))
        self._out.append(frame(frames.SETTINGS, ACK, 0))
        self._listener.answered(len(body))

    def _widen_all(self, initial: int) -> None:
        """The peer changes the window of all streams (RFC 9113 section 6.9.2)."""
        more, self._initial = initial - self._initial, initial
        for stream in self.streams.values() if more else ():
            window = widened(stream.window, more)
            if window is None:
                raise Fault(Code.FLOW_CONTROL_ERROR, "SETTINGS make a window too large")
            stream.window = window

    def _read_push(self, flags: int, id: int, body: bytes) -> None:
        raise Fault(Code.PROTOCOL_ERROR, "a client cannot push (RFC 9113 section 8.4)")

    def _read_ping(self, flags: int, id: int, body: bytes) -> None:
        if id:
            raise Fault(Code.PROTOCOL_ERROR, "PING is of a stream (RFC 9113 section 6.7)")
        check_size(body, 8)
        if flags & ACK:
            self._listener.nothing()
        else:
            self._out.append(frame(frames.PING, ACK, 0, body))
            self._listener.answered(len(body))

    def _read_goaway(self, flags: int, id: int, body: bytes) -> None:
        if id:
            raise Fault(Code.PROTOCOL_ERROR, "GOAWAY is of a stream (RFC 9113 section 6.8)")
        if len(body) < NUMBERS.size:
            raise Fault(Code.FRAME_SIZE_ERROR, "GOAWAY is too short")
        self._listener.leaves(NUMBERS.unpack_from(body)[1])

    def _read_window(self, flags: int, id: int, body: bytes) -> None:
        check_size(body, 4)
        more = NUMBER.unpack(body)[0] & MOST
        if not id:
            window = widened(self.window, more) if more else None
            if window is None:
                code = Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR
                raise Fault(code, "the window is opened by nothing, or too far (RFC 9113 section 6.9)")
            self.window = window
            self._listener.widened()
            return
        stream = self.streams.get(id)
        if stream is None:
            self._check_known(id)
            self._listener.nothing()
            return
        window = widened(stream.window, more) if more else None
        if window is None:
            self._break(id, Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR)
        else:
            stream.window = window
            self._listener.widened()


_LIMITS = {
    Setting.ENABLE_PUSH: (0, 1, Code.PROTOCOL_ERROR),
    Setting.INITIAL_WINDOW_SIZE: (0, MOST, Code.FLOW_CONTROL_ERROR),
    Setting.MAX_FRAME_SIZE: (LEAST_FRAME, frames.MOST_FRAME, Code.PROTOCOL_ERROR),
    Setting.ENABLE_CONNECT_PROTOCOL: (0, 1, Code.PROTOCOL_ERROR),
}
"""Of settings that cannot have any value: the least and the largest, and what another one is."""

_READERS = (
    Http2Server._read_data,
    Http2Server._read_headers,
    Http2Server._read_priority,
    Http2Server._read_reset,
    Http2Server._read_settings,
    Http2Server._read_push,
    Http2Server._read_ping,
    Http2Server._read_goaway,
    Http2Server._read_window,
    Http2Server._read_continuation,
)
"""What reads the frames of each type: with their flags, stream and body."""
