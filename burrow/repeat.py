"""Regular work that continues after a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

TELL_EVERY = 60.0
"""Seconds for which the same failure is not logged again."""


def repeating(clock: Any, work: Callable[[], Any], what: str) -> LoopingCall:
    """
    A L{LoopingCall} of C{work}, not started, that logs an exception and continues. A plain LoopingCall ends
    at the first exception, silently.

    @param work: may return a Deferred or a coroutine; the next turn waits for it. @param what: a name of the
        work, for the log.
    """
    log = Logger("burrow.repeat")
    told: dict[str, float] = {}

    def failed(reason: Failure) -> None:
        text = repr(reason.value)
        if clock.seconds() - told.get(text, float("-inf")) >= TELL_EVERY:
            told.clear()
            told[text] = clock.seconds()
            log.failure("{what} failed; the next turn tries it again", reason, what=what)

    def turn() -> Deferred[Any]:
        return maybeDeferred(work).addErrback(failed)

    loop = LoopingCall(turn)
    loop.clock = clock
    return loop
