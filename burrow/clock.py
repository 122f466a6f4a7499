"""
The clock by which durations are measured. It never goes back, even when the machine's time of day is set, and
it continues while the machine sleeps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

HOUR, DAY, WEEK = 3600.0, 86_400.0, 604_800.0
"""In seconds."""

ticks: Callable[[], float]
if hasattr(time, "CLOCK_BOOTTIME"):
    ticks = partial(time.clock_gettime, time.CLOCK_BOOTTIME)  # Linux: CLOCK_MONOTONIC stands still in sleep
elif sys.platform == "darwin":
    ticks = partial(time.clock_gettime, time.CLOCK_MONOTONIC)  # time.monotonic() stands still in sleep
else:
    ticks = time.monotonic


def measure_by_ticks(reactor: Any) -> None:
    """
    Let a reactor measure by L{ticks}. Twisted's own C{reactor.seconds} is C{time.time}: if that is set back
    by an hour, no timer fires for an hour. Call this before the reactor's first timer. For the time of day
    use C{time.time}.
    """
    reactor.seconds = ticks


def cancel(call: Any) -> None:
    """
    Have a delayed call not happen. Nothing happens if it has, or was cancelled.

    @param call: an L{IDelayedCall<twisted.internet.interfaces.IDelayedCall>}; None for none.
    """
    if call is not None and call.active():
        call.cancel()


def at_turn_end(clock: Any) -> Callable[[Callable[[], object]], object]:
    """
    Returns what has a function called at the end of the turn: our own reactor's way, which costs a fifth of
    C{callLater(0)}, or that.
    """
    ours: Callable[[Callable[[], object]], object] | None = getattr(clock, "call_at_turn_end", None)
    return partial(clock.callLater, 0) if ours is None else ours


class _Call:
    """An L{IDelayedCall<twisted.internet.interfaces.IDelayedCall>}, as far as it can be cancelled."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work

    def __call__(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()

    def cancel(self) -> None:
        """Have it not happen."""
        self._work = None


class TurnEnd:
    """
    The clock for Twisted's TLS, which gathers small writes by C{callLater(0)}: what a turn wrote is encrypted
    at its end, and goes out with all else. A delayed call and a turn less for each message (8 us of CPU).
    """

    def __init__(self, clock: Any) -> None:
        self._call_later = clock.callLater
        self._at_turn_end = at_turn_end(clock)

    def callLater(self, delay: float, work: Callable[[], object]) -> Any:
        """See L{IReactorTime<twisted.internet.interfaces.IReactorTime>}."""
        if delay:
            return self._call_later(delay, work)
        call = _Call(work)
        self._at_turn_end(call)
        return call
