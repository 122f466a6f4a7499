"""
Phrases that messages of all layers share: suggestions, counts, quoted values, how options are written, times.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def listed(words: Sequence[str], last: str) -> str:
    """Words in a sentence: C{a, b and c}. @param words: one or more. @param last: "and" or "or"."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def shown(value: object) -> str:
    """A value that a person wrote, as TOML writes it: on one line, and shortened if it is long."""
    text = toml(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}... ({len(text)} characters)"


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def toml(value: object) -> str:
    """
    A value as TOML 1.0 writes it, on one line. What is not printable is escaped, so that it does nothing to a
    terminal.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(map(_character, value))}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        inside = toml_pairs(value)
        return f"{{ {inside} }}" if inside else "{}"
    return value.isoformat() if isinstance(value, (date, time)) else repr(value)


def toml_pairs(table: Mapping[str, object]) -> str:
    """The inside of an inline table."""
    return ", ".join(f"{_key(str(key))} = {toml(value)}" for key, value in table.items())


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else toml(text)


def _character(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    if one.isprintable():
        return one
    return f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"


@dataclass(frozen=True)
class Written:
    """
    How a tunnel's options are written somewhere.

    @ivar option: makes of an option's key what is written. @ivar equals: what stands before its value.
    @ivar true: what stands behind a switch. @ivar kind: of the kind C{{}}. @ivar name: the name NAME.
    @ivar as_kind: of a kind C{{}}, in quotes, that the server alone has.
    @ivar each: how something is written for each of several ports, as the end of a sentence.
    @ivar others: what else may be given there, as it is written.
    """

    option: Callable[[str], str]
    equals: str
    true: str
    kind: str
    name: str
    as_kind: str
    each: str = ""
    others: tuple[str, ...] = ()

    def switch(self, key: str) -> str:
        """A switch that is on."""
        return f"{self.option(key)}{self.true}"


FILE = Written(str, " = ", " = true", 'kind = "{}"', 'name = "NAME"', 'kind = "tcp" and as = {}')
COMMAND_LINE = Written("--{}".format, " ", "", "burrow {}", "--name NAME", "burrow tcp --as {}")
PROGRAM = Written(
    lambda key: key.replace("-", "_"),
    "=",
    "=True",
    'kind="{}"',
    'name="NAME"',
    'kind="tcp", **{{"as": {}}}',
    ", as in `for port in range(5000, 5004)`",
)
ENDPOINT = Written(str, "=", "=yes", "kind={}", "name=NAME", "kind=tcp:as={}")
"""The strings of L{burrow.endpoint}."""


def system_words(error: BaseException) -> str:
    """
    The system's message for what failed, as the end of a sentence: without a number, a class, or what Twisted
    says around it.
    """
    inner = getattr(error, "socketError", None) or error  # a CannotListenError
    reason = getattr(inner, "osError", None)  # a ConnectError has the number or the text
    if isinstance(reason, int):
        text = os.strerror(reason)
    else:
        text = str(reason or getattr(inner, "strerror", None) or inner)
    if not text:
        return "it took too long" if isinstance(inner, TimeoutError) else type(inner).__name__
    # An abbreviation, such as TLS or I/O, is left as it is.
    return (text[:1].lower() + text[1:] if text[1:2].islower() else text).rstrip(".")


def at(when: float) -> str:
    """A time, in UTC, as tables and messages show it. C{when}: seconds since the epoch."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(when: float) -> str:
    """A time in seconds since the epoch as ISO 8601, in UTC, with milliseconds: for programs."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
