"""
Flow control: how much a peer may send before it must hear from us again.

Source: the yamux specification, "Flow Control". A window starts at 256 KiB; what was read is given
back by Window Update frames. The growth is our own: a fixed window of 256 KiB carries 2.6 MB/s at
100 ms of round trip, so a window that its reader empties faster than two bandwidth-delay products
is doubled, up to a limit for the stream and a budget for the whole session.
"""

from __future__ import annotations

INITIAL_WINDOW = 256 * 1024
MAX_WINDOW = 16 * 1024 * 1024
SESSION_BUDGET = 64 * 1024 * 1024


class GrowthBudget:
    """How many bytes all the windows of one session may have grown by, together."""

    def __init__(self, limit: int = SESSION_BUDGET) -> None:
        self.left = limit

    def take(self, amount: int) -> bool:
        """Whether C{amount} more bytes fit; they are taken if they do."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def give_back(self, amount: int) -> None:
        """Return what a closed stream had taken."""
        self.left += amount


class ReceiveWindow:
    """
    What the peer may still send on one stream.

    @ivar available: bytes that the peer may send now, by what we told it.
    @ivar size: bytes that the window has when all is read.
    """

    __slots__ = ("_budget", "_consumed", "_updated", "available", "size")

    def __init__(self, budget: GrowthBudget) -> None:
        self.available = INITIAL_WINDOW
        self.size = INITIAL_WINDOW
        self._consumed = 0
        self._updated: float | None = None
        self._budget = budget

    def received(self, amount: int) -> bool:
        """Count C{amount} bytes in; False if the peer was not allowed to send them."""
        self.available -= amount
        return self.available >= 0

    def consumed(self, amount: int, now: float, rtt: float) -> int:
        """
        Count C{amount} bytes as read by their user.

        @param now: seconds of any monotonic clock.
        @param rtt: the shortest round trip measured lately, in seconds; 0 if none was.
        @return: the delta to send in a Window Update now, or 0 for none yet. Call L{granted} when it is sent.
        """
        self._consumed += amount
        if self._consumed * 2 < self.size:
            return 0
        delta = self._consumed
        if self._updated is not None and self.size < MAX_WINDOW:
            # rate * rtt is the bandwidth-delay product; a window below twice that holds it back.
            elapsed = now - self._updated
            if 2 * self._consumed * rtt > self.size * elapsed and self._budget.take(self.size):
                delta += self.size
                self.size *= 2
        self._updated = now
        self._consumed = 0
        return delta

    def granted(self, delta: int) -> None:
        """A Window Update with C{delta} goes out now: the peer may send so many bytes more."""
        self.available += delta

    def close(self) -> None:
        """Give the session back what this window had grown by."""
        self._budget.give_back(self.size - INITIAL_WINDOW)
        self.size = INITIAL_WINDOW
