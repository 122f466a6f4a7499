"""Words that errors of all layers share: what somebody wrote, and what they may have meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from datetime import UTC, datetime

_LONGEST = 80


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question behind an error, if something that is known looks like C{word}; else nothing."""
    close = difflib.get_close_matches(word[:100], list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def count_of(number: int, thing: str) -> str:
    """How many of a thing, as in C{1 tunnel} and C{2 tunnels}; its plural has an s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def shown(value: object) -> str:
    """What somebody wrote, as TOML would have it, on one line, and not endless."""
    text = json.dumps(value) if isinstance(value, (str, bool)) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}... ({len(text)} characters)"


def at(when: float) -> str:
    """A time, in UTC, as tables and messages show it. C{when}: seconds since the epoch."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")
