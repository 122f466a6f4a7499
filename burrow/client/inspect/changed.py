"""A request to be sent again, as it was or changed. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from burrow.client.inspect.captured import Captured
from burrow.client.inspect.masking import MASK
from burrow.client.inspect.problem import Problem
from burrow.traffic.record import Fields
from burrow.wording import did_you_mean

REPLAY_HEADER = b"X-Burrow-Replay"
"""The field by which an upstream sees that a request is a replay. Its value is the id of the record that is
repeated."""

KEYS = ("method", "path", "headers", "body", "body_base64", "port", "upstream", "wait")
"""What a replay's JSON object may have."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}")
_OURS = {
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
}
"""Fields that belong to one connection, which are written anew."""


@dataclass(frozen=True)
class Outgoing:
    """
    A request to be sent.

    @ivar headers: without Content-Length, which is written when it is sent.
    @ivar framed: whether a body, though an empty one, is announced.
    """

    method: str
    target: str
    headers: Fields
    body: bytes
    framed: bool

    def head(self) -> bytes:
        """The request's head, for a connection that is used once (RFC 9112)."""
        lines = [b"%b %b HTTP/1.1" % (self.method.encode("ascii"), self.target.encode("ascii"))]
        lines += [b"%b: %b" % each for each in self.headers]
        if self.framed:
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join([*lines, b"Connection: close", b"", b""])


def outgoing(captured: Captured, changes: Mapping[str, Any]) -> Outgoing:
    """
    @param changes: see L{KEYS}; C{headers} maps a name to a value, to a list of values, or to None, which
        takes the field away; or is a list of all the fields, each a name and a value.
    @raise Problem: the record is no HTTP request, or a change is not possible.
    """
    record = captured.record
    unknown = next((key for key in changes if key not in KEYS), None)
    if unknown is not None:
        raise Problem(
            400, f"A replay has no {unknown[:40]!r}: it has {', '.join(KEYS)}{did_you_mean(unknown, KEYS)}."
        )
    if not record.is_request:
        raise Problem(409, f"A connection of kind {record.protocol} cannot be replayed: only requests can.")
    if record.protocol != "http":
        raise Problem(409, "A connection that switched to another protocol cannot be replayed.")
    method = changes.get("method", record.method)
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise Problem(400, "The method is not possible: write one as in POST.")
    headers = _headers(record.request_headers, changes.get("headers"))
    body, given = _body(captured, changes)
    if given and "body" in changes:  # it is written as text, not packed
        headers = [each for each in headers if each[0].lower() != b"content-encoding"]
    headers = [each for each in headers if each[0].lower() not in (b"x-burrow-replay",)]
    headers.append((REPLAY_HEADER, record.id.encode()))
    framed = bool(body) or given or method in ("POST", "PUT", "PATCH")
    return Outgoing(method, _target(changes.get("path", record.target)), headers, body, framed)


def _target(path: Any) -> str:
    if not isinstance(path, str) or not (path.startswith("/") or path == "*") or len(path) > 64 * 1024:
        raise Problem(400, "The path is not possible: write one that begins with /.")
    # What has no place in a request line is percent-encoded; what is encoded already stays as it is.
    return quote(path, safe="%/?#[]@!$&'()*+,;=:-._~|\"<>\\^`{}")


def _body(captured: Captured, changes: Mapping[str, Any]) -> tuple[bytes, bool]:
    """The body, and whether it was given."""
    if "body" in changes and "body_base64" in changes:
        raise Problem(400, "Give body or body_base64, not both.")
    if "body_base64" in changes:
        try:
            return base64.b64decode(changes["body_base64"], validate=True), True
        except (binascii.Error, TypeError, ValueError):
            raise Problem(400, "body_base64 is no Base64.") from None
    if "body" in changes:
        if not isinstance(changes["body"], str):
            raise Problem(400, "The body is not possible: write a text, or give body_base64.")
        return changes["body"].encode("utf-8", "surrogatepass"), True
    kept = captured.request
    if kept.truncated:
        raise Problem(
            409,
            f"Only the first {len(kept.data)} of the body's {kept.size} bytes were kept: give a body, or "
            "send the request again from where it came.",
        )
    return bytes(kept.data), False


def _headers(before: Fields, given: Any) -> Fields:
    """The fields to send."""
    if given is None:
        fields = list(before)
    elif isinstance(given, list):
        fields = _all_fields(before, given)
    elif isinstance(given, dict):
        fields = _some_fields(before, given)
    else:
        raise Problem(400, "headers is not possible: write an object of names and values.")
    return [each for each in fields if each[0].lower().decode("latin-1") not in _OURS]


def _all_fields(before: Fields, given: list[Any]) -> Fields:
    fields: Fields = []
    masked: dict[bytes, int] = {}
    for each in given:
        if not isinstance(each, list) or len(each) != 2:
            raise Problem(400, "headers is not possible: write a list of [name, value].")
        name, value = _checked(*each)
        if value == MASK.encode():
            values = [old for key, old in before if key.lower() == name.lower()]
            position = masked.get(name.lower(), 0)
            masked[name.lower()] = position + 1
            if position >= len(values):
                raise Problem(400, f"{name.decode()} is masked, and there was none: write its value.")
            value = values[position]
        fields.append((name, value))
    return fields


def _some_fields(before: Fields, given: dict[str, Any]) -> Fields:
    names = {name.lower() for name, value in given.items() if value != MASK}
    fields = [each for each in before if each[0].lower().decode("latin-1") not in names]
    for name, value in given.items():
        if value is None or value == MASK:
            continue
        values = value if isinstance(value, list) else [value]
        fields += [_checked(name, one) for one in values]
    return fields


def _checked(name: Any, value: Any) -> tuple[bytes, bytes]:
    """@raise Problem: a field's name or value is not possible (RFC 9110 section 5)."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise Problem(400, f"The header name {str(name)[:40]!r} is not possible: write one as in X-Test.")
    if not isinstance(value, str):
        raise Problem(400, f"The value of the header {name} is not possible: write a text.")
    if any(character in value for character in "\r\n\0"):
        raise Problem(400, f"The value of the header {name} is not possible: it has more than one line.")
    return name.encode("ascii"), value.strip().encode("utf-8", "surrogatepass")
