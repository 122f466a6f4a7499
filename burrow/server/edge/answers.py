"""
An answer's head as the visitor gets it. No I/O.

Its framing is ours: which bytes are the body was decided when it was read (L{ResponseHead}), and the visitor
is told that, whatever the upstream's fields say.
"""

from __future__ import annotations

from typing import NamedTuple

from burrow.http.fields import for_visitor, write_head
from burrow.http.headers import Fields, Headers
from burrow.http.request_head import RequestHead
from burrow.http.response_head import ResponseHead
from burrow.traffic.request_id import REQUEST_ID

_LINE = b"HTTP/1.1 %d %b"


class AnswerHead(NamedTuple):
    """
    @ivar start: the head's bytes; if C{numbered}, up to the value of X-Request-Id, its last field, which
        is written with two line ends behind it.
    @ivar chunked: whether the body has to be written in chunks.
    @ivar close: whether the connection ends behind the answer, as the head says.
    @ivar numbered: whether the server shows its id of the request: the upstream showed none.
    """

    start: bytes
    chunked: bool
    close: bool
    numbered: bool


def write_answer(
    request: RequestHead, head: ResponseHead, domain: str, *, close: bool, cookie: bytes = b""
) -> AnswerHead:
    """
    The head of a final answer.

    @param domain: the base domain, for which no cookie may be set.
    @param close: whether the connection has to end. @param cookie: one of ours, to be set, too.
    """
    fields = _fields(head.headers, domain)
    if cookie:
        fields.append((b"Set-Cookie", cookie))
    chunked = False
    options: list[bytes] = []
    if head.bodiless or request.method == b"HEAD":
        length = None if head.status == 204 else head.declared  # RFC 9110 section 8.6
    else:
        length = head.length
        chunked = length is None and request.version == "1.1"
        close = close or (length is None and not chunked)
    if length is not None:
        came = head.headers.named(b"content-length")
        fields.append((came[0][0] if came else b"Content-Length", b"%d" % length))
    elif chunked:
        fields.append((b"Transfer-Encoding", b"chunked"))
    if head.status == 426:
        # RFC 9110 section 15.5.22: it says by Upgrade which protocol is wanted.
        wanted = head.headers.named(b"upgrade")
        fields += wanted
        options += [b"Upgrade"] if wanted else []
    if close:
        options.append(b"close")
    elif request.version == "1.0":
        options.append(b"keep-alive")
    if options:
        fields.append((b"Connection", b", ".join(options)))
    numbered = b"x-request-id" not in head.headers
    if numbered:
        fields.append((REQUEST_ID, b""))
    data = write_head(_LINE % (head.status, head.reason), fields)
    return AnswerHead(data[: -len(b"\r\n\r\n")] if numbered else data, chunked, close, numbered)


def answer_fields(
    request: RequestHead, head: ResponseHead, domain: str, request_id: bytes, *, cookie: bytes = b""
) -> Fields:
    """
    The fields of a final answer for HTTP/2, whose frames say where a body ends: names in lower case, none of
    the connection (RFC 9113 section 8.2). Otherwise as L{write_answer}.
    """
    fields = _fields(head.headers, domain)
    if cookie:
        fields.append((b"set-cookie", cookie))
    bodiless = head.bodiless or request.method == b"HEAD"
    length = (None if head.status == 204 else head.declared) if bodiless else head.length
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    if b"x-request-id" not in head.headers:
        fields.append((REQUEST_ID, request_id))
    return [(name.lower(), value) for name, value in fields]


def interim_fields(head: ResponseHead, domain: str) -> Fields:
    """The fields of an interim answer for HTTP/2."""
    return [(name.lower(), value) for name, value in _fields(head.headers, domain)]


def write_interim(head: ResponseHead, domain: str) -> bytes:
    """The head of an interim answer (1xx, but not 101), which has no body and no framing."""
    return write_head(_LINE % (head.status, head.reason), _fields(head.headers, domain))


def write_switch(request: RequestHead, head: ResponseHead, domain: str) -> bytes | None:
    """The head of a 101; None if the protocol that it switches to is not the one that was asked for."""
    if not _switches(request, head):
        return None
    fields = _fields(head.headers, domain)
    fields += [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)]
    return write_head(_LINE % (head.status, head.reason), fields)


def switch_fields(request: RequestHead, head: ResponseHead, domain: str) -> Fields | None:
    """
    The fields for HTTP/2 of the answer that opens a WebSocket: without Sec-WebSocket-Accept, which only
    HTTP/1.1 has (RFC 8441 section 5). None as of L{write_switch}.
    """
    if not _switches(request, head):
        return None
    return [pair for pair in interim_fields(head, domain) if pair[0] != b"sec-websocket-accept"]


def _switches(request: RequestHead, head: ResponseHead) -> bool:
    """Whether a 101 switches to what was asked for."""
    return bool(request.upgrade) and head.headers.tokens(b"upgrade") == [request.upgrade]


def _fields(headers: Headers, domain: str) -> Fields:
    """
    The fields that go on, without the Domain of a cookie that would reach all tunnels: the base domain or a
    parent of it.

    Without Domain a cookie is its own host's alone (RFC 6265 section 5.3). What is not ASCII may become the
    base domain where a browser maps it.
    """
    fields = for_visitor(headers)
    if b"set-cookie" not in headers:
        return fields
    return [
        (name, _cookie(value, domain)) if name.lower() == b"set-cookie" else (name, value)
        for name, value in fields
    ]


def _cookie(value: bytes, domain: str) -> bytes:
    first, *attributes = value.split(b";")
    return b";".join([first, *(part for part in attributes if not _too_wide(part, domain))])


def _too_wide(attribute: bytes, domain: str) -> bool:
    """Whether an attribute of a cookie is a Domain that holds all tunnels."""
    name, _, value = attribute.partition(b"=")
    if name.strip().lower() != b"domain":
        return False
    host = value.strip().strip(b".").lower().decode("latin-1")
    return bool(host) and (not host.isascii() or domain == host or domain.endswith("." + host))
