"""
HTTP/1.1 bodies: where one ends, and what is in it (RFC 9112 sections 6.3 and 7). No I/O.

Each reader passes every byte on at once. L{ChunkedBody} keeps at most an unfinished chunk-size line or
an unfinished trailer section, both bounded.
"""

from __future__ import annotations

import re
from typing import Protocol

from burrow.http.fields import may_be_trailer
from burrow.http.head import TOKEN, BadMessage
from burrow.http.headers import Fields
from burrow.http.request_head import RequestHead

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[\t -~\x80-\xff]*)?")
_FIELD = re.compile(rb"(" + TOKEN + rb"):([\t -~\x80-\xff]*)")
MAX_SIZE_LINE = 1024
MAX_TRAILERS = 16 * 1024


class Body(Protocol):
    """
    One message's body.

    @ivar done: whether its end has come. @ivar trailers: the fields behind a chunked one.
    """

    done: bool
    trailers: Fields

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Take bytes.

        @return: what of the body is in them, and what is behind the body.
        @raise BadMessage: this is no such body.
        """
        ...


class LengthBody:
    """A body of a known number of bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length
        self.trailers: Fields = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See L{Body}."""
        if len(data) <= self._left:
            self._left -= len(data)
            self.done = not self._left
            return data, b""
        payload, rest = data[: self._left], data[self._left :]
        self._left = 0
        self.done = True
        return payload, rest


class UntilCloseBody:
    """A body that ends with the connection: its user sets C{done} then."""

    def __init__(self) -> None:
        self.done = False
        self.trailers: Fields = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See L{Body}."""
        return data, b""


class ChunkedBody:
    """
    A chunked body. Line ends are CRLF and nothing else: where two readers differ in what ends a line,
    one of them can be fooled.

    @param local: names, in lower case, of fields that do not go on: those that the head's Connection names.
    """

    def __init__(self, local: frozenset[bytes] = frozenset()) -> None:
        self._local = local
        self._left = 0  # bytes of the chunk's data still to come
        self._line = b""  # of a line that is not whole yet
        self._expect = self._size_line
        self.done = False
        self.trailers: Fields = []
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See L{Body}."""
        payload: list[bytes] = []
        position = 0
        while position < len(data) and not self.done:
            if self._left:
                piece = data[position : position + self._left]
                payload.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._expect = self._data_end
                continue
            end = data.find(b"\n", position)
            if end < 0:
                self._keep(data[position:])
                return b"".join(payload), b""
            line = self._line + data[position : end + 1]
            self._line = b""
            position = end + 1
            if not line.endswith(b"\r\n") or len(line) > MAX_TRAILERS:
                raise BadMessage(400, "the chunked body has a line that does not end as it must")
            self._expect(line[:-2])
        return b"".join(payload), data[position:]

    def _keep(self, piece: bytes) -> None:
        self._line += piece
        if self._expect == self._data_end and not b"\r\n".startswith(self._line):
            raise BadMessage(400, "the chunked body has a chunk longer than its size")
        limit = MAX_TRAILERS if self._expect == self._trailer else MAX_SIZE_LINE
        if len(self._line) > limit:
            raise BadMessage(400, "the chunked body has a line without an end")

    def _size_line(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None or len(line) > MAX_SIZE_LINE:
            raise BadMessage(400, "the chunked body has a chunk without a size")
        self._left = int(size[1], 16)
        if not self._left:
            self._expect = self._trailer

    def _data_end(self, line: bytes) -> None:
        if line:
            raise BadMessage(400, "the chunked body has a chunk longer than its size")
        self._expect = self._size_line

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line)
        trailer = _FIELD.fullmatch(line)
        if trailer is None or self._trailer_bytes > MAX_TRAILERS:
            raise BadMessage(400, "the chunked body has a wrong trailer section")
        if may_be_trailer(trailer[1]) and trailer[1].lower() not in self._local:
            self.trailers.append((trailer[1], trailer[2].strip(b" \t")))


def request_body(head: RequestHead) -> Body | None:
    """What reads the body of a request; None if it has none. Behind an upgrade all bytes are its body."""
    if head.upgrade:
        return UntilCloseBody()
    if head.length is None:
        return ChunkedBody()
    return LengthBody(head.length) if head.length else None


def chunk(data: bytes) -> bytes:
    """One chunk; C{data} must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in trailers) + b"\r\n"
