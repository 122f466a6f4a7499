"""
HTTP/1.1 heads: read by llhttp (httptools), checked, and written anew. No I/O.

What is passed on is what was understood, so nobody behind the edge can understand it differently
(request smuggling, RFC 9112 section 11.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httptools

MAX_HEAD = 64 * 1024
"""Bytes of a request's head, at most."""

MAX_RESPONSE_HEAD = 256 * 1024
"""Bytes of a response's head, at most."""

MAX_HEADERS = 128
"""Header fields of a request, at most."""

MAX_TARGET = 16 * 1024

Headers = list[tuple[bytes, bytes]]
"""Header fields in order, with their names as they came."""

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade")
)
"""Fields for the next hop alone (RFC 9110 section 7.6.1). Ours are written by whoever writes the head."""

_HEAD_END = re.compile(rb"\n\r?\n")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class BadMessage(Exception):
    """
    A head or a body that cannot be passed on.

    @ivar status: the HTTP status for the visitor. @ivar text: a sentence that says what is wrong.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def tokens(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The comma-separated values of all fields of one (lower-case) name, in lower case."""
    return [
        token
        for key, value in headers
        if key.lower() == name
        for part in value.lower().split(b",")
        if (token := part.strip())
    ]


def end_to_end(headers: Headers, drop: frozenset[bytes] = frozenset()) -> Headers:
    """The fields that go on: none that is for this hop, none that Connection names, none in C{drop}."""
    local = _HOP_BY_HOP | drop
    named = [token for token in tokens(headers, b"connection") if token not in (b"close", b"keep-alive")]
    if named:
        local = local.union(named)
    return [(name, value) for name, value in headers if name.lower() not in local]


def write_head(first_line: bytes, headers: Headers) -> bytes:
    """A head's bytes."""
    lines = [first_line]
    lines += [name + b": " + value for name, value in headers]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def first_value(headers: Headers, name: bytes) -> bytes:
    """The first value of a (lower-case) name; empty if there is none."""
    return next((value for key, value in headers if key.lower() == name), b"")


@dataclass(slots=True)
class RequestHead:
    """
    What a visitor asks.

    @ivar target: in origin form, or "*". @ivar host: the host asked for, lower case, without the port.
    @ivar authority: the Host field as it was. @ivar length: bytes of the body; None for a chunked one.
    @ivar upgrade: the protocol asked for by Upgrade; empty for none that we pass on.
    """

    method: bytes
    target: bytes
    headers: Headers
    version: str
    host: str
    authority: bytes
    length: int | None
    keep_alive: bool
    upgrade: bytes = b""

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow."""
        return self.length != 0


@dataclass(slots=True)
class ResponseHead:
    """
    What an upstream answers.

    @ivar length: bytes of the body; None for a chunked one or one that ends with the connection.
    @ivar chunked: whether the body is chunked. @ivar keep_alive: whether another may follow.
    """

    status: int
    reason: bytes
    headers: Headers
    length: int | None
    chunked: bool
    keep_alive: bool

    def value(self, name: bytes) -> bytes:
        """The first field's value of one (lower-case) name; empty if there is none."""
        return first_value(self.headers, name)


@dataclass(slots=True)
class _Collector:
    """What httptools calls back."""

    target: bytes = b""
    reason: bytes = b""
    headers: Headers = field(default_factory=list)
    complete: bool = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_status(self, status: bytes) -> None:
        self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


class HeadReader:
    """
    Collects one head at a time from bytes split in any way.

    @ivar started: whether bytes of the next head have come.
    """

    def __init__(self, parser: Any, limit: int) -> None:
        self._make = parser
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self._collector = _Collector()
        self._parser = self._make(self._collector)
        self._size = 0
        self._tail = b""
        self.started = False

    def feed(self, data: bytes) -> tuple[Any, _Collector, bytes] | None:
        """
        Take bytes.

        @return: the parser, what it collected, and the bytes behind the head; None while more are needed.
        @raise BadMessage: this is no head, or too long a one.
        """
        if not self.started:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a head are ignored
            if not data:
                return None
            self.started = True
        seam = len(self._tail)
        found = _HEAD_END.search(self._tail + data)
        end = found.end() - seam if found else len(data)
        self._size += end
        if self._size > self._limit:
            raise BadMessage(431, f"the head of the message is longer than {self._limit // 1024} KiB")
        try:
            self._parser.feed_data(data[:end])
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            raise BadMessage(400, f"this is not HTTP/1.1: {error}") from error
        if len(self._collector.headers) > MAX_HEADERS and self._make is httptools.HttpRequestParser:
            raise BadMessage(431, f"the request has more than {MAX_HEADERS} header fields")
        if not found:
            self._tail = (self._tail + data)[-2:]
            return None
        parser, collector = self._parser, self._collector
        self._reset()
        if not collector.complete:
            raise BadMessage(400, "the head of the message ends too early")
        for name, value in collector.headers:
            if b"\n" in value or b"\r" in value or b"\0" in value:
                raise BadMessage(
                    400, f"the header field {name.decode('latin-1')} has a line break or a zero in it"
                )
        return parser, collector, data[end:]


