"""The inside of an inline table of TOML: how it is read from one line of a person's, and written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from burrow.wording import toml_pairs

_BEFORE = "one = {"
"""What stands before the inside of a table where it is read."""

_PLACE = re.compile(r" ?\(at (?:line 1, column (\d+)|end of document)\)$")


def read_inside(text: str) -> dict[str, Any]:
    """The table that a text is the inside of. @raise ValueError: it is not, or lists are nested too deep."""
    inside = text.strip()
    if inside.startswith("{") and inside.endswith("}"):
        inside = inside[1:-1]
    try:
        table = tomllib.loads(f"{_BEFORE}{inside}}}")
    except RecursionError as error:
        raise ValueError("its lists are nested too deep") from error
    except tomllib.TOMLDecodeError as error:
        why = _of_text(str(error), text.index(inside) - len(_BEFORE), len(text))
        raise ValueError(f"""write TOML, as in 'path = "/admin*", respond = 403': {why}""") from error
    if set(table) != {"one"} or not isinstance(table["one"], dict):
        raise ValueError("write one table of TOML, the inside of it")
    return table["one"]


def _of_text(why: str, shift: int, length: int) -> str:
    """
    An error of C{tomllib}'s with the place in the text that a person wrote, whose one line is C{shift}
    characters further on the left.
    """
    place = _PLACE.search(why)
    if place is None:
        return why
    column = int(place[1]) + shift if place[1] else length + 1
    where = f"at character {column}" if column <= length else "at its end"
    return f"{why[: place.start()]} ({where})"


def _check(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _check(each)
    elif not isinstance(value, (bool, int, str)):
        raise ValueError("values are texts, numbers, true and lists of texts")


def inside(table: Mapping[str, Any]) -> str:
    """The inside of an inline table. @raise ValueError: a value is of a type that no option has."""
    _check(list(table.values()))
    return toml_pairs(table)
