"""Work that is done again and again, and does not end because it failed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

TELL_EVERY = 60.0
"""Seconds for which the same failure is not told again."""


def repeating(clock: Any, work: Callable[[], Any], what: str) -> LoopingCall:
    """
    A L{LoopingCall} of C{work}, not started yet, that logs an exception and goes on: a plain one ends at the
    first, and nobody hears of it.

    @param work: may return a Deferred or a coroutine: the next turn waits for it. @param what: for the log.
    """
    log = Logger("burrow.repeat")
    told: dict[str, float] = {}

    def failed(reason: Failure) -> None:
        text = repr(reason.value)
        if clock.seconds() - told.get(text, float("-inf")) >= TELL_EVERY:
            told.clear()
            told[text] = clock.seconds()
            log.failure("{what} failed, and is tried again", reason, what=what)

    def turn() -> Deferred[Any]:
        return maybeDeferred(work).addErrback(failed)

    loop = LoopingCall(turn)
    loop.clock = clock
    return loop
