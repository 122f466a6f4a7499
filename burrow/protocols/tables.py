"""
Rules for some requests: tables of a tunnel, each of which says which, and what is done with them.

What is done is said by the same options as for all requests, so that one reader and one set of rules serve
both. A table is one of TOML; on the command line and on the wire it is the inside of an inline table::

    path = "/admin*", address = "198.51.100.0/24", respond = 403
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from burrow.addresses import parse_network
from burrow.errors import ConfigError
from burrow.http.fields import canonical
from burrow.policy.breaker import CircuitBreaker
from burrow.policy.match import Conditional, Match, TextPattern
from burrow.policy.paths import REDIRECTS, PathPattern, RewritePath
from burrow.protocols.changes import HEADERS, change_rules, check_changes
from burrow.protocols.inline import inside, read_inside
from burrow.protocols.options import KindOption, Side
from burrow.protocols.rules import (
    CIRCUIT_BREAKER,
    COMPRESS,
    PATHS,
    REDIRECT,
    RESPOND,
    REWRITE_PATH,
    RULES,
    check_rules,
    first_rules,
    last_rules,
)
from burrow.wording import did_you_mean, shown

MAX_TABLES = 50
"""Tables of a tunnel, at most."""

MAX_TABLE = 6000
"""Characters of a table, at most."""

MAX_TEXT = 30_000
"""Characters of all tables of a tunnel, which one command of the control channel carries."""

_ACTS = {each.key: each for each in (*RULES, *HEADERS)}
_LATER = frozenset(
    each.key for each in (RESPOND, REDIRECT, REWRITE_PATH, CIRCUIT_BREAKER, COMPRESS, *HEADERS)
)
"""What is done only to requests that reach the service, or to its answers."""

_STATUS = "status"
_EVERYWHERE = "/*"


@dataclass(frozen=True, slots=True)
class Table:
    """
    @ivar text: the inside of an inline table. @ivar match: the requests that it is for.
    @ivar options: what is done, by the keys of the options of a tunnel.
    """

    text: str
    match: Match = field(compare=False)
    options: dict[str, Any] = field(compare=False)

    def __str__(self) -> str:
        return self.text

    def told(self) -> str:
        """Without the values of header fields, which may be credentials."""
        table = read_inside(self.text)
        for key in table.keys() & _NAMES_ALONE:
            table[key] = [str(text).partition(":")[0].strip() for text in _texts(table[key])]
        return inside(table)

    def explained(self) -> str:
        """What it does, in a sentence."""
        table = read_inside(self.text)
        who = [f"{word} {_listed(table[key])}" for key, word in _WORDS.items() if key in table]
        status = f" ({table[_STATUS]})" if _STATUS in table else ""
        what = [
            explained(key, value) + (status if key == REDIRECT.key else "")
            for key, value in table.items()
            if key in _ACTS
        ]
        return f"{' '.join(['requests', *who]) if who else 'all requests'} {', and '.join(what)}"


_WORDS = {"method": "by", "path": "for", "header": "with", "address": "from"}
"""The conditions, and what a sentence says before their values."""

_NAMES_ALONE = {"header", *(each.key for each in HEADERS)}
"""Keys whose values have header fields."""

_EXPLAINED = {
    "cors": "may be made by pages of %",
    "cors-credentials": "may carry cookies if other pages make them",
    "rate-limit": "are limited to % of each visitor",
    "rate-limit-by": "are told apart by %",
    "max-body": "have a body of % at most",
    "rewrite-path": "reach the service as %",
    "redirect": "are sent to %",
    "respond": "are answered with %",
    "https-redirect": "are sent to https://",
    "circuit-breaker": "are answered with 503 while the service fails (%)",
    "interstitial": "get a page first, if a browser makes them",
    "compress": "are answered compressed",
    "request-header-add": "get the field %, too",
    "request-header-set": "get the field %",
    "request-header-remove": "lose the field %",
    "response-header-add": "are answered with the field %, too",
    "response-header-set": "are answered with the field %",
    "response-header-remove": "are answered without the field %",
}


def explained(key: str, value: Any) -> str:
    """What an option does with requests, as a sentence that begins with them goes on."""
    return _EXPLAINED.get(key, f"have {key} %").replace("%", _listed(value))


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _texts(value: Any) -> list[str]:
    """One text or several."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) for item in items):
        raise ValueError("write a text, or several in a list")
    return items


def _methods(value: Any) -> frozenset[bytes]:
    found = _texts(value)
    if not all(text.isascii() and text.replace("-", "").isalpha() for text in found):
        raise ValueError("write a method, as in POST")
    return frozenset(text.upper().encode() for text in found)


def _fields(value: Any) -> tuple[tuple[bytes, TextPattern | None], ...]:
    found: list[tuple[bytes, TextPattern | None]] = []
    for text in _texts(value):
        name, colon, wanted = text.partition(":")
        if not name.strip() or not name.strip().isascii() or not name.strip().isprintable():
            raise ValueError('write the NAME of a header field, or "NAME: VALUE"')
        found.append((canonical(name.strip().encode()), TextPattern(wanted.strip()) if colon else None))
    return tuple(found)


_CONDITIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "path": ("paths", lambda value: tuple(map(PathPattern.parse, _texts(value)))),
    "method": ("methods", _methods),
    "header": ("fields", _fields),
    "address": ("addresses", lambda value: tuple(map(parse_network, _texts(value)))),
}
"""By key: the attribute of L{Match}, and what reads it."""


