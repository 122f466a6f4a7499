"""Frames as they are on the wire (RFC 9113 sections 4.1 and 6), and the numbers that they are made of."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
"""The types of frames."""

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20
"""Flags of frames."""

LEAST_FRAME, MOST_FRAME = 2**14, 2**24 - 1
"""Bytes of a frame's body: what everybody takes, and the most that anybody may say that it takes."""

MOST = 2**31 - 1
"""The largest number of a stream, and the largest window."""

HEAD = Struct(">HBBBL")
"""A frame's head: its length in 16 and 8 bits, type, flags, and stream, whose first bit means nothing."""

NUMBER = Struct(">L")
NUMBERS = Struct(">LL")
SETTING = Struct(">HL")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How a client's connection begins (RFC 9113 section 3.4)."""


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113 section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """What a SETTINGS frame may set (RFC 9113 section 6.5.2, RFC 8441 section 3)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8


class Fault(Exception):
    """
    The peer did what ends the whole connection (RFC 9113 section 5.4.1).

    @ivar code: of the GOAWAY.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """A frame's bytes."""
    size = len(body)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + body


def head_frames(stream: int, block: bytes, end: bool, longest: int) -> bytes:
    """A head's frames: HEADERS, and CONTINUATION for what of it is longer than a frame may be."""
    if len(block) <= longest:
        return frame(HEADERS, END_HEADERS | end, stream, block)
    parts = [block[at : at + longest] for at in range(0, len(block), longest)]
    frames = [frame(HEADERS, int(end), stream, parts[0])]
    frames += [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    frames.append(frame(CONTINUATION, END_HEADERS, stream, parts[-1]))
    return b"".join(frames)


def settings_frame(settings: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in settings.items()))


def check_size(body: bytes, size: int) -> None:
    if len(body) != size:
        raise Fault(Code.FRAME_SIZE_ERROR, f"a frame has {len(body)} bytes in place of {size}")


def unpadded(body: bytes) -> bytes:
    """What is before the padding (RFC 9113 section 6.1)."""
    if not body:
        raise Fault(Code.FRAME_SIZE_ERROR, "a frame does not say how long its padding is")
    if body[0] >= len(body):
        raise Fault(Code.PROTOCOL_ERROR, "a frame's padding is longer than the frame (RFC 9113 section 6.1)")
    return body[1 : len(body) - body[0]]


def check_priority(id: int, body: bytes) -> None:
    """What a HEADERS or PRIORITY frame says of a priority, which is not used (RFC 9113 section 5.3)."""
    if len(body) < 5:
        raise Fault(Code.FRAME_SIZE_ERROR, "a frame is too short for a priority")
    if NUMBER.unpack_from(body)[0] & MOST == id:
        raise Fault(Code.PROTOCOL_ERROR, "a stream cannot depend on itself (RFC 7540 section 5.3.1)")
