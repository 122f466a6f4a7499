"""The options that change header fields of requests and answers, and their rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.errors import ConfigError
from burrow.policy.fields import (
    MAX_CHANGES,
    ChangeFields,
    parse_add,
    parse_answer_add,
    parse_answer_remove,
    parse_answer_set,
    parse_remove,
    parse_set,
)
from burrow.protocols.options import kind_option

_FIELDS = (
    ("request-header-add", "requests get this header field, too", parse_add, "NAME: VALUE"),
    ("request-header-set", "requests get this header field in the place of theirs", parse_set, "NAME: VALUE"),
    ("request-header-remove", "requests lose the header fields of this name", parse_remove, "NAME"),
    ("response-header-add", "answers get this header field, too", parse_answer_add, "NAME: VALUE"),
    (
        "response-header-set",
        "answers get this header field in the place of theirs",
        parse_answer_set,
        "NAME: VALUE",
    ),
    ("response-header-remove", "answers lose the header fields of this name", parse_answer_remove, "NAME"),
)
HEADERS = tuple(
    kind_option(name, f"{help}; may be repeated", parse=parse, metavar=metavar, many=True)
    for name, help, parse, metavar in _FIELDS
)


def check_changes(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: there are too many."""
    if sum(len(options.get(each.key, ())) for each in HEADERS) > MAX_CHANGES:
        raise ConfigError(f"one tunnel changes {MAX_CHANGES} header fields at most: leave some out")


def change_rules(options: Mapping[str, Any]) -> list[ChangeFields]:
    """The rule, if there is something to change: first fields are removed, then set, then added."""
    add, put, remove, answer_add, answer_put, answer_remove = (options.get(each.key, ()) for each in HEADERS)
    if add or put or remove or answer_add or answer_put or answer_remove:
        return [ChangeFields((*remove, *put, *add), (*answer_remove, *answer_put, *answer_add))]
    return []
