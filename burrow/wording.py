"""Phrases that messages of all layers share: suggestions, counts, quoted values, times."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, time

_LONGEST = 80


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    The question "did you mean ...?" for the end of an error, if C{known} has a similar word; else nothing.
    """
    close = difflib.get_close_matches(word[:100], list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def count_of(number: int, thing: str) -> str:
    """A number and a noun whose plural has an s: C{1 tunnel}, C{2 tunnels}."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def shown(value: object) -> str:
    """A value that a person wrote, as TOML writes it: on one line, and shortened if it is long."""
    text = _toml(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}... ({len(text)} characters)"


def _toml(value: object) -> str:
    if isinstance(value, (str, bool)):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return value.isoformat() if isinstance(value, (date, time)) else repr(value)


def at(when: float) -> str:
    """A time, in UTC, as tables and messages show it. C{when}: seconds since the epoch."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(when: float) -> str:
    """A time in seconds since the epoch as ISO 8601, in UTC, with milliseconds: for programs."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