def parse_table(text: str) -> Table:
    """A table as it is written on the command line."""
    if len(text) > MAX_TABLE:
        raise ValueError(f"it has {MAX_TABLE} characters at most")
    return table_of(read_inside(text))


def table_of(table: Mapping[str, Any]) -> Table:
    """A table of a file. @raise ValueError: it is not possible."""
    known = [*_CONDITIONS, *_ACTS, _STATUS]
    for key in table:
        if key not in known:
            raise ValueError(f"there is no key {shown(str(key))[1:-1]}{did_you_mean(key, known)}")
    text = inside(table)
    if len(text) > MAX_TABLE:
        raise ValueError(f"it has {MAX_TABLE} characters at most")
    conditions = {
        name: _named(key, partial(read, table[key]))
        for key, (name, read) in _CONDITIONS.items()
        if key in table
    }
    options = {key: _named(key, partial(_value, key, table)) for key in table if key in _ACTS}
    if not options:
        raise ValueError(f"it says nothing to do: write one of {', '.join(_ACTS)}")
    if _STATUS in table:
        options |= _with_status(table[_STATUS], options)
    for first in (RESPOND.key, REDIRECT.key):
        others = [key for key in options if key != first and key in _LATER]
        if first in options and others:
            raise ValueError(
                f"{first} answers its requests, so {others[0]} does nothing to them: leave one of the two "
                "out, or write a table for each"
            )
    try:
        check_rules(options)
        check_changes(options)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return Table(text, Match(**conditions), options)


def _named(key: str, made: Callable[[], Any]) -> Any:
    try:
        return made()
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _value(key: str, table: Mapping[str, Any]) -> Any:
    """The value of one option. Those of paths are written without the path, which is a condition."""
    option, value = _ACTS[key], table[key]
    if option.is_switch:
        if value is not True:
            raise ValueError("write true, or leave it out")
        return True
    if option in PATHS:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError("write a text")
        paths = _texts(table.get("path", _EVERYWHERE))
        return tuple(option.parse(f"{path}={value}") for path in paths)
    if option.many:
        return tuple(option.parse(text.strip()) for text in _texts(value))
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("write a text")
    return option.parse(str(value))


def _with_status(status: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    if REDIRECT.key not in options:
        raise ValueError("status is that of a redirect: write redirect, too")
    if isinstance(status, bool) or status not in REDIRECTS:
        raise ValueError(f"status is one of {', '.join(map(str, REDIRECTS))}")
    return {REDIRECT.key: tuple(replace(each, status=status) for each in options[REDIRECT.key])}


def told(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is done with a tunnel's requests: as it is written, and in sentences."""
    always = [
        (f"{key} = {_listed(value)}", f"all requests {explained(key, value)}")
        for key, option in _ACTS.items()
        if (value := options.get(key, option.default)) not in (option.default, None)
    ]
    return always + [(table.text, table.explained()) for table in options.get(POLICY.key) or ()]


class TableOption(KindOption):
    """Tables: of a file as they are, else as texts."""

    def value(self, given: Any, source: str, equals: str = " ") -> Any:
        """See L{Option<burrow.options.Option>}."""
        items = given if isinstance(given, (list, tuple)) else [given]
        return tuple(self._one(item, source, equals) for item in items)

    @staticmethod
    def _one(item: Any, source: str, equals: str) -> Table:
        try:
            if isinstance(item, dict):
                return table_of(item)
            if isinstance(item, str):
                return parse_table(item)
            raise ValueError("write a table")
        except ValueError as error:
            raise ConfigError(f"{source}{equals}{shown(item)} is not possible: {error}") from error


POLICY = TableOption(
    "policy",
    (),
    """what is done with some requests, as in 'path = "/admin*", method = "POST", respond = 403'; """
    "may be repeated",
    parse_table,
    "TABLE",
    (),
    True,
    False,
    Side.SERVER,
    False,
)


def check_tables(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: there are too many."""
    tables = options.get(POLICY.key) or ()
    if len(tables) > MAX_TABLES:
        raise ConfigError(f"one tunnel has {MAX_TABLES} tables of policy at most")
    if sum(len(table.text) for table in tables) > MAX_TEXT:
        raise ConfigError(f"the tables of one tunnel's policy have {MAX_TEXT} characters at most")


def _rules(options: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Iterable[Any]]) -> list[Any]:
    return [
        rule if table.match.always else Conditional(table.match, rule)
        for table in options.get(POLICY.key) or ()
        for rule in make(table.options)
    ]


def first_of_tables(options: Mapping[str, Any]) -> list[Any]:
    """Rules that are asked before anybody is let in."""
    return _rules(options, first_rules)


def last_of_tables(options: Mapping[str, Any]) -> list[Any]:
    """Rules that are asked once a visitor is let in."""
    return _rules(options, lambda table: [*last_rules(table), *change_rules(table)])


def in_order(rules: Iterable[Any]) -> list[Any]:
    """
    The same rules: circuit breakers behind all that may answer, since the service has no part in those
    answers; and what changes the path behind all that look at it.
    """

    def place(rule: Any) -> int:
        inner = getattr(rule, "rule", rule)
        return 2 if isinstance(inner, RewritePath) else int(isinstance(inner, CircuitBreaker))

    return sorted(rules, key=place)
