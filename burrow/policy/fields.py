"""Header fields that a tunnel's owner adds, sets or removes, of requests and of answers. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from burrow.http.fields import canonical
from burrow.http.head import TOKEN
from burrow.http.headers import Fields
from burrow.policy.base import Visit, may_be_answered, may_be_changed

MAX_CHANGES = 50
"""Fields that one tunnel's options change, at most."""

_NAME = re.compile(TOKEN)
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """
    @ivar name: of the field, as it is written. @ivar value: None removes all fields of the name.
    @ivar also: whether fields of the name that are there stay.
    """

    name: bytes
    value: bytes | None
    also: bool = False

    def __str__(self) -> str:
        if self.value is None:
            return self.name.decode("latin-1")
        return f"{self.name.decode('latin-1')}: {self.value.decode('latin-1')}"

    def told(self) -> str:
        """The name alone: a value may be a credential, as in Authorization."""
        return self.name.decode("latin-1")

    def __call__(self, fields: Fields) -> Fields:
        """See L{Change<burrow.policy.base.Change>}. Names are compared as a careless reader would."""
        if not self.also:
            name = canonical(self.name)
            fields = [pair for pair in fields if canonical(pair[0]) != name]
        return fields if self.value is None else [*fields, (self.name, self.value)]


def _named(text: str, answer: bool) -> bytes:
    name = text.strip().encode("latin-1", "replace")
    if not _NAME.fullmatch(name):
        raise ValueError("write the name of a header field, as in X-Frame-Options")
    if not (may_be_answered(name) if answer else may_be_changed(name)):
        raise ValueError(
            "it frames the message, or says who the visitor is, which the server alone does"
            + ("" if answer else "; --host-header changes Host")
        )
    return name


def _written(text: str, answer: bool, also: bool) -> FieldChange:
    name, colon, value = text.partition(":")
    written = value.strip().encode("utf-8")
    if not colon:
        raise ValueError('write NAME: VALUE, as in "X-Env: staging"')
    if not _VALUE.fullmatch(written):
        raise ValueError("a value is one line without control characters")
    return FieldChange(_named(name, answer), written, also)


def parse_add(text: str) -> FieldChange:
    """C{NAME: VALUE} that requests get beside what they have."""
    return _written(text, False, True)


def parse_set(text: str) -> FieldChange:
    """C{NAME: VALUE} that requests get in the place of what they have."""
    return _written(text, False, False)


def parse_remove(text: str) -> FieldChange:
    """The name of fields that requests lose."""
    return FieldChange(_named(text, False), None)


def parse_answer_add(text: str) -> FieldChange:
    """As L{parse_add}, for answers."""
    return _written(text, True, True)


def parse_answer_set(text: str) -> FieldChange:
    """As L{parse_set}, for answers."""
    return _written(text, True, False)


def parse_answer_remove(text: str) -> FieldChange:
    """As L{parse_remove}, for answers."""
    return FieldChange(_named(text, True), None)


class ChangeFields:
    """
    The rule.

    @param request: of the request. @param answer: of the answer.
    """

    __slots__ = ("_answer", "_request")

    def __init__(self, request: Iterable[FieldChange], answer: Iterable[FieldChange]) -> None:
        self._request = tuple(request)
        self._answer = tuple(answer)

    def visit(self, visit: Visit) -> None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        visit.on_request += self._request
        visit.on_answer += self._answer
