"""Which header fields are secrets, and what is shown instead. No I/O."""

from __future__ import annotations

import re

from burrow.traffic.record import Fields

MASK = "\u2022" * 8
"""What is shown instead of a secret. In a replay's changes it stands for the value that there was."""

_SECRET = re.compile(
    r"authorization|cookie|token|secret|passw|credential|session|csrf|xsrf|jwt"
    r"|(?:api|access|private|auth)[-_]?key|^(?:x-)?auth$"
)


def is_secret(name: str) -> bool:
    """Whether a field of this name usually has a secret as its value."""
    return _SECRET.search(name.lower()) is not None


def shown_fields(fields: Fields, *, secrets: bool) -> list[list[str]]:
    """Names and values for people. @param secrets: whether secrets are shown."""
    shown = []
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("utf-8", "replace")
        shown.append([name, value if secrets or not is_secret(name) else MASK])
    return shown
