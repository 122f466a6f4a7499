"""How much of what costs it nothing an HTTP/2 visitor may do."""

from __future__ import annotations

BURST = 200.0
"""What it may do at once."""

EACH_SECOND = 20.0
"""What it may do beyond that, again and again."""


class Calm:
    """
    A token bucket of what a visitor does that asks for no answer, or for one that it then resets: streams
    reset (a request that is reset at once costs its sender a frame, and others a connection of the upstream:
    CVE-2023-44487), PING, SETTINGS, empty DATA (CVE-2019-9512 to -9518), and more of other frames that bring
    nothing than go with its requests and answers.
    """

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = BURST
        self._at = 0.0

    def too_much(self, amount: float, now: float) -> bool:
        """Count something. @param now: seconds, which never go back. @return: whether it is too much."""
        self._left = min(BURST, self._left + (now - self._at) * EACH_SECOND) - amount
        self._at = now
        return self._left < 0
