"""
What many agents and tunnels took while they came, or had when they left, goes back to the system once no
more come or go.

A handshake takes 50 KB for a moment. Of 500 agents that came at once, after a restart, 10 to 25 KB each
stayed with the process, and of 1,000 tunnels 1 KB each: free pages between those that are in use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.allocator import give_back_free_pages
from burrow.repeat import repeating

EVERY = 1.0
"""Seconds between two looks, and without an agent or a tunnel that comes or goes."""

MANY = 100
"""Sessions and tunnels that began or ended since the last time, at least."""


class Trimming:
    """
    @param turnover: returns how many sessions and tunnels began, and how many ended, so far, added.
    @param trim: gives the pages back.
    """

    def __init__(
        self, clock: Any, turnover: Callable[[], int], trim: Callable[[], None] = give_back_free_pages
    ) -> None:
        self._turnover = turnover
        self._trim = trim
        self._seen = self._trimmed = 0
        self._loop = repeating(clock, self._look, "giving memory back")

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(EVERY, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        now = self._turnover()
        if now == self._seen and now - self._trimmed >= MANY:
            self._trimmed = now
            self._trim()
        self._seen = now
