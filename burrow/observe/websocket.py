"""
The messages of one direction of a WebSocket, read as they pass (RFC 6455 section 5, RFC 7692). No I/O.

Of each message L{MAX_KEPT} bytes are kept. A compressed one is decompressed to its end, since the next one
may refer to it. A direction whose messages inflate too much (L{MAX_RATIO}) is given up.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from burrow.link.masks import apply_mask
from burrow.traffic.record import Message

MAX_KEPT = 64 * 1024
"""Bytes of a message that are kept."""

MAX_INFLATED = 16 * 1024 * 1024
MAX_RATIO = 20
"""
Bytes that may come out of all compressed messages of a direction, and so many times what went in: a
decompression bomb has a ratio of 1,000.
"""

_KINDS = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_FIN, _COMPRESSED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x40, 0x0F, 0x80, 0x7F
_SYNC = b"\x00\x00\xff\xff"
_PIECE = 64 * 1024


class Undecodable(ValueError):
    """The direction cannot be read any further."""


def context_takeover(extensions: Iterable[bytes]) -> tuple[bool | None, bool | None]:
    """
    What a 101 says of permessage-deflate (RFC 7692 section 7.1).

    @param extensions: the values of Sec-WebSocket-Extensions.
    @return: for the visitor's messages, and for the upstream's: whether one may refer to those before it;
        None if they are not compressed.
    """
    for extension in b",".join(extensions).lower().split(b","):
        name, *parameters = (part.strip() for part in extension.split(b";"))
        if name == b"permessage-deflate":
            client, server = (side + b"_no_context_takeover" for side in (b"client", b"server"))
            return client not in parameters, server not in parameters
    return None, None


class MessageReader:
    """
    @param takeover: whether a compressed message may refer to those before; None if none is compressed.
    @ivar undecodable: whether something came that cannot be read; all that follows is dropped.
    """

    def __init__(self, takeover: bool | None) -> None:
        self.undecodable = False
        self._takeover = takeover
        self._inflated = self._deflated = 0
        self._head = b""
        self._opcode = 0
        self._fin = True
        self._key = b""
        self._left = 0
        self._at = 0
        self._in_payload = False
        self._kind = ""  # of the message that frames continue
        self._message = bytearray()
        self._size = 0
        self._compressed = False
        self._control = bytearray()
        self._inflater = self._new_inflater()

    def _new_inflater(self) -> zlib._Decompress | None:
        return None if self._takeover is None else zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: bytes) -> list[Message]:
        """
        Take bytes.

        @return: the messages and control frames that are whole now.
        """
        found: list[Message] = []
        if not self.undecodable:
            try:
                self._feed(data, found)
            except Undecodable:
                self.undecodable = True
                self._message.clear()
                self._inflater = None
        return found

    def _feed(self, data: bytes, found: list[Message]) -> None:
        position = 0
        while position < len(data) or (self._in_payload and not self._left):
            if not self._in_payload:
                position = self._take_head(data, position)
                if not self._in_payload:
                    break
            piece = data[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            if piece:
                if self._key:
                    shift = self._at % 4
                    self._at += len(piece)
                    self._take(apply_mask(self._key[shift:] + self._key[:shift], piece))
                else:
                    self._take(piece)
            if self._left:
                break
            self._in_payload = False
            self._frame_ended(found)

    def _take_head(self, data: bytes, position: int) -> int:
        """Read a frame's head. @return: where what is behind it begins."""
        have = len(self._head)
        head = self._head + data[position : position + 14 - have]
        size = 2
        if len(head) >= 2:
            length = head[1] & _LENGTH
            size += {126: 2, 127: 8}.get(length, 0) + (4 if head[1] & _MASKED else 0)
        if len(head) < size:
            self._head = head
            return len(data)
        self._head = b""
        self._begin(head[:size])
        return position + size - have

    def _begin(self, head: bytes) -> None:
        """A frame begins."""
        opcode, length = head[0] & _OPCODE, head[1] & _LENGTH
        masked = head[1] & _MASKED
        self._key = head[-4:] if masked else b""
        if length >= 126:
            length = int.from_bytes(head[2 : len(head) - (4 if masked else 0)], "big")
        if opcode not in _KINDS and opcode != 0:
            raise Undecodable("an unknown opcode")
        self._opcode, self._fin, self._left, self._at = opcode, bool(head[0] & _FIN), length, 0
        self._in_payload = True
        if opcode >= 8:
            self._control.clear()
            if length > 125:
                raise Undecodable("a control frame is too long")
        elif opcode:
            self._kind, self._size = _KINDS[opcode], 0
            self._message.clear()
            self._compressed = bool(head[0] & _COMPRESSED)
            if self._compressed and self._inflater is None:
                raise Undecodable("a compressed message, and no extension was negotiated")
        elif not self._kind:
            raise Undecodable("a continuation of nothing")

    def _take(self, payload: bytes | bytearray) -> None:
        """Bytes of the frame's payload."""
        if self._opcode >= 8:
            self._control += payload
        elif self._compressed:
            self._inflate(payload)
        else:
            self._keep(payload)

    def _keep(self, data: bytes | bytearray) -> None:
        self._size += len(data)
        room = MAX_KEPT - len(self._message)
        if room > 0:
            self._message += data[:room]

    def _inflate(self, data: bytes | bytearray) -> None:
        self._deflated += len(data)
        try:
            while data and self._inflater is not None:
                inflated = self._inflater.decompress(data, _PIECE)
                self._keep(inflated)
                self._inflated += len(inflated)
                if self._inflated > MAX_INFLATED + MAX_RATIO * self._deflated:
                    raise Undecodable("too much comes out of what is compressed")
                data = self._inflater.unconsumed_tail
                if self._inflater.eof:  # a block that says it is the last: another stream follows
                    data = self._inflater.unused_data
                    self._inflater = self._new_inflater()
        except zlib.error as error:
            raise Undecodable(str(error)) from error

    def _frame_ended(self, found: list[Message]) -> None:
        if self._opcode >= 8:
            found.append(Message(_KINDS[self._opcode], bytes(self._control), len(self._control)))
        elif self._fin:
            if self._compressed:
                self._inflate(_SYNC)
                if not self._takeover:
                    self._inflater = self._new_inflater()
            found.append(Message(self._kind, bytes(self._message), self._size))
            self._kind = ""
            self._message.clear()
