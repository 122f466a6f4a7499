"""
HTTP/1.1 heads: their first line is read here, their fields by llhttp (httptools). No I/O.

What is passed on is what was understood, so nobody behind the edge can understand it differently
(request smuggling, RFC 9112 section 11.2).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any

import httptools

from burrow.server.edge.fields import Headers, Values, tokens

MAX_HEAD = 64 * 1024
"""Bytes of a request's head, at most."""

MAX_RESPONSE_HEAD = 256 * 1024
"""Bytes of a response's head, at most."""

MAX_HEADERS = 128
"""Header fields of a request, at most."""

MAX_TARGET = 16 * 1024

_MAX_PIECES = 1024
"""Pieces of a head that are kept apart before they are joined."""

_HEAD_END = re.compile(rb"\n\r?\n")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/(\d\.\d)\r\n")
_STATUS_LINE = re.compile(rb"HTTP/(\d\.\d) ([1-9]\d\d)(?: ([\t -~\x80-\xff]*))?\r\n")
_UNFINISHED_LINE = re.compile(rb"[\t -~\x80-\xff]*\r?")
_BLANK_BEFORE_COLON = re.compile(rb"(^" + _TOKEN + rb")[\t ]+:", re.MULTILINE)
_FOLD = re.compile(rb"\r\n[\t ]+")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::(\d{0,5}))?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)


_NONE = [b""]


class BadMessage(Exception):
    """
    A head or a body that cannot be passed on.

    @ivar status: the HTTP status for the visitor. @ivar text: a sentence that says what is wrong.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class RequestHead:
    """
    What a visitor asks.

    @ivar target: in origin form, or "*". @ivar host: the host asked for, lower case, without the port.
    @ivar authority: the host and port asked for, as they were written. @ivar length: bytes of the body; None
    for a chunked one.
    @ivar values: the fields' values by name.
    @ivar upgrade: "websocket" if the connection is to be one; empty for any other Upgrade, which is ignored.
    @ivar max_forwards: how many more may pass an OPTIONS or a TRACE on; None if it does not say.
    """

    method: bytes
    target: bytes
    headers: Headers
    version: str
    host: str
    authority: bytes
    length: int | None
    keep_alive: bool
    values: Values = field(repr=False)
    upgrade: bytes = b""
    max_forwards: int | None = None

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow."""
        return self.length != 0

    def value(self, name: bytes) -> bytes:
        """The first field's value of one (lower-case) name; empty if there is none."""
        return self.values.get(name, _NONE)[0]


@dataclass(slots=True)
class ResponseHead:
    """
    What an upstream answers.

    @ivar length: bytes of the body; None for a chunked one or one that ends with the connection.
    @ivar declared: its Content-Length, whether or not there is a body; None without one.
    @ivar chunked: whether the body is chunked. @ivar keep_alive: whether another may follow.
    @ivar values: the fields' values by name.
    """

    status: int
    reason: bytes
    headers: Headers
    length: int | None
    chunked: bool
    keep_alive: bool
    declared: int | None
    values: Values = field(repr=False)

    def value(self, name: bytes) -> bytes:
        """The first field's value of one (lower-case) name; empty if there is none."""
        return self.values.get(name, _NONE)[0]

    @property
    def bodiless(self) -> bool:
        """Whether no answer of this status has a body (RFC 9112 section 6.3)."""
        return self.status < 200 or self.status in (204, 304)


class _Collector:
    """What httptools calls back."""

    __slots__ = ("complete", "headers", "values")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.values: Values = {}
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        value = value.rstrip(b" \t")
        self.headers.append((name, value))
        key = name.lower()
        if key in self.values:
            self.values[key].append(value)
        else:
            self.values[key] = [value]

    def on_headers_complete(self) -> None:
        self.complete = True


