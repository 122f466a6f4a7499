"""What the edge tells those who listen of a request: see L{burrow.traffic}. Called only if somebody does."""

from __future__ import annotations

from burrow.http.request_head import RequestHead
from burrow.http.response_head import ResponseHead
from burrow.policy.share import masked
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record


def record_of(head: RequestHead, request_id: bytes, address: tuple[str, str], domain: str) -> Record:
    """
    The record of a request.

    @param address: the visitor's address, C{host:port}, and scheme. @param domain: the base domain, under
        which a host is a tunnel's name; another host's tunnel is known when its route is found.
    """
    suffix = "." + domain
    label = head.host.removesuffix(suffix) if head.host.endswith(suffix) else ""
    return Record(
        protocol="http",
        tunnel="" if "." in label else label,
        visitor=address[0],
        scheme=address[1],
        method=head.method.decode("latin-1"),
        target=masked(head.target).decode("latin-1"),
        host=head.host,
        request_headers=head.headers.fields,
        request_id=request_id.decode("latin-1"),
    )


def answered(traffic: Traffic, record: Record, head: ResponseHead) -> None:
    """The head of an upstream's final answer, or of its 101, has come."""
    record.status, record.reason = head.status, head.reason.decode("latin-1")
    record.response_headers = head.headers.fields
    if head.status == 101:
        websocket = b"websocket" in head.headers.tokens(b"upgrade")
        record.protocol = "websocket" if websocket else "upgraded"
    traffic.answered(record)
