"""
The filter language of the agent's screen and of the inspector. No I/O.

A filter is words, all of which a request has to fulfil::

    status:404  status:5xx  status:>=400  status:200,304 its answer's status
    method:POST  method:GET,HEAD                         its method
    path:/hook  path:/api/*.json                         its path: a part of it, or all of it with * in it
    host:blog  tunnel:blog  visitor:203.0.113.9          a part of it
    is:open  is:failed  is:websocket  is:tcp             what it is; failed: no whole answer, or 5xx
    time:>500ms  time:<2s                                how long it took, or has taken so far
    size:>1mb                                            bytes to the visitor so far
    hook "two words"                                     a part of its method, target, host, status or error

C{-} before a word means the opposite. Letters' case does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Protocol

from burrow.wording import did_you_mean


class Subject(Protocol):
    """What a filter looks at: see L{Record<burrow.traffic.record.Record>}, which is one."""

    @property
    def protocol(self) -> str: ...
    @property
    def tunnel(self) -> str: ...
    @property
    def visitor(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def status(self) -> int | None: ...
    @property
    def sent(self) -> int: ...
    @property
    def error(self) -> str: ...
    @property
    def took(self) -> float | None: ...
    @property
    def age(self) -> float: ...


Test = Callable[[Subject], bool]
MakeTest = Callable[[str], Test]
"""Makes the test of a word from what stands behind its colon. Raises L{ValueError}: a sentence for people."""

MAX_LENGTH = 500
"""Characters of a filter, at most."""

_CLOSE = 0.8
"""How like a word before a colon is to a key that it was meant for. C{localhost:3000} means no C{host:}."""

_WORD = re.compile(r'(?P<no>-?)(?:(?P<key>[A-Za-z-]+):)?(?:"(?P<quoted>[^"]*)"?|(?P<plain>\S+))')
_STATUS = re.compile(r"(?:(?P<compare>>=|<=|>|<)?(?P<number>[1-9]\d\d)|(?P<hundred>[1-9])xx)")
_AMOUNT = re.compile(r"(?P<compare>>=|<=|>|<)(?P<number>\d+(?:\.\d+)?)(?P<unit>[a-z]*)")
_UNITS = {"time": {"ms": 0.001, "s": 1, "m": 60}, "size": {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9}}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
}


def _status(value: str) -> Test:
    tests: list[Callable[[int], bool]] = []
    for part in value.split(","):
        found = _STATUS.fullmatch(part)
        if found is None:
            examples = "status:404, status:5xx, status:>=400 or status:200,304"
            raise ValueError(f"status:{value} is not possible: write {examples}")
        if found["hundred"]:
            hundred = int(found["hundred"])
            tests.append(lambda status, hundred=hundred: status // 100 == hundred)  # type: ignore[misc]
        else:
            number, compare = int(found["number"]), _COMPARE.get(found["compare"] or "")
            if compare is None:
                tests.append(lambda status, number=number: status == number)  # type: ignore[misc]
            else:
                tests.append(lambda status, number=number, than=compare: than(status, number))  # type: ignore[misc]
    return lambda subject: subject.status is not None and any(test(subject.status) for test in tests)


def _method(value: str) -> Test:
    methods = set(value.upper().split(","))
    return lambda subject: subject.method.upper() in methods


def _path(value: str) -> Test:
    if "*" not in value:
        return lambda subject: value in subject.target.partition("?")[0].lower()
    pieces = value.split("*")

    def matches(subject: Subject) -> bool:
        # Piece by piece, and no regular expression: one with many stars could take for ever.
        path = subject.target.partition("?")[0].lower()
        if not (path.startswith(pieces[0]) and path.endswith(pieces[-1])):
            return False
        position, end = len(pieces[0]), len(path) - len(pieces[-1])
        for piece in pieces[1:-1]:
            found = path.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return position <= end

    return matches


_IS: dict[str, Test] = {
    "open": lambda subject: subject.took is None,
    "failed": lambda subject: bool(subject.error) or (subject.status or 0) >= 500,
    "http": lambda subject: subject.protocol == "http",
    "websocket": lambda subject: subject.protocol == "websocket",
    "tcp": lambda subject: subject.protocol == "tcp",
}


def _is(value: str) -> Test:
    if value not in _IS:
        raise ValueError(
            f"is:{value} is not possible: write is:{', is:'.join(_IS)}{did_you_mean(value, _IS)}"
        )
    return _IS[value]


def _amount(key: str, value: str) -> Callable[[float], bool]:
    found, units = _AMOUNT.fullmatch(value), _UNITS[key]
    if found is None or found["unit"] not in units:
        example = "time:>500ms or time:<2s" if key == "time" else "size:>1mb or size:<10kb"
        raise ValueError(f"{key}:{value} is not possible: write {example}")
    than, limit = _COMPARE[found["compare"]], float(found["number"]) * units[found["unit"]]
    return lambda amount: than(amount, limit)


def _time(value: str) -> Test:
    test = _amount("time", value)
    return lambda subject: test(subject.age)


def _size(value: str) -> Test:
    test = _amount("size", value)
    return lambda subject: test(subject.sent)


def _text(value: str) -> Test:
    def matches(subject: Subject) -> bool:
        return (
            value in subject.target.lower()
            or value == subject.method.lower()
            or value == str(subject.status)
            or value in subject.host.lower()
            or value in subject.error.lower()
            or value in subject.visitor
            or value == subject.protocol
        )

    return matches


_KEYS: dict[str, MakeTest] = {
    "status": _status,
    "method": _method,
    "path": _path,
    "host": lambda value: lambda subject: value in subject.host.lower(),
    "tunnel": lambda value: lambda subject: value in subject.tunnel.lower(),
    "visitor": lambda value: lambda subject: value in subject.visitor.lower(),
    "is": _is,
    "time": _time,
    "size": _size,
}


class Filter:
    """
    A filter that was read.

    @param text: see the module. @param more: words of the caller's own, by their key.
    @raise ValueError: it is none; the text says what would be.
    @ivar text: as it was given.
    """

    def __init__(self, text: str = "", more: Mapping[str, MakeTest] | None = None) -> None:
        if len(text) > MAX_LENGTH:
            raise ValueError(f"the filter is too long: {MAX_LENGTH} characters are possible")
        self.text = text
        keys = {**_KEYS, **(more or {})}
        self._tests: list[tuple[bool, Test]] = []
        for found in _WORD.finditer(text):
            if found["plain"] and found["plain"].endswith(":") and found["plain"][:-1].lower() in keys:
                continue  # somebody is still typing it
            self._tests.append((not found["no"], self._read(found, keys)))

    @staticmethod
    def _read(found: re.Match[str], keys: Mapping[str, MakeTest]) -> Test:
        key = (found["key"] or "").lower()
        value = (found["quoted"] if found["quoted"] is not None else found["plain"]).lower()
        if key in keys:
            return keys[key](value)
        meant = get_close_matches(key, list(keys), 1, _CLOSE)
        if meant:
            raise ValueError(f"there is no {key}: in the filter language; did you mean {meant[0]}:?")
        return _text(f"{key}:{value}" if key else value)  # such as localhost:3000, or a URL

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return bool(self._tests)

    def matches(self, subject: Subject) -> bool:
        """Whether a request fulfils all its words."""
        return all(test(subject) is wanted for wanted, test in self._tests)
