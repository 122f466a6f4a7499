"""
Flow control: how many bytes the peer may send on a stream before it gets a Window Update.

Source: the yamux specification, "Flow Control". A window starts at 256 KiB; Window Update frames return the
bytes that were read. The specification has no growth; it is added here, since a window of 256 KiB carries no
more than 2.6 MB/s at a round trip of 100 ms. A window whose reader reads more than half of it in a round trip
is doubled, up to L{MAX_WINDOW} for a stream and L{SESSION_BUDGET} for all streams of a session together.

Read bytes are returned by the half of the first window, or by a sixteenth of a large one: the peer cannot
send what waits here to be returned. By halves of 16 MiB one upload at 100 ms came to 82 MB/s, now to 155.
"""

from __future__ import annotations

INITIAL_WINDOW = 256 * 1024
STEP = INITIAL_WINDOW // 2
"""Bytes that are returned by one Window Update, at least."""

MAX_WINDOW = 16 * 1024 * 1024
SESSION_BUDGET = 64 * 1024 * 1024


class GrowthBudget:
    """
    The bytes by which the windows of one session may still grow, all together.

    @ivar left: bytes.
    """

    def __init__(self, limit: int = SESSION_BUDGET) -> None:
        self.left = limit

    def take(self, amount: int) -> bool:
        """Take C{amount} bytes. @return: whether as many were left; if not, none are taken."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def give_back(self, amount: int) -> None:
        """Give back what the window of a stream had taken that is closed now."""
        self.left += amount


class ReceiveWindow:
    """
    The receive window of one stream.

    @ivar available: bytes that the peer may send before the next Window Update.
    @ivar size: bytes that it may send when everything was read.
    @ivar allowed: bytes that it was allowed to send so far, all together.
    """

    __slots__ = ("_budget", "_consumed", "_read", "_since", "allowed", "available", "size")

    def __init__(self, budget: GrowthBudget) -> None:
        self.available = INITIAL_WINDOW
        self.size = INITIAL_WINDOW
        self.allowed = INITIAL_WINDOW
        self._consumed = 0
        self._read = 0
        self._since: float | None = None
        self._budget = budget

    def received(self, amount: int) -> bool:
        """Count C{amount} bytes that came in. @return: whether the peer was allowed to send them."""
        self.available -= amount
        return self.available >= 0

    def consumed(self, amount: int, now: float, rtt: float) -> int:
        """
        Count C{amount} bytes that their user has read.

        @param now: seconds of any monotonic clock.
        @param rtt: the shortest round trip measured lately, in seconds; 0 if none was.
        @return: the delta to send in a Window Update now, or 0 for none yet. Call L{granted} when it is sent.
        """
        self._consumed += amount
        self._read += amount
        if self._consumed < STEP or 16 * self._consumed < self.size:
            return 0
        delta, self._consumed = self._consumed, 0
        if 2 * self._read >= self.size:
            if self._since is not None and self.size < MAX_WINDOW:
                # rate * rtt is the bandwidth-delay product; a window smaller than twice that limits the rate.
                elapsed = now - self._since
                if 2 * self._read * rtt > self.size * elapsed and self._budget.take(self.size):
                    delta += self.size
                    self.size *= 2
            self._since = now
            self._read = 0
        return delta

    def granted(self, delta: int) -> None:
        """Count a Window Update with C{delta} that goes out now."""
        self.available += delta
        self.allowed += delta

    def close(self) -> None:
        """The stream is closed: give back to the session's budget what this window had grown by."""
        self._budget.give_back(self.size - INITIAL_WINDOW)
        self.size = INITIAL_WINDOW
