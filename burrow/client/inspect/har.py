"""
The HTTP Archive format, version 1.2 (http://www.softwareishard.com/blog/har-12-spec/), which browsers'
developer tools import. No I/O.

Fields that begin with an underscore are extensions: C{_webSocketMessages} and C{_resourceType} are those of
Chromium.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from burrow import __version__
from burrow.client.inspect.captured import Captured
from burrow.client.inspect.decoding import MAX_DECODED, as_text, decode, field
from burrow.client.inspect.describe import public_url
from burrow.client.inspect.masking import shown_fields
from burrow.traffic.record import Fields
from burrow.wording import iso

MAX_UNPACKED = 64 * 1024 * 1024
"""Bytes that all bodies of one archive are unpacked to, at most: those behind stay as they were sent."""

_OPCODES = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}


def archive(entries: Iterable[Captured], *, secrets: bool) -> Iterator[bytes]:
    """
    An archive of HTTP requests and WebSockets; what is not HTTP has no place in one.

    @param secrets: whether secrets in headers are in it, or masked.
    @return: the JSON in pieces of one request each, each made when it is asked for.
    """
    told = "with" if secrets else "without"
    log = {
        "version": "1.2",
        "creator": {"name": "Burrow", "version": __version__},
        "pages": [],
        "comment": f"Written by Burrow's inspector, {told} secrets in header fields and cookies.",
    }
    yield b'{"log": %b, "entries": [' % json.dumps(log).encode().removesuffix(b"}")
    room, between = _Room(), b""
    for each in entries:
        if each.record.is_request:
            yield between + json.dumps(_entry(each, secrets, room)).encode()
            between = b",\n"
    yield b"]}}\n"


def _pairs(fields: Fields, secrets: bool) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in shown_fields(fields, secrets=secrets)]


def _cookies(fields: Fields, name: bytes, secrets: bool) -> list[dict[str, str]]:
    """The cookies' names and values. Without secrets none: their header field says that there were some."""
    if not secrets:
        return []
    found = []
    for each, value in fields:
        if each.lower() == name:
            texts = value.decode("utf-8", "replace").split(";")
            for text in texts if name == b"cookie" else texts[:1]:
                key, _, content = text.strip().partition("=")
                if key:
                    found.append({"name": key, "value": content})
    return found


class _Room:
    """@ivar left: bytes to which bodies may still be unpacked."""

    def __init__(self) -> None:
        self.left = MAX_UNPACKED


def _text(raw: bytes, fields: Fields, room: _Room, *, cut: bool) -> dict[str, Any]:
    if field(fields, b"content-encoding"):
        if not room.left:
            why = f"as it was sent: the bodies before are {MAX_UNPACKED} bytes already"
            return {"text": base64.b64encode(raw).decode(), "encoding": "base64", "comment": why}
        decoded = decode(raw, fields, min(room.left, MAX_DECODED))
        room.left -= min(room.left, len(decoded.data))
    else:
        decoded = decode(raw, fields)
    text = as_text(decoded.data, field(fields, b"content-type"), cut=cut or decoded.truncated)
    if text is None:
        return {"text": base64.b64encode(decoded.data).decode(), "encoding": "base64"}
    return {"text": text}


def _first(body: Any, data: dict[str, Any]) -> str:
    """The comment on a body that is not whole. @param data: what L{_text} made of it."""
    first = f"the first {len(body.data)} of {body.size} bytes"
    return f"{first}, {data['comment']}" if "comment" in data else first


def _request(captured: Captured, secrets: bool, room: _Room) -> dict[str, Any]:
    record, body = captured.record, captured.request
    url = public_url(record)
    try:
        query = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        query = []
    request: dict[str, Any] = {
        "method": record.method,
        "url": url,
        "httpVersion": "HTTP/1.1",
        "cookies": _cookies(record.request_headers, b"cookie", secrets),
        "headers": _pairs(record.request_headers, secrets),
        "queryString": [{"name": name, "value": value} for name, value in query],
        "headersSize": -1,
        "bodySize": body.size,
    }
    if body.size:
        mime = field(record.request_headers, b"content-type")
        data = _text(bytes(body.data), record.request_headers, room, cut=body.truncated)
        request["postData"] = {"mimeType": mime, "params": [], "text": data["text"]}
        if "encoding" in data:
            request["postData"]["_encoding"] = "base64"
        if "comment" in data:
            request["postData"]["comment"] = data["comment"]
        if body.truncated:
            request["postData"]["comment"] = _first(body, data)
    return request


def _response(captured: Captured, secrets: bool, room: _Room) -> dict[str, Any]:
    record, body = captured.record, captured.response
    data = _text(bytes(body.data), record.response_headers, room, cut=body.truncated)
    content = {"size": body.size, "mimeType": field(record.response_headers, b"content-type"), **data}
    if body.truncated:
        content["comment"] = _first(body, data)
    response: dict[str, Any] = {
        "status": record.status or 0,
        "statusText": record.reason,
        "httpVersion": "HTTP/1.1",
        "cookies": _cookies(record.response_headers, b"set-cookie", secrets),
        "headers": _pairs(record.response_headers, secrets),
        "content": content,
        "redirectURL": field(record.response_headers, b"location"),
        "headersSize": -1,
        "bodySize": body.size,
    }
    if record.error:
        response["_error"] = record.error
    return response


def _timings(captured: Captured) -> tuple[float, dict[str, float]]:
    """The whole time, which is the sum of the parts that are not -1, and the parts, in milliseconds."""
    record = captured.record
    took = record.age
    connect = min(record.waited or 0.0, took)
    first = max(connect, min(record.first_byte if record.first_byte is not None else took, took))
    parts = {"connect": connect, "wait": first - connect, "receive": took - first}
    rounded = {name: round(seconds * 1000, 3) for name, seconds in parts.items()}
    return sum(rounded.values()), {"blocked": -1, "dns": -1, "ssl": -1, "send": 0, **rounded}


def _entry(captured: Captured, secrets: bool, room: _Room) -> dict[str, Any]:
    record = captured.record
    time, timings = _timings(captured)
    entry: dict[str, Any] = {
        "startedDateTime": iso(record.began),
        "time": time,
        "request": _request(captured, secrets, room),
        "response": _response(captured, secrets, room),
        "cache": {},
        "timings": timings,
        "_id": record.id,
        "_tunnel": record.tunnel,
    }
    if captured.replay_of:
        entry["_replayOf"] = captured.replay_of
    if record.protocol == "websocket":
        entry["_resourceType"] = "websocket"
        entry["_webSocketMessages"] = [
            {
                "type": "receive" if outbound else "send",
                "time": message.when,
                "opcode": _OPCODES.get(message.kind, 2),
                "data": message.data.decode("utf-8", "replace")
                if message.kind == "text"
                else base64.b64encode(message.data).decode(),
            }
            for outbound, message in captured.messages
        ]
    return entry
