"""Cross-origin requests that the edge allows in the upstream's place (CORS, Fetch standard). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from burrow.http.headers import Fields
from burrow.policy.base import Answer, Visit

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)(:\d{1,5})?")
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_MAX_AGE = b"600"
_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{0,1024}")
_PREFIX = b"access-control-"


def parse_origin(text: str) -> str:
    """An origin, or C{*} for all."""
    origin = text.strip().lower().rstrip("/")
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError("write an origin, as in https://app.example.com, or * for all")
    return origin


class Cors:
    """
    The rule: pages of these origins may ask. What the upstream says of it is replaced.

    @param credentials: whether their requests may carry cookies and the like; not with C{*}.
    """

    __slots__ = ("_any", "_credentials", "_origins")

    def __init__(self, origins: Iterable[str], credentials: bool) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = b"*" in self._origins
        self._credentials = credentials

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}. A preflight is answered here, and never the upstream's."""
        headers = visit.request.headers
        origin = headers.value(b"origin")
        allowed = self._allowed(origin)
        visit.on_answer.append(partial(self._answered, allowed))
        if not visit.preflight:
            return None
        names = headers.value(b"access-control-request-headers")
        if allowed:
            allowed = [
                *allowed,
                (b"Access-Control-Allow-Methods", _METHODS),
                (b"Access-Control-Max-Age", _MAX_AGE),
            ]
            if names and _NAMES.fullmatch(names):
                allowed.append((b"Access-Control-Allow-Headers", names))
        return Answer(
            200,
            "preflight",
            "A preflight",
            "The origin may ask." if allowed else "The owner of this tunnel does not let this origin ask.",
            [*allowed, (b"Vary", b"Origin, Access-Control-Request-Headers")],
        )

    def _allowed(self, origin: bytes) -> Fields:
        """What an answer to an origin says; nothing if it may not ask."""
        if not origin or not (self._any or origin.lower() in self._origins):
            return []
        fields = [(b"Access-Control-Allow-Origin", b"*" if self._any else origin)]
        if self._credentials:
            fields.append((b"Access-Control-Allow-Credentials", b"true"))
        return fields

    def _answered(self, allowed: Fields, fields: Fields) -> Fields:
        """An answer's fields. Those that a page may read of it stay the upstream's to say."""
        kept = [
            pair
            for pair in fields
            if not pair[0].lower().startswith(_PREFIX) or pair[0].lower() == b"access-control-expose-headers"
        ]
        return [*kept, *allowed, *([] if self._any else [(b"Vary", b"Origin")])]
