"""Which header fields are secrets, and what is shown instead. No I/O."""

from __future__ import annotations

import re

from burrow.traffic.record import Fields

MASK = "\u2022" * 8
"""What is shown instead of a secret. In a replay's changes it stands for the value that there was."""

_SECRET = re.compile(
    r"authorization|cookie|token|secret|passw|credential|session|csrf|xsrf|jwt"
    r"|(?:^|[-_]|api|access|private|auth|account|functions?)key$|[-_]key[-_]|^(?:x-)?auth$"
)
_PLAIN = re.compile(r"^sec-websocket-|^(?:idempotency|surrogate|cache|x-cache|partition|routing)[-_]key")
"""Keys that are no secrets. A WebSocket's key proves nothing (RFC 6455 section 1.3)."""


def is_secret(name: str) -> bool:
    """Whether a field of this name usually has a secret as its value."""
    lower = name.lower()
    return _SECRET.search(lower) is not None and _PLAIN.search(lower) is None


def shown_fields(fields: Fields, *, secrets: bool) -> list[list[str]]:
    """Names and values for people. @param secrets: whether secrets are shown."""
    shown = []
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("utf-8", "replace")
        shown.append([name, value if secrets or not is_secret(name) else MASK])
    return shown
