"""
Requests that go no further: those that passed this server before, and those that count their hops.

A tunnel whose upstream is, over any way, this server again would take a stream and two sockets a round, until
there are none left.
"""

from __future__ import annotations

from burrow.http.fields import canonical, write_head
from burrow.http.request_head import RequestHead
from burrow.server.edge.forwarded import Forwarding
from burrow.server.edge.pages import Page, loop, options

_SECRET = frozenset((b"authorization", b"cookie", b"cookie2", b"proxy-authorization"))


def last_stop(head: RequestHead, forwarding: Forwarding) -> Page | None:
    """
    What the edge answers itself, since the request may not be passed on; None if it may, as any may that has
    neither Via nor a Max-Forwards of 0.
    """
    if b"via" in head.headers and forwarding.looped(head.headers):
        return loop(head.host)
    if head.max_forwards != 0:
        return None
    return _reflect(head) if head.method == b"TRACE" else options()


def _reflect(head: RequestHead) -> Page:
    """The answer of a TRACE's final recipient: the request without its secrets (RFC 9110 section 9.3.8)."""
    fields = [pair for pair in head.headers.fields if canonical(pair[0]) not in _SECRET]
    first_line = head.method + b" " + head.target + b" HTTP/" + head.version.encode()
    return Page(200, "trace", "TRACE", "", content=(b"message/http", write_head(first_line, fields)))