class HeadReader:
    """
    Collects one head at a time from bytes split in any way.

    Its first line is matched here: llhttp takes some that are not HTTP/1.1 (RTSP, versions that are not
    spoken), and refuses methods that it does not know.

    @param line: what the first line must be.
    @ivar started: whether bytes of the next head have come.
    """

    def __init__(self, line: re.Pattern[bytes], limit: int) -> None:
        self._line = line
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self._pieces: list[bytes] = []
        self._first: re.Match[bytes] | None = None
        self._size = 0
        self._tail = b""
        self.started = False

    def feed(self, data: bytes) -> tuple[re.Match[bytes], bytes, bytes] | None:
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
            whole = self._whole(data)
            if whole is not None:
                return whole
            self.started = True
        seam = len(self._tail)
        found = _HEAD_END.search(self._tail + data)
        end = found.end() - seam if found else len(data)
        self._size += end
        if self._size > self._limit:
            raise BadMessage(431, f"the head of the message is longer than {self._limit // 1024} KiB")
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

    def _whole(self, data: bytes) -> tuple[re.Match[bytes], bytes, bytes] | None:
        """What L{feed} returns for a head that comes in one piece, as most do; None for any other."""
        first = self._line.match(data)
        found = first and _HEAD_END.search(data, first.end() - 1)
        if first is None or found is None or found.end() > self._limit:
            return None
        return first, data[first.end() : found.end()], data[found.end() :]

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
        self._first = self._line.fullmatch(piece, 0, end)
        if self._first is None:
            form = "METHOD /target HTTP/1.1" if self._line is _REQUEST_LINE else "HTTP/1.1 200 OK"
            raise BadMessage(400, f"this is not HTTP/1.1: its first line is none like {form!r}, in ASCII")
        self._pieces = [piece[end:]]


def _read_fields(parser: Any, first_line: bytes, fields: bytes) -> tuple[Headers, Values]:
    """The fields of a head, by llhttp. @raise BadMessage: they are none."""
    collector = _Collector()
    try:
        parser(collector).feed_data(first_line + fields)
    except httptools.HttpParserUpgrade:
        pass
    except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
        raise BadMessage(400, f"this is not HTTP/1.1: {error}") from error
    if not collector.complete:
        raise BadMessage(400, "the head of the message ends too early")
    return collector.headers, collector.values


class RequestReader:
    """Reads request heads."""

    def __init__(self) -> None:
        self._reader = HeadReader(_REQUEST_LINE, MAX_HEAD)

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
        line, fields, rest = result
        return _request(line, fields), rest


def _request(line: re.Match[bytes], fields: bytes) -> RequestHead:
    method, target, version = line[1], line[2], line[3].decode()
    if version not in ("1.1", "1.0"):
        raise BadMessage(505, f"HTTP/{version} is not spoken here: use HTTP/1.1")
    if method == b"CONNECT":
        raise BadMessage(405, "this server is no proxy: CONNECT is not for it")
    if len(target) > MAX_TARGET:
        raise BadMessage(414, f"the request target is longer than {MAX_TARGET // 1024} KiB")
    if fields.count(b"\n") > MAX_HEADERS + 1:
        raise BadMessage(431, f"the request has more than {MAX_HEADERS} header fields")
    headers, values = _read_fields(httptools.HttpRequestParser, b"POST / HTTP/1.1\r\n", fields)
    target, host, authority = _where(method, target, version, values)
    length = _request_length(values, version)
    connection = tokens(values[b"connection"]) if b"connection" in values else ()
    keep_alive = b"close" not in connection and (version == "1.1" or b"keep-alive" in connection)
    upgrade = b""
    # A server may ignore an Upgrade (RFC 9110 section 7.8). Of another protocol than WebSocket the edge would
    # not know what passes: h2c, which RFC 9113 section 3.1 takes back, would carry whole requests past it.
    if b"upgrade" in connection and version == "1.1" and method == b"GET" and length == 0:
        upgrade = b"websocket" if b"websocket" in tokens(values.get(b"upgrade", ())) else b""
    forwards = _max_forwards(values) if method in (b"OPTIONS", b"TRACE") else None
    return RequestHead(
        method, target, headers, version, host, authority, length, keep_alive, values, upgrade, forwards
    )


