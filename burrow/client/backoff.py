"""How long an agent waits before it dials again."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST = 0.05
LIMIT = 0.5
"""
Seconds before the first attempt, and between two attempts at most, in the first L{PATIENCE} seconds: a server
that restarts has its agents back within a second.
"""

PATIENCE = 120.0
LATER = 5.0
"""Seconds between two attempts at most, when L{PATIENCE} seconds were waited."""


class Backoff:
    """
    The delays between attempts. They double, up to a limit, with jitter, so that agents do not all dial at
    the same time.

    @param uniform: like L{random.uniform}.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self.reset()

    def reset(self) -> None:
        """The last attempt succeeded."""
        self._delay = FIRST
        self._waited = 0.0

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = self._uniform(self._delay / 2, self._delay)
        self._waited += delay
        self._delay = min(self._delay * 2, LIMIT if self._waited < PATIENCE else LATER)
        return delay
