"""
The time by which durations are measured: it never goes back, whoever sets the machine's clock, and goes on
while the machine sleeps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

ticks: Callable[[], float]
if hasattr(time, "CLOCK_BOOTTIME"):
    ticks = partial(time.clock_gettime, time.CLOCK_BOOTTIME)  # Linux: CLOCK_MONOTONIC stands still in sleep
elif sys.platform == "darwin":
    ticks = partial(time.clock_gettime, time.CLOCK_MONOTONIC)  # time.monotonic() stands still in sleep
else:
    ticks = time.monotonic


def measure_by_ticks(reactor: Any) -> None:
    """
    Have a reactor measure by L{ticks}. Twisted's own C{reactor.seconds} is C{time.time}: set back by an hour,
    it would fire no timer for an hour. To be called before the reactor's first timer; who wants the time of
    day asks C{time.time}.
    """
    reactor.seconds = ticks
