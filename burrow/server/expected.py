"""The names whose agents are expected back, so that visitors wait for them."""

from __future__ import annotations

from typing import Any

EXPECT_FOR = 60.0
"""Seconds for which an agent is expected back after it left without a good-bye, or the server restarted."""


class Expected:
    """
    During the first L{EXPECT_FOR} seconds every agent is expected, except those that said good-bye since.

    @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._started = clock.seconds()
        self._until: dict[str, float] = {}

    def add(self, name: str) -> None:
        """Its agent left without a good-bye."""
        now = self._clock.seconds()
        if now >= self._started + EXPECT_FOR:
            self._until = {known: until for known, until in self._until.items() if until > now}
        self._until[name] = now + EXPECT_FOR

    def discard(self, name: str) -> None:
        """Its agent said good-bye."""
        self._until.pop(name, None)
        if self._clock.seconds() < self._started + EXPECT_FOR:
            self._until[name] = 0.0

    def forget(self, name: str) -> None:
        """Its agent connected."""
        self._until.pop(name, None)

    def decided(self, name: str) -> bool:
        """Whether L{add} or L{discard} was called for the name."""
        return name in self._until

    def __contains__(self, name: str) -> bool:
        """Whether its agent may be back soon."""
        return bool(self._clock.seconds() < self._until.get(name, self._started + EXPECT_FOR))