def _where(method: bytes, target: bytes, version: str, values: Values) -> tuple[bytes, str, bytes]:
    """A request's target in origin form, or "*"; its host, by which its tunnel is found; its authority."""
    hosts = values.get(b"host", ())
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadMessage(400, "a request needs exactly one Host header field")
    authority = hosts[0] if hosts else b""
    host = _host(authority, "Host header field") if authority else ""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute:
        # RFC 9112 section 3.2.2: the target's authority counts, and replaces what Host says.
        authority, target = absolute[1], absolute[2]
        host = _host(authority, "request target")
        if not target and method == b"OPTIONS":
            target = b"*"  # RFC 9112 section 3.2.4
        elif not target.startswith(b"/"):
            target = b"/" + target
    if not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise BadMessage(400, "the request target must begin with a slash")
    if b"#" in target:
        raise BadMessage(400, "the request target has a fragment, which is for the client alone")
    return target, host, authority.removesuffix(b":")


def _host(authority: bytes, where: str) -> str:
    """The host of an authority, as tunnels are known: in lower case, without brackets or a final dot."""
    match = _HOST.fullmatch(authority)
    if match is None or int(match[2] or 0) > 65535:
        raise BadMessage(400, f"the {where} is no host name")
    host = match[1].decode().lower().strip("[]").removesuffix(".")
    if authority.startswith(b"["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise BadMessage(400, f"the {where} is no host name") from None
    return host


def _max_forwards(values: Values) -> int | None:
    """How many more may pass the request on (RFC 9110 section 7.6.2); None if it does not say."""
    given = values.get(b"max-forwards")
    if not given:
        return None
    if len(given) > 1 or not given[0].isdigit() or len(given[0]) > 18:
        raise BadMessage(400, "Max-Forwards must be one number")
    return int(given[0])


def _content_length(values: Values) -> int | None:
    """The Content-Length; None without one."""
    given = values.get(b"content-length")
    if not given:
        return None
    if len(given) > 1 or not given[0].isdigit() or len(given[0]) > 18:
        raise BadMessage(400, "Content-Length must be one number")
    return int(given[0])


def _request_length(values: Values, version: str) -> int | None:
    """The length of a request's body (RFC 9112 section 6.3); None for a chunked one."""
    length = _content_length(values)
    codings = tokens(values[b"transfer-encoding"]) if b"transfer-encoding" in values else None
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
        self._reader = HeadReader(_STATUS_LINE, MAX_RESPONSE_HEAD)

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
        line, fields, rest = result
        return _response(line, fields, method), rest


def _response(line: re.Match[bytes], fields: bytes, method: bytes) -> ResponseHead:
    version, status, reason = line[1], int(line[2]), line[3] or b""
    if version not in (b"1.1", b"1.0"):
        raise BadMessage(502, f"the response is HTTP/{version.decode()}, which is not spoken here")
    headers, values = _read_fields(httptools.HttpResponseParser, b"HTTP/1.1 200 OK\r\n", _mended(fields))
    codings = tokens(values[b"transfer-encoding"]) if b"transfer-encoding" in values else None
    declared = _content_length(values)
    chunked = bool(codings)
    if chunked and codings != [b"chunked"]:
        # Another coding is for the hop that asked for it by TE, and we never do.
        raise BadMessage(502, "the response has a Transfer-Encoding that is not chunked")
    connection = tokens(values[b"connection"]) if b"connection" in values else ()
    # HTTP/1.0 has no Transfer-Encoding: what is behind such an answer is not believed (RFC 9112 section 6.1).
    keep_alive = b"close" not in connection and (
        version == b"1.1" or (b"keep-alive" in connection and not chunked)
    )
    head = ResponseHead(status, reason, headers, declared, chunked, keep_alive, declared, values)
    if method == b"HEAD" or head.bodiless:
        head.length, head.chunked = 0, False
    elif chunked:
        head.length = None
    head.keep_alive = keep_alive and (head.chunked or head.length is not None)
    return head


def _mended(fields: bytes) -> bytes:
    """
    The fields of a response as a gateway has to pass them on: no blank before a colon (RFC 9112 section 5.1),
    no value over several lines (section 5.2). In a request both are refused.
    """
    if b"\n " in fields or b"\n\t" in fields:
        fields = _FOLD.sub(b" ", fields)
    if b" :" in fields or b"\t:" in fields:
        fields = _BLANK_BEFORE_COLON.sub(rb"\1:", fields)
    return fields
