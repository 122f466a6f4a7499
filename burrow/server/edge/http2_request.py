"""
An HTTP/2 request's fields as the head that HTTP/1.1 would have had. No I/O.

It is written as an HTTP/1.1 head and read by the same reader, so that a request means the same whatever
version it came by, and is refused for the same reasons. What HTTP/1.1 would read as something else is
refused before: names and values with line ends, blanks in the path, fields of the connection (RFC 9113
sections 8.2 and 8.3).
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable

from burrow.http.fields import may_be_trailer
from burrow.http.head import TOKEN, BadMessage
from burrow.http.headers import Fields
from burrow.http.remembered import Remembered
from burrow.http.request_head import RequestHead, RequestReader


class Malformed(BadMessage):
    """What has come is no request by HTTP/2's own rules: its stream is reset (RFC 9113 section 8.1.1)."""

    def __init__(self, text: str) -> None:
        super().__init__(400, text)


_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_METHOD = re.compile(TOKEN)
_PATH = re.compile(rb"[!-~]+")
_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings")
)


def understand(
    fields: Fields, ended: bool, scheme: str, known: Remembered[RequestHead]
) -> tuple[RequestHead | BadMessage, bool]:
    """
    What a request's fields mean: see L{Mean<burrow.http.http2_server.heads.Mean>}, and L{read_request}.

    @return: its head, or why it is refused; and whether the same fields are just that the next time, too.
        Those that ask for a WebSocket are not, for they get a key of ours.
    """
    try:
        head = read_request(fields, ended, scheme, known)
    except BadMessage as error:
        return error, False
    return head, b":protocol" not in [name for name, _ in fields]


def read_request(
    fields: Iterable[tuple[bytes, bytes]], ended: bool, scheme: str, known: Remembered[RequestHead] | None
) -> RequestHead:
    """
    The head of a request.

    @param fields: as HPACK has them, pseudo-header fields first. @param ended: whether no body follows.
    @param scheme: of the connection, "http" or "https". @param known: heads that came before on it, if they
        are kept.
    @raise Malformed: it is none. @raise BadMessage: it cannot be passed on.
    """
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    cookies: list[bytes] = []
    hosts: list[bytes] = []
    framed = False
    for name, value in fields:
        if name.startswith(b":"):
            if name in pseudo or lines or hosts or cookies:
                raise Malformed("a pseudo-header field comes twice, or behind others")
            pseudo[bytes(name)] = bytes(value)
            continue
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Malformed("a header field has characters that none may have")
        if name in _CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise Malformed("HTTP/2 has no header fields of the connection (RFC 9113 section 8.2.2)")
        if name == b"host":
            hosts.append(bytes(value))
        elif name == b"cookie":
            cookies.append(bytes(value))
        else:
            framed = framed or name == b"content-length"
            lines.append(b"%b: %b" % (name, value))
    if pseudo.keys() - {b":method", b":scheme", b":path", b":authority", b":protocol"}:
        raise Malformed("the request has a pseudo-header field that is not known here")
    if b":protocol" in pseudo:
        _open_socket(pseudo, lines, ended=ended, framed=framed)
        framed, known = True, None
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not method or (method != b"CONNECT" and (b":scheme" not in pseudo or not path)):
        raise Malformed("the request lacks a method, a scheme or a path")
    if method != b"CONNECT" and pseudo[b":scheme"].lower() != scheme.encode():
        raise BadMessage(400, "the request has another scheme than its connection")
    if not _METHOD.fullmatch(method):
        raise BadMessage(400, "the request has no possible method")
    if path and not (_PATH.fullmatch(path) and (path.startswith(b"/") or path == b"*")):
        raise BadMessage(400, "the request target must begin with a slash")
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0].lower() != authority.lower()):
        raise Malformed("Host and :authority must say the same (RFC 9113 section 8.3.1)")
    host = authority if authority is not None else (hosts[0] if hosts else b"")
    if not host or not _VALUE.fullmatch(host):
        raise BadMessage(400, "the request has no possible host")
    first = [b"%b %b HTTP/1.1" % (method, path or b"/"), b"Host: " + host]
    if cookies:
        lines.append(b"cookie: " + b"; ".join(cookies))  # RFC 9113 section 8.2.3
    if not ended and not framed:
        lines.append(b"transfer-encoding: chunked")  # how long it is, nobody knows
    written = b"\r\n".join([*first, *lines, b"", b""])
    found = RequestReader(known).feed(written)
    if found is None or found[1]:
        raise BadMessage(400, "the request is none")
    head = found[0]
    if ended and head.length:
        raise BadMessage(400, "the request has no body, and a Content-Length")
    head.version = "2.0"  # as Via says it
    head.size = len(written)
    return head


def _open_socket(pseudo: dict[bytes, bytes], lines: list[bytes], *, ended: bool, framed: bool) -> None:
    """
    Make an extended CONNECT the Upgrade that it is in HTTP/1.1 (RFC 8441 sections 4 and 5). The key that
    HTTP/1.1 asks a WebSocket's server with is ours: HTTP/2 has none.

    @raise BadMessage: it is none, or of a protocol that is not spoken here.
    """
    protocol = pseudo.pop(b":protocol")
    if pseudo.get(b":method") != b"CONNECT":
        raise BadMessage(400, "only a CONNECT may have :protocol (RFC 8441 section 4)")
    if not pseudo.get(b":authority"):
        raise BadMessage(400, "a CONNECT with :protocol needs an :authority (RFC 8441 section 4)")
    if protocol.lower() != b"websocket":
        raise BadMessage(501, "the only protocol that a CONNECT may ask for here is websocket")
    if ended or framed:
        raise BadMessage(400, "a CONNECT has no body, and leaves its stream open (RFC 9113 section 8.5)")
    pseudo[b":method"] = b"GET"
    lines[:] = [line for line in lines if not line.startswith(b"sec-websocket-key:")]
    key = base64.b64encode(os.urandom(16))
    lines += [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: " + key]


def read_trailers(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields behind a body: those that may stand there. @raise BadMessage: one is none."""
    trailers = []
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadMessage(400, "a trailer field has characters that none may have")
        if may_be_trailer(name):
            trailers.append((bytes(name), bytes(value)))
    return trailers
