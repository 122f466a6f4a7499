"""
HTTP/1.1 heads: cut out of bytes that come split in any way; their fields read by llhttp (httptools). No I/O.

What a head's first line and fields mean is read by L{burrow.http.request_head} and
L{burrow.http.response_head}. What is passed on is what was understood, so nobody behind the edge can
understand it differently (request smuggling, RFC 9112 section 11.2).
"""

from __future__ import annotations

import re
from typing import Any

import httptools

from burrow.http.headers import Headers

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""A regular expression for a method or a field's name (RFC 9110 section 5.6.2)."""

_MAX_PIECES = 1024
"""Pieces of a head that are kept apart before they are joined."""

_HEAD_END = re.compile(rb"\n\r?\n")
_UNFINISHED_LINE = re.compile(rb"[\t -~\x80-\xff]*\r?")


class BadMessage(Exception):
    """
    A head or a body that cannot be passed on.

    @ivar status: the HTTP status for the visitor. @ivar text: a sentence that says what is wrong.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class HeadReader:
    """
    Cuts one head at a time out of bytes split in any way.

    Its first line is matched here: llhttp takes some that are not HTTP/1.1 (RTSP, versions that are not
    spoken), and refuses methods that it does not know.

    @ivar started: whether bytes of the next head have come.
    @cvar line: what the first line must be. @cvar example: one such line, for the error.
    @cvar limit: bytes of a head, at most.
    """

    line: re.Pattern[bytes]
    example: str
    limit: int

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pieces: list[bytes] = []
        self._first: re.Match[bytes] | None = None
        self._size = 0
        self._tail = b""
        self.started = False

    def cut(self, data: bytes) -> tuple[re.Match[bytes], bytes, bytes] | None:
        """
        Take bytes.

        @return: the first line, the lines of fields with the empty one behind them, and the bytes behind the
        head; None while more are needed.
        @raise BadMessage: this is no head, or too long a one.
        """
        if not self.started:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a head are ignored
            if not data:
                return None
            first = self.line.match(data)
            found = first and _HEAD_END.search(data, first.end() - 1)
            if first and found and found.end() <= self.limit:  # it comes in one piece, as most do
                return first, data[first.end() : found.end()], data[found.end() :]
            self.started = True
        return self._gather(data)

    def _gather(self, data: bytes) -> tuple[re.Match[bytes], bytes, bytes] | None:
        """What L{cut} returns for a head that comes in pieces, or that is wrong."""
        seam = len(self._tail)
        found = _HEAD_END.search(self._tail + data)
        end = found.end() - seam if found else len(data)
        self._size += end
        if self._size > self.limit:
            raise BadMessage(431, f"the head of the message is longer than {self.limit // 1024} KiB")
        self._pieces.append(data if end == len(data) else data[:end])
        if len(self._pieces) > _MAX_PIECES:
            self._pieces = [b"".join(self._pieces)]  # each piece costs memory beside its bytes
        if self._first is None:
            self._read_first_line()
        if not found:
            self._tail = (self._tail + data)[-2:]
            return None
        first, fields = self._first, b"".join(self._pieces)
        self._reset()
        if first is None:
            raise BadMessage(400, "this is not HTTP/1.1: the head has no first line")
        return first, fields, data[end:]

    def _read_first_line(self) -> None:
        """Match the first line once it is whole. What is no text at all is refused before."""
        piece = self._pieces[-1]
        if len(self._pieces) > 1 and b"\n" in piece:
            self._pieces = [b"".join(self._pieces)]
            piece = self._pieces[0]
        end = piece.find(b"\n") + 1
        if not end:
            # A CR alone may be the last byte of a piece, and only the last of the line.
            if not _UNFINISHED_LINE.fullmatch(piece):
                raise BadMessage(400, "this is not HTTP/1.1: its first line has bytes that are no text")
            return
        self._first = self.line.fullmatch(piece, 0, end)
        if self._first is None:
            raise BadMessage(
                400, f"this is not HTTP/1.1: its first line is none like {self.example!r}, in ASCII"
            )
        self._pieces = [piece[end:]]


class _Fields(Headers):
    """What httptools calls back. @ivar complete: whether the head's end has come."""

    complete = False
    on_header = Headers.add

    def on_headers_complete(self) -> None:
        self.complete = True


def read_fields(parser: Any, first_line: bytes, fields: bytes) -> Headers:
    """
    The fields of a head, by llhttp.

    @param parser: makes the parser of httptools. @param first_line: one that it takes for such a message.
    @raise BadMessage: they are none.
    """
    headers = _Fields()
    try:
        parser(headers).feed_data(first_line + fields)
    except httptools.HttpParserUpgrade:
        pass
    except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
        raise BadMessage(400, f"this is not HTTP/1.1: {error}") from error
    if not headers.complete:
        raise BadMessage(400, "the head of the message ends too early")
    return headers


def content_length(headers: Headers) -> int | None:
    """The Content-Length; None without one. @raise BadMessage: it is not one number."""
    given = headers.get(b"content-length")
    if not given:
        return None
    if len(given) > 1 or not given[0].isdigit() or len(given[0]) > 18:
        raise BadMessage(400, "Content-Length must be one number")
    return int(given[0])
