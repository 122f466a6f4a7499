"""The bytes of an app's answer: its head checked, its body framed (RFC 9112 section 6). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from burrow.http.body import chunk, last_chunk
from burrow.http.head import TOKEN
from burrow.http.headers import Fields
from burrow.http.request_head import RequestHead

_NAME = re.compile(TOKEN)
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"proxy-connection", b"te")


class BadAnswer(Exception):
    """An app said what is no HTTP. The text says what."""


def checked(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """An app's fields, but those that concern the connection, which is not the app's. @raise BadAnswer"""
    kept = []
    for name, value in fields:
        name, value = bytes(name), bytes(value).strip(b" \t")
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadAnswer(f"the header field {name!r}: {value!r} is not possible")
        if name.lower() not in _FRAMING:
            kept.append((name, value))
    return kept


def phrase(status: int) -> str:
    """The reason of a status; empty if it has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def head_bytes(status: int, reason: str, fields: Fields) -> bytes:
    """A head as it is sent."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason.encode("latin-1", "replace"))]
    lines += [b"%b: %b\r\n" % pair for pair in fields]
    return b"".join(lines) + b"\r\n"


class Answer:
    """
    @ivar begun: whether the app has said its head. @ivar sent: whether the head was returned by L{body}.
    @ivar closes: whether the connection has to end behind it.
    """

    def __init__(self, request: RequestHead) -> None:
        self._request = request
        self.begun = self.sent = False
        self.closes = not request.keep_alive
        self._fields: Fields = []
        self._left: int | None = None
        self._chunked = False

    def start(self, status: int, reason: str, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """The head, which may be said again while it was not sent. @raise BadAnswer: it is none."""
        if not 200 <= status <= 999:
            raise BadAnswer(f"the status {status} is not possible")
        if any(letter in reason for letter in "\r\n\0"):
            raise BadAnswer(f"the reason {reason!r} is not possible")
        self._fields = checked(fields)
        self._status, self._reason = status, reason
        lengths = [value for name, value in self._fields if name.lower() == b"content-length"]
        if len(lengths) > 1 or any(not value.isdigit() for value in lengths):
            raise BadAnswer("Content-Length must be one number")
        self._left = int(lengths[0]) if lengths else None
        self.begun = True

    @property
    def _bodiless(self) -> bool:
        return self._request.method == b"HEAD" or self._status in (204, 304)

    def body(self, data: bytes, *, more: bool) -> bytes:
        """
        The bytes to send for more of the body.

        @param more: whether there may be more after it. @raise BadAnswer: it is more or less than was said.
        """
        if not self.begun:
            raise BadAnswer("a body came before its head")
        out = b"" if self.sent else self._head(data, more)
        if self._bodiless:
            return out
        if self._chunked:
            out += chunk(data) if data else b""
            return out if more else out + last_chunk([])
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise BadAnswer("the body has another length than its Content-Length")
        return out + data

    def _head(self, data: bytes, more: bool) -> bytes:
        self.sent = True
        fields = self._fields
        if self._left is None and not self._bodiless:
            if not more:
                fields = [*fields, (b"Content-Length", b"%d" % len(data))]
                self._left = len(data)
            elif self._request.version == "1.1":
                fields = [*fields, (b"Transfer-Encoding", b"chunked")]
                self._chunked = True
            else:
                self.closes = True
        if not any(name.lower() == b"date" for name, _ in fields):
            fields = [*fields, (b"Date", formatdate(usegmt=True).encode())]
        if self.closes:
            fields = [*fields, (b"Connection", b"close")]
        return head_bytes(self._status, self._reason, fields)
