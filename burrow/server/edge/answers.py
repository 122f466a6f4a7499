"""
An answer's head as the visitor gets it. No I/O.

Its framing is ours: which bytes are the body was decided when it was read (L{ResponseHead}), and the visitor
is told that, whatever the upstream's fields say.
"""

from __future__ import annotations

from typing import NamedTuple

from burrow.server.edge.fields import Headers, end_to_end, tokens, write_head
from burrow.server.edge.head import RequestHead, ResponseHead


class AnswerHead(NamedTuple):
    """
    @ivar data: the head's bytes. @ivar chunked: whether the body has to be written in chunks.
    @ivar close: whether the connection ends behind the answer, as the head says.
    """

    data: bytes
    chunked: bool
    close: bool


def write_answer(request: RequestHead, head: ResponseHead, domain: str, *, close: bool) -> AnswerHead:
    """
    The head of a final answer.

    @param domain: the base domain, for which no cookie may be set.
    @param close: whether the connection has to end.
    """
    headers = _host_only(head, domain)
    chunked = False
    options: list[bytes] = []
    if head.bodiless or request.method == b"HEAD":
        length = None if head.status == 204 else head.declared  # RFC 9110 section 8.6
    else:
        length = head.length
        chunked = length is None and request.version == "1.1"
        close = close or (length is None and not chunked)
    if length is not None:
        headers.append((_spelled(head.headers), b"%d" % length))
    elif chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    if head.status == 426:
        # RFC 9110 section 15.5.22: it says by Upgrade which protocol is wanted.
        wanted = [(name, value) for name, value in head.headers if name.lower() == b"upgrade"]
        headers += wanted
        options += [b"Upgrade"] if wanted else []
    if close:
        options.append(b"close")
    elif request.version == "1.0":
        options.append(b"keep-alive")
    if options:
        headers.append((b"Connection", b", ".join(options)))
    return AnswerHead(write_head(_status_line(head), headers), chunked, close)


def write_interim(head: ResponseHead, domain: str) -> bytes:
    """The head of an interim answer (1xx, but not 101), which has no body and no framing."""
    return write_head(_status_line(head), _host_only(head, domain))


def write_switch(request: RequestHead, head: ResponseHead, domain: str) -> bytes | None:
    """The head of a 101; None if the protocol that it switches to is not the one that was asked for."""
    if not request.upgrade or tokens(head.values.get(b"upgrade", ())) != [request.upgrade]:
        return None
    headers = _host_only(head, domain)
    headers += [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)]
    return write_head(_status_line(head), headers)


def _status_line(head: ResponseHead) -> bytes:
    return b"HTTP/1.1 %d %b" % (head.status, head.reason)


def _spelled(headers: Headers) -> bytes:
    """Content-Length's name as it came."""
    for name, _ in headers:
        if name.lower() == b"content-length":
            return name
    return b"Content-Length"


def _host_only(head: ResponseHead, domain: str) -> Headers:
    """
    The fields that go on, without the Domain of a cookie that would reach all tunnels: the base domain or a
    parent of it.

    Without Domain a cookie is its own host's alone (RFC 6265 section 5.3). What is not ASCII may become the
    base domain where a browser maps it.
    """
    headers = end_to_end(head.headers, head.values)
    if b"set-cookie" not in head.values:
        return headers
    return [
        (name, _cookie(value, domain)) if name.lower() == b"set-cookie" else (name, value)
        for name, value in headers
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
