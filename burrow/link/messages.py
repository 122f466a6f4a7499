"""
Whole binary messages, past Autobahn: those that Burrow's two ends send each other.

A frame is read here if Autobahn is open and between two messages, and if the frame is a whole message of
binary data with the shortest length, masked by an agent and not masked by a server (RFC 6455 section 5.2).
At any other frame everything from its first byte on goes to Autobahn, which decides, until it is between two
messages again.

CPU us for a message in and one out at the server, before, with random masks, and with zero ones: 100 B 17.8,
2.6, 1.5; 1.2 KiB 19.4, 3.8, 2.0; 16 KiB 22.9, 5.7, 2.8. At the agent: 15.4, 2.6, 1.4; 17.0, 3.7, 2.0; 19.0,
5.3, 2.9.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol

from burrow.link import MAX_MESSAGE
from burrow.link.masks import ZERO, apply_mask, mask_in_place, random_masks
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.wire.pieces import put

LARGE = 16 * 1024
"""
Bytes of a message from which on it is not copied to have it in one piece, but passed on as a view of what was
read, and written in parts. For a smaller one the copy takes less time than a view or a second part.
"""

_OPEN = WebSocketProtocol.STATE_OPEN
_BINARY = 0x82
"""The first byte of a frame that is a whole binary message: FIN, and opcode 2."""

_MASKED = 0x80
_SHORT, _LONG = 126, 127
_BYTE_LENGTH = Struct("!BB")
_SHORT_LENGTH = Struct("!BBH")
_LONG_LENGTH = Struct("!BBQ")


class BinaryMessages:
    """
    Mixed into Autobahn's protocol classes, before them.

    @ivar user: gets each message; None before and after: messages are then dropped.
    @ivar masks: whether this end is the client, whose frames are masked; the server's are not.
    @ivar zero_mask: whether the mask of what is sent here is zero. Only over TLS between Burrow's own ends,
        where nobody between them reads the frames whom an unpredictable mask could protect.
    """

    user: Session | Lifeline | None = None
    masks = False
    zero_mask = False

    _unusual = True
    """Whether Autobahn is in the handshake or within a message: what comes is for it."""

    _head = b""
    """The first bytes of a frame whose header is not whole: 13 at most."""

    _frame: list[bytes | memoryview] | None = None
    """The parts of a frame that have come, of a size that was checked."""

    _missing = _start = 0
    """How many bytes more that frame has, and where its payload begins."""

    transport: Any
    state: int
    data: bytes
    failedByMe: bool
    current_frame: Any
    inside_message: bool
    _perMessageCompress: Any
    _dataReceived: Any

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the socket's."""
        position = 0
        if self._frame is not None:
            if self.state != _OPEN:
                data, self._frame = b"".join([*self._frame, data]), None
            elif len(data) < self._missing:
                put(self._frame, data)
                self._missing -= len(data)
                return
            else:
                position = self._missing
                self._rest_of_frame(memoryview(data)[:position])
                if position == len(data):
                    return
        elif self._head:
            data, self._head = self._head + data, b""
        if self._unusual or self.state != _OPEN:
            self._to_autobahn(data[position:])
        else:
            self._frames(data, position)

    def _rest_of_frame(self, rest: memoryview) -> None:
        """The last part of a frame has come."""
        assert self._frame is not None
        parts, self._frame = [*self._frame, rest], None
        if self.masks:
            frame: bytes | bytearray = b"".join(parts)
            payload = memoryview(frame)[self._start :]
        else:
            frame = bytearray().join(parts)
            payload = memoryview(frame)[self._start :]
            if (mask := bytes(frame[self._start - 4 : self._start])) != ZERO:
                mask_in_place(mask, payload)
        if self.user is not None:
            self.user.carrier_received(payload)

    def _frames(self, data: bytes, position: int) -> None:
        """Read the frames in C{data} from C{position} on, where one begins."""
        end = len(data)
        masked_bit, mask_size = (0, 0) if self.masks else (_MASKED, 4)
        while position < end:
            if data[position] != _BINARY or self.state != _OPEN:
                self._to_autobahn(data[position:])
                return
            if end - position < 2:
                self._head = data[position:]
                return
            size = data[position + 1] ^ masked_bit  # above 127: the bit is wrong
            start = position + 2 + mask_size
            if size >= _SHORT:
                start += 2 if size == _SHORT else 8
                if size > _LONG:
                    self._to_autobahn(data[position:])
                    return
            if start > end:
                self._head = data[position:]
                return
            if size >= _SHORT:
                shortest = 126 if size == _SHORT else 65_536
                size = int.from_bytes(data[position + 2 : start - mask_size], "big")
                if not shortest <= size <= MAX_MESSAGE:
                    self._to_autobahn(data[position:])
                    return
            stop = start + size
            if stop > end:
                self._frame = [memoryview(data)[position:]]
                self._start, self._missing = start - position, stop - end
                return
            position = stop
            payload = data[start:stop] if size < LARGE else memoryview(data)[start:stop]
            if mask_size and (mask := data[start - 4 : start]) != ZERO:
                unmasked = apply_mask(mask, payload)
                payload = bytes(unmasked) if size < LARGE else memoryview(unmasked)
            if self.user is not None:
                self.user.carrier_received(payload)

    def _to_autobahn(self, data: bytes) -> None:
        """
        Let Autobahn have C{data} and all that follows until it is between two messages. Its own
        C{dataReceived} formats a debug line each time. A peer that broke WebSocket has got a close frame and
        is dropped a second later: nothing of it is parsed.
        """
        self._unusual = True
        if not self.failedByMe:
            self._dataReceived(data)
            self.look_whether_usual()

    def look_whether_usual(self) -> None:
        """Have Autobahn read what comes, unless it is between two messages."""
        self._unusual = (
            self.state != _OPEN
            or self.current_frame is not None
            or self.inside_message
            or bool(self.data)
            or self._perMessageCompress is not None
        )

    def send_message(self, data: bytes, header: bytes = b"") -> None:
        """Send one binary message: C{data} behind C{header}. The WebSocket must be open."""
        size = len(header) + len(data)
        masked_bit = _MASKED if self.masks else 0
        if size < _SHORT:
            head = _BYTE_LENGTH.pack(_BINARY, masked_bit | size)
        elif size < 65_536:
            head = _SHORT_LENGTH.pack(_BINARY, masked_bit | _SHORT, size)
        else:
            head = _LONG_LENGTH.pack(_BINARY, masked_bit | _LONG, size)
        if self.masks:
            if not self.zero_mask:
                self.transport.write(_masked(head, header, data))
                return
            head += ZERO
        if size < LARGE:
            self.transport.write(b"".join((head, header, data)))
        else:
            self.transport.write(head + header)
            self.transport.write(data)


def _masked(head: bytes, header: bytes, data: bytes) -> bytes:
    """A frame: its head, a random mask, and C{header} and C{data} under it."""
    mask = next(random_masks)
    head += mask
    if len(data) < LARGE:
        return head + apply_mask(mask, header + data)
    frame = bytearray().join((head, header, data))
    mask_in_place(mask, memoryview(frame)[len(head) :])
    return bytes(frame)
