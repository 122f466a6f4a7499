"""What the inspector's API tells of a record, as objects for JSON. No I/O."""

from __future__ import annotations

import base64
from typing import Any

from burrow.client.inspect.captured import Body, Captured
from burrow.client.inspect.decoding import as_text, decode, field
from burrow.client.inspect.masking import shown_fields
from burrow.traffic.record import Fields, Message, Record
from burrow.wording import iso

SHOWN_BODY = 1024 * 1024
"""Bytes of a decoded body in an answer, by default."""


def public_url(record: Record) -> str:
    """The URL that the visitor asked for, with the port if it was told."""
    fields = record.request_headers
    host = field(fields, b"x-forwarded-host") or field(fields, b"host") or record.host
    target = record.target if record.target.startswith("/") else f"/{record.target}"
    return f"{record.scheme or 'http'}://{host}{target}"


def summary(captured: Captured) -> dict[str, Any]:
    """A record without headers and bodies. Times are in seconds, and null while they are not known."""
    record = captured.record
    return {
        "id": record.id,
        "protocol": record.protocol,
        "state": "ended" if record.ended else "open" if record.status is None else "answered",
        "tunnel": record.tunnel,
        "visitor": record.visitor,
        "scheme": record.scheme,
        "method": record.method,
        "host": record.host,
        "path": record.target,
        "status": record.status,
        "reason": record.reason,
        "error": record.error,
        "request_id": record.request_id,
        "type": field(record.response_headers, b"content-type"),
        "received": record.received,
        "sent": record.sent,
        "messages": captured.message_count,
        "began": iso(record.began),
        "waited": record.waited,
        "first_byte": record.first_byte,
        "took": record.took,
        "replay_of": captured.replay_of or None,
    }


def data(raw: bytes, content_type: str, *, cut: bool) -> dict[str, str]:
    """Bytes as C{text}, or as C{base64} if they are none."""
    text = as_text(raw, content_type, cut=cut)
    return {"base64": base64.b64encode(raw).decode()} if text is None else {"text": text}


def body(kept: Body, fields: Fields, most: int = SHOWN_BODY) -> dict[str, Any]:
    """A body, decoded. @param most: bytes of it, at most, after decoding."""
    decoded = decode(bytes(kept.data), fields)
    shown = decoded.data[:most]
    cut = kept.truncated or decoded.truncated or len(shown) < len(decoded.data)
    content_type = field(fields, b"content-type")
    return {
        "size": kept.size,
        "kept": len(kept.data),
        "decoded": len(decoded.data),
        "shown": len(shown),
        "truncated": cut,
        "type": content_type,
        "encoding": field(fields, b"content-encoding"),
        "error": decoded.error or None,
        **data(shown, content_type, cut=cut),
    }


def message(number: int, outbound: bool, told: Message) -> dict[str, Any]:
    """A message of a WebSocket, or an event of an event stream. @param number: from 0, in its record."""
    cut = len(told.data) < told.size
    content_type = "application/octet-stream" if told.kind == "binary" else ""
    return {
        "number": number,
        "to": "visitor" if outbound else "upstream",
        "kind": told.kind,
        "size": told.size,
        "when": iso(told.when),
        "truncated": cut,
        **data(told.data, content_type, cut=cut),
    }


def messages(captured: Captured, after: int = -1) -> list[dict[str, Any]]:
    """The messages that are kept, in order. @param after: only those with a greater number."""
    first = captured.first_message
    return [
        message(number, outbound, told)
        for number, (outbound, told) in enumerate(captured.messages, first)
        if number > after
    ]


def detail(captured: Captured, *, secrets: bool = False, most: int = SHOWN_BODY) -> dict[str, Any]:
    """All of a record. @param secrets: whether secrets in headers are shown. @param most: see L{body}."""
    record = captured.record
    return {
        **summary(captured),
        "url": public_url(record) if record.is_request else None,
        "request": {
            "headers": shown_fields(record.request_headers, secrets=secrets),
            "body": body(captured.request, record.request_headers, most),
        },
        "response": {
            "headers": shown_fields(record.response_headers, secrets=secrets),
            "body": body(captured.response, record.response_headers, most),
        },
        "message_list": messages(captured),
        "messages_dropped": captured.first_message,
        "secrets": secrets,
    }
