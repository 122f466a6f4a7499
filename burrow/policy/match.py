"""Which requests some rules are for. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from burrow.addresses import Network, is_in
from burrow.http.fields import canonical
from burrow.policy.base import Visit
from burrow.policy.paths import PathPattern

_MAX_PATTERN = 500


class TextPattern:
    """
    A text in which a C{*} stands for any text; C{*text*} is what holds a text.

    @param text: has one C{*} at most, or one at either end.
    @raise ValueError: it has more, or is no text of a header field.
    """

    __slots__ = ("_after", "_before", "_inside", "_star")

    def __init__(self, text: str) -> None:
        written = text.encode()
        inside = written[1:-1] if written.startswith(b"*") and written.endswith(b"*") else b""
        if b"*" in inside or (not inside and written.count(b"*") > 1):
            raise ValueError("write * once, for any text, or at both ends")
        if not 0 < len(written) <= _MAX_PATTERN or not text.isprintable():
            raise ValueError(f"write 1 to {_MAX_PATTERN} characters")
        self._inside = inside
        self._before, self._star, self._after = written.partition(b"*")

    def means(self, text: bytes) -> bool:
        """Whether a text is meant."""
        if self._inside:
            return self._inside in text
        if not self._star:
            return text == self._before
        size = len(self._before) + len(self._after)
        return len(text) >= size and text.startswith(self._before) and text.endswith(self._after)


@dataclass(frozen=True, slots=True)
class Match:
    """
    What a request has to be; of what is empty, anything.

    @ivar paths: of what the visitor asked, however it is spelled. @ivar methods: in capitals.
    @ivar fields: canonical names of header fields, and what one of their values is; None: any.
    @ivar addresses: of the visitor.
    """

    paths: tuple[PathPattern, ...] = ()
    methods: frozenset[bytes] = frozenset()
    fields: tuple[tuple[bytes, TextPattern | None], ...] = ()
    addresses: tuple[Network, ...] = ()

    @property
    def always(self) -> bool:
        """Whether all requests are meant."""
        return not (self.paths or self.methods or self.fields or self.addresses)

    def means(self, visit: Visit) -> bool:
        """Whether a request is meant."""
        return (
            (not self.methods or visit.request.method in self.methods)
            and (not self.paths or _is_under(visit.request.target, self.paths))
            and all(_has(visit, name, pattern) for name, pattern in self.fields)
            and (not self.addresses or is_in(visit.address, self.addresses))
        )


def _is_under(target: bytes, patterns: Iterable[PathPattern]) -> bool:
    path = target.partition(b"?")[0]
    return any(pattern.means(path) for pattern in patterns)


def _has(visit: Visit, name: bytes, pattern: TextPattern | None) -> bool:
    """Whether a request has a field, however it spells its name."""
    return any(
        pattern is None or pattern.means(value)
        for one, values in visit.request.headers.items()
        if canonical(one) == name
        for value in values
    )


class Conditional:
    """A rule for the requests that are meant. @ivar rule: it."""

    __slots__ = ("_match", "rule")

    def __init__(self, match: Match, rule: Any) -> None:
        self._match = match
        self.rule = rule

    def visit(self, visit: Visit) -> Any:
        """See L{IRule<burrow.policy.base.IRule>}."""
        return self.rule.visit(visit) if self._match.means(visit) else None
