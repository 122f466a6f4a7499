"""A circuit breaker: an upstream that fails is left alone for a while. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from burrow.clock import ticks
from burrow.policy.base import Answer, Visit

_BREAK = re.compile(r"(\d{1,6})\s*/\s*(\d{1,6})\s*s?")
FAILURES = (500, 502, 503, 504)
"""Statuses of an upstream that fails; what the edge says of one that does not answer is 502 or 504."""


@dataclass(frozen=True, slots=True)
class Break:
    """@ivar failures: in a row, after which C{seconds} pass before the upstream is asked again."""

    failures: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.failures}/{self.seconds}s"


def parse_break(text: str) -> Break:
    """C{5/30s}: after 5 failures in a row 30 seconds of rest."""
    found = _BREAK.fullmatch(text.strip())
    if found is not None and not (int(found[1]) and int(found[2])):
        raise ValueError("both numbers are 1 or more, as in 5/30s")
    if found is None:
        raise ValueError("write failures/seconds, as in 5/30s: after 5 failures in a row 30 seconds of rest")
    return Break(int(found[1]), int(found[2]))


class CircuitBreaker:
    """
    The rule. Its states::

        closed     requests pass; failures in a row are counted, and one success forgets them
        open       for some seconds requests are answered here
        trying     one request passes; its success closes the circuit, its failure opens it again

    @param now: the time in seconds.
    """

    __slots__ = ("_break", "_failed", "_now", "_opened", "_tried")

    def __init__(self, broken: Break, now: Callable[[], float] = ticks) -> None:
        self._break = broken
        self._now = now
        self._failed = 0
        self._opened: float | None = None
        self._tried: float | None = None

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        if self._opened is not None:
            now = self._now()
            # A try that never ends, as a WebSocket's, is given up after as long.
            since = self._opened if self._tried is None else self._tried
            wait = since + self._break.seconds - now
            if wait > 0:
                seconds = max(1, math.ceil(wait))
                text = f"The service behind this tunnel fails. It is asked again in {seconds} s."
                fields = [(b"Retry-After", b"%d" % seconds)]
                return Answer(503, "circuit-open", "The service rests", text, fields)
            self._tried = now
        visit.on_end.append(self._ended)
        return None

    def _ended(self, status: int) -> None:
        """@param status: of the answer; 0 if there was none, as of a visitor that left."""
        if status == 0:
            self._tried = None  # what was tried says nothing: the next request is a try
            return
        if status not in FAILURES:
            self._failed, self._opened, self._tried = 0, None, None
            return
        self._failed += 1
        if self._failed >= self._break.failures:
            self._opened, self._tried = self._now(), None