class RequestReader:
    """Reads request heads."""

    def __init__(self) -> None:
        self._reader = HeadReader(httptools.HttpRequestParser, MAX_HEAD)

    @property
    def started(self) -> bool:
        """Whether bytes of the next head have come."""
        return self._reader.started

    def feed(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """
        Take bytes; the head and what is behind it, or None while more are needed.

        @raise BadMessage: with the status to answer.
        """
        result = self._reader.feed(data)
        if result is None:
            return None
        parser, collector, rest = result
        return _request(parser, collector), rest


def _request(parser: Any, collector: _Collector) -> RequestHead:
    headers = collector.headers
    version = parser.get_http_version()
    method = parser.get_method()
    if version not in ("1.1", "1.0"):
        raise BadMessage(505, f"HTTP/{version} is not spoken here: use HTTP/1.1")
    if method == b"CONNECT":
        raise BadMessage(405, "this server is no proxy: CONNECT is not for it")
    hosts = [value for name, value in headers if name.lower() == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadMessage(400, "a request needs exactly one Host header field")
    target, authority = collector.target, hosts[0] if hosts else b""
    if len(target) > MAX_TARGET:
        raise BadMessage(414, f"the request target is longer than {MAX_TARGET // 1024} KiB")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute:
        # RFC 9112 section 3.2.2: the target's authority counts, and replaces what Host says.
        authority, target = absolute[1], absolute[2]
        target = target if target.startswith(b"/") else b"/" + target
    if not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise BadMessage(400, "the request target must begin with a slash")
    host = _HOST.fullmatch(authority)
    if authority and not host:
        raise BadMessage(400, "the Host header field is no host name")
    length = _request_length(headers, version)
    connection = tokens(headers, b"connection")
    keep_alive = b"close" not in connection and (version == "1.1" or b"keep-alive" in connection)
    upgrade = b", ".join(value for name, value in headers if name.lower() == b"upgrade")
    # RFC 9113 section 3.1: h2c by Upgrade is obsolete; RFC 9110 section 7.8 lets a server ignore an Upgrade.
    if b"upgrade" not in connection or length != 0 or upgrade.lower() == b"h2c":
        upgrade = b""
    name = host[1].decode().lower().strip("[]").rstrip(".") if host else ""
    return RequestHead(method, target, headers, version, name, authority, length, keep_alive, upgrade)


def _content_length(headers: Headers) -> int | None:
    """The Content-Length; None without one."""
    values = [value.strip() for name, value in headers if name.lower() == b"content-length"]
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 18:
        raise BadMessage(400, "Content-Length must be one number")
    return int(values[0])


def _request_length(headers: Headers, version: str) -> int | None:
    """The length of a request's body (RFC 9112 section 6.3); None for a chunked one."""
    length = _content_length(headers)
    codings = tokens(headers, b"transfer-encoding")
    if not codings:
        return length or 0
    if length is not None:
        raise BadMessage(400, "a request has either Content-Length or Transfer-Encoding, not both")
    if version == "1.0":
        raise BadMessage(400, "HTTP/1.0 has no Transfer-Encoding")
    if codings != [b"chunked"]:
        raise BadMessage(501, "the only Transfer-Encoding known here is chunked")
    return None


class ResponseReader:
    """Reads response heads."""

    def __init__(self) -> None:
        self._reader = HeadReader(httptools.HttpResponseParser, MAX_RESPONSE_HEAD)

    @property
    def started(self) -> bool:
        """Whether bytes of the next head have come."""
        return self._reader.started

    def feed(self, data: bytes, method: bytes) -> tuple[ResponseHead, bytes] | None:
        """
        Take bytes; the head of the answer to a C{method} request and what is behind it, or None.

        @raise BadMessage: this is no response.
        """
        result = self._reader.feed(data)
        if result is None:
            return None
        parser, collector, rest = result
        headers = collector.headers
        status = parser.get_status_code()
        codings = tokens(headers, b"transfer-encoding")
        length = _content_length(headers)
        chunked = bool(codings)
        if chunked and codings != [b"chunked"]:
            # Another coding is for the hop that asked for it by TE, and we never do.
            raise BadMessage(502, "the response has a Transfer-Encoding that is not chunked")
        if method == b"HEAD" or status < 200 or status in (204, 304):
            length, chunked = 0, False
        connection = tokens(headers, b"connection")
        keep_alive = b"close" not in connection and (
            parser.get_http_version() == "1.1" or b"keep-alive" in connection
        )
        keep_alive = keep_alive and (chunked or length is not None)
        head = ResponseHead(
            status, collector.reason, headers, None if chunked else length, chunked, keep_alive
        )
        return head, rest
