"""The head of a request: which host it asks for, and what frames its body (RFC 9112). No I/O."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any

import httptools

from burrow.http.head import TOKEN, BadMessage, HeadReader, content_length, read_fields
from burrow.http.headers import Headers
from burrow.http.remembered import Remembered

MAX_HEAD = 64 * 1024
"""Bytes of a request's head, at most."""

MAX_HEADERS = 128
"""Header fields of a request, at most."""

MAX_TARGET = 16 * 1024
"""Bytes of a request's target, at most."""

IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"TRACE")
"""Methods of requests that may be sent twice, if they have no body."""

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::(\d{0,5}))?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(slots=True)
class RequestHead:
    """
    What a visitor asks.

    @ivar target: in origin form, or "*". @ivar host: the host asked for, lower case, without the port.
    @ivar authority: the host and port asked for, as they were written. @ivar length: bytes of the body; None
    for a chunked one.
    @ivar upgrade: "websocket" if the connection is to be one; empty for any other Upgrade, which is ignored.
    @ivar size: bytes of what it was read from, of a request of HTTP/2.
    @ivar max_forwards: how many more may pass an OPTIONS or a TRACE on; None if it does not say.
    @ivar passed_on: the L{Rewritten<burrow.server.edge.forwarded.Rewritten>} that was made of it, once it is
        decided that a tunnel answers it, whichever that is. One connection's, as the object.
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
    max_forwards: int | None = None
    passed_on: Any = field(default=None, compare=False, repr=False)
    size: int = field(default=0, compare=False, repr=False)


class RequestReader(HeadReader):
    """
    Reads request heads.

    @param remembered: those that came before on this connection, which are not read again.
    @cvar max_headers: fields, at most.
    """

    line = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/(\d\.\d)\r\n")
    example = "METHOD /target HTTP/1.1"
    limit = MAX_HEAD
    max_headers = MAX_HEADERS

    def __init__(self, remembered: Remembered[RequestHead] | None = None) -> None:
        super().__init__()
        self._remembered = remembered

    def feed(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """
        Take bytes; the head and what is behind it, or None while more are needed.

        @raise BadMessage: with the status to answer.
        """
        remembered = None if self.started else self._remembered
        if remembered is not None:
            # What is known was cut at its first empty line, and would be again, whatever comes behind it.
            end = data.find(b"\r\n\r\n") + 4
            known = remembered.known.get(data if end == len(data) else data[:end])
            if known is not None:
                return known, data[end:]
        cut = self.cut(data)
        if cut is None:
            return None
        line, fields, rest = cut
        method, target, version = line[1], line[2], line[3].decode()
        if version not in ("1.1", "1.0"):
            raise BadMessage(505, f"HTTP/{version} is not spoken here: use HTTP/1.1")
        if method == b"CONNECT":
            raise BadMessage(405, "this server is no proxy: CONNECT is not for it")
        if len(target) > MAX_TARGET:
            raise BadMessage(414, f"the request target is longer than {MAX_TARGET // 1024} KiB")
        if fields.count(b"\n") > self.max_headers + 1:
            raise BadMessage(431, f"the request has more than {self.max_headers} header fields")
        headers = read_fields(httptools.HttpRequestParser, b"POST / HTTP/1.1\r\n", fields)
        target, host, authority = _where(method, target, version, headers)
        framed = b"content-length" in headers or b"transfer-encoding" in headers
        length = _request_length(headers, version) if framed else 0
        connection = headers.tokens(b"connection") if b"connection" in headers else ()
        keep_alive = b"close" not in connection and (version == "1.1" or b"keep-alive" in connection)
        upgrade = b""
        # A server may ignore an Upgrade (RFC 9110 section 7.8). Of another protocol than WebSocket the edge
        # would not know what passes: h2c, which RFC 9113 section 3.1 takes back, would carry whole requests
        # past it.
        if b"upgrade" in connection and version == "1.1" and method == b"GET" and length == 0:
            upgrade = b"websocket" if b"websocket" in headers.tokens(b"upgrade") else b""
        forwards = _max_forwards(headers) if method in (b"OPTIONS", b"TRACE") else None
        head = RequestHead(
            method, target, headers, version, host, authority, length, keep_alive, upgrade, forwards
        )
        if remembered is not None:
            remembered.came(data[: len(data) - len(rest)], head)
        return head, rest


def _where(method: bytes, target: bytes, version: str, headers: Headers) -> tuple[bytes, str, bytes]:
    """A request's target in origin form, or "*"; its host, by which its tunnel is found; its authority."""
    hosts = headers.get(b"host", ())
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


def _max_forwards(headers: Headers) -> int | None:
    """How many more may pass the request on (RFC 9110 section 7.6.2); None if it does not say."""
    given = headers.get(b"max-forwards")
    if not given:
        return None
    if len(given) > 1 or not given[0].isdigit() or len(given[0]) > 18:
        raise BadMessage(400, "Max-Forwards must be one number")
    return int(given[0])


def _request_length(headers: Headers, version: str) -> int | None:
    """The length of a request's body (RFC 9112 section 6.3); None for a chunked one."""
    length = content_length(headers)
    codings = headers.tokens(b"transfer-encoding")
    if not codings:
        return length or 0
    if length is not None:
        raise BadMessage(400, "a request has either Content-Length or Transfer-Encoding, not both")
    if version == "1.0":
        raise BadMessage(400, "HTTP/1.0 has no Transfer-Encoding")
    if codings != [b"chunked"]:
        raise BadMessage(501, "the only Transfer-Encoding known here is chunked")
    return None
