"""
The yamux frame: twelve bytes of header, and for Data frames a payload.

Source: the yamux specification, "Framing" (hashicorp/yamux, spec.md), version 0::

    version (1) | type (1) | flags (2) | stream id (4) | length (4), all big endian

What frames mean is decided in L{burrow.wire.yamux}.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from functools import partial
from struct import Struct

from burrow.errors import WireError

VERSION = 0
HEADER = Struct("!BBHII")
HEADER_SIZE = HEADER.size


class FrameType(IntEnum):
    """What a frame is for (specification, "Type Field")."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntFlag):
    """What a frame does to its stream's life (specification, "Flag Field")."""

    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAwayCode(IntEnum):
    """Why a session ends (specification, "Go Away")."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


# Plain integers for the paths that run once a frame: IntFlag arithmetic is ten times slower.
DATA, WINDOW_UPDATE, PING, GO_AWAY = (int(kind) for kind in FrameType)
SYN, ACK, FIN, RST = (int(flag) for flag in Flag)
_OPENING = SYN | ACK
_CLOSING = FIN | RST


Frame = tuple[int, int, int, int, bytes]
"""
One frame, or one piece of a Data frame: kind, flags, stream id, value, payload.

The kind is a L{FrameType} as a plain integer. The value is what the header calls length: the payload's size
for Data (of this piece), the delta for Window Update, the opaque value for Ping, the code for Go Away. The
payload is empty but for Data. A plain tuple, since there is one a frame: one with names takes ten times as
long to make.
"""

encode: Callable[[int, int, int, int], bytes] = partial(HEADER.pack, VERSION)
"""
The header of one frame, from its kind, flags, stream id and value; a Data frame's payload of C{value} bytes
follows it. No function of ours: there is one call a frame.
"""


class FrameReader:
    """
    Cuts a byte stream into frames, however the bytes were split on the way.

    A Data frame is returned in pieces as its bytes arrive, so that no more than an unfinished header
    (11 bytes) is kept here. SYN and ACK come with the first piece, FIN and RST with the last, so that the
    pieces mean the same as the whole frame.
    """

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self._stream_id = 0
        self._flags = 0

    def receive(self, data: bytes | memoryview) -> list[Frame]:
        """
        Take the next bytes, any number of them; return the frames and pieces that they complete. Payloads are
        bytes, so that nothing of a memoryview is kept.

        @raise WireError: the specification does not have this version or type. The reader cannot be used
            afterwards.
        """
        frames: list[Frame] = []
        if self._head:
            data = self._head + data
            self._head = b""
        position, end = 0, len(data)
        unpack = HEADER.unpack_from
        while True:
            if self._missing:
                piece = bytes(data[position : position + self._missing])
                if not piece:
                    return frames
                position += len(piece)
                self._missing -= len(piece)
                flags = self._flags & (_OPENING if self._missing else _OPENING | _CLOSING)
                self._flags &= ~_OPENING
                frames.append((DATA, flags, self._stream_id, len(piece), piece))
            if end - position < HEADER_SIZE:
                self._head = bytes(data[position:])
                return frames
            version, kind, flags, stream_id, value = unpack(data, position)
            position += HEADER_SIZE
            if version != VERSION:
                raise WireError(f"version {version} is not yamux version {VERSION}")
            if kind == DATA and value:
                if position + value <= end:  # here whole, as nearly all are
                    frames.append((DATA, flags, stream_id, value, bytes(data[position : position + value])))
                    position += value
                else:
                    self._missing, self._stream_id, self._flags = value, stream_id, flags
            elif kind > GO_AWAY:
                raise WireError(f"no frame has type {kind}")
            else:
                frames.append((kind, flags, stream_id, value, b""))
