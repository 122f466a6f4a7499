"""
Parsers of the names, numbers and paths that people write: in options, files and requests for names.

Each takes a text and returns the value, or raises a L{ValueError} whose text says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from burrow.addresses import parse_port, parse_ports

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""By the letters of units of time."""


def what_to_write(error: ValueError) -> str:
    """
    What the error of any parser says for the person who wrote the value. Those of C{int} and C{float}, which
    a plugin's option may have as its parser, are in the words of a Python programmer.
    """
    text = str(error)
    if text.startswith("invalid literal for int()"):
        return "write a whole number"
    if text.startswith("could not convert string to float"):
        return "write a number"
    return text or "write another value"


# -- names ----------------------------------------------------------------------------------------------


MAX_DOMAIN = 189
"""Characters of the base domain: with a label of 63 before it, 253 in all (RFC 1035 section 2.3.4)."""


def parse_domain(text: str) -> str:
    """A domain name in ASCII; returned in lower case and without a final dot."""
    if "/" in text or "*" in text:
        raise ValueError("write the domain's name alone, as in tunnel.example.com")
    domain = text.lower().rstrip(".")
    if not domain.isascii():
        raise ValueError("write the domain's ASCII form, whose labels begin with xn--")
    labels = domain.split(".")
    try:
        encoded = domain.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    possible = all(label.replace("-", "").isalnum() and label.strip("-") == label for label in labels)
    # An address has no names under it, and a last label of digits makes one (RFC 3696 section 2).
    possible = possible and not labels[-1].isdigit()
    if not encoded or not possible or len(encoded) > MAX_DOMAIN:
        raise ValueError("write a domain name, as in tunnel.example.com")
    return encoded


def parse_label(text: str) -> str:
    """A label (RFC 1123 section 2.1); returned in lower case."""
    label = text.lower()
    if not _LABEL.fullmatch(label) or label[2:4] == "--":
        raise ValueError(
            "use 1 to 63 letters, digits and hyphens, with no hyphen at either end, nor two in third place"
        )
    return label


def parse_name(text: str) -> str:
    """
    The name of a tunnel, which is a label; returned in lower case. Agents check names by the same rule as the
    server.

    @raise ValueError: unlike other parsers' errors it is a whole sentence.
    """
    try:
        return parse_label(text)
    except ValueError as error:
        wanted = repr(text) if len(text) <= 80 else f"{text[:60]!r}... ({len(text)} characters)"
        raise ValueError(f"{wanted} is no possible name: {error}") from error


_TOKEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


def is_token_name(text: str) -> bool:
    """Whether a token may be called so."""
    return bool(_TOKEN_NAME.fullmatch(text))


def parse_token_name(text: str) -> str:
    """The name of a token, as the server's owner calls it."""
    if not is_token_name(text):
        raise ValueError("write a token's name: up to 63 letters, digits and . _ @ -")
    return text


# -- numbers --------------------------------------------------------------------------------------------


def parse_seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ValueError("write a number of seconds above 0")
    return seconds


def parse_rate(text: str) -> float:
    """A number of bytes a second; 0 for no limit."""
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1e12:
        raise ValueError("write a number of bytes a second, or 0 for no limit")
    return rate


def parse_grace(text: str) -> float:
    """A number of seconds, 0 included."""
    if text.strip() in ("0", "0.0"):
        return 0.0
    try:
        return parse_seconds(text)
    except ValueError:
        raise ValueError("write a number of seconds, or 0") from None


def parse_count(text: str) -> int:
    """A whole number above 0."""
    # Not int() alone, which takes underscores and the digits of all scripts. No option needs 10 digits.
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ValueError("write a whole number above 0")
    return int(text)


def parse_most(text: str) -> int:
    """A whole number; 0 for no limit."""
    if text.strip() == "0":
        return 0
    try:
        return parse_count(text)
    except ValueError:
        raise ValueError("write a whole number, or 0 for no limit") from None


def parse_days(text: str) -> float:
    """A number of days, 1 or more."""
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 1 <= days < 1e6:
        raise ValueError("write a number of days, 1 or more")
    return days


NUMERIC = (parse_seconds, parse_grace, parse_rate, parse_count, parse_most, parse_ports)
"""Parsers of values that a TOML file may write as numbers."""

NUMBERS: dict[Callable[[str], Any], dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    parse_port: {"type": "integer", "minimum": 1, "maximum": 65_535},
    parse_seconds: {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e9},
    parse_grace: {"type": "number", "minimum": 0, "exclusiveMaximum": 1e9},
    parse_rate: {"type": "number", "minimum": 0, "exclusiveMaximum": 1e12},
    parse_count: {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    parse_most: {"type": "integer", "minimum": 0, "maximum": 999_999_999},
}
"""The JSON schemas (2020-12) of the numbers that parsers return."""

# -- paths ----------------------------------------------------------------------------------------------


def parse_path(text: str) -> Path:
    """A path; a leading ~ is the home folder."""
    try:
        if not text or "\0" in text:
            raise ValueError
        return Path(text).expanduser().absolute()
    except (ValueError, RuntimeError):  # the second: ~ of a user that does not exist
        raise ValueError("write a path") from None


STDIN = Path("-")
"""Stands for standard input."""


def parse_secret_path(text: str) -> Path:
    """A path, or C{-} for standard input."""
    return STDIN if text == "-" else parse_path(text)
