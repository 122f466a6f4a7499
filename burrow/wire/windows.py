"""
Flow control: how many bytes the peer may send on a stream before it gets a Window Update.

Source: the yamux specification, "Flow Control". A window starts at 256 KiB; Window Update frames return the
bytes that were read. The specification has no growth; it is added here, since a window of 256 KiB carries no
more than 2.6 MB/s at a round trip of 100 ms. A window whose reader reads more than half of it in a round trip
is doubled, up to L{MAX_WINDOW} for a stream and L{SESSION_BUDGET} for all streams of a session together.

Read bytes are returned by the half of the first window, or by a sixteenth of a large one: the peer cannot
send what waits here to be returned. By halves of 16 MiB one upload at 100 ms came to 82 MB/s, now to 155.

Streams that one visitor makes us open, as many as it likes and without reading any, share an L{Allowance}:
the further ones begin with less than 256 KiB. The specification has no smaller first window either; the peer
is told of it in what the stream begins with, and one that does not know of it sends 256 KiB all the same.
"""

from __future__ import annotations

INITIAL_WINDOW = 256 * 1024
STEP = INITIAL_WINDOW // 2
"""Bytes that are returned by one Window Update, at least."""

MAX_WINDOW = 16 * 1024 * 1024
SESSION_BUDGET = 64 * 1024 * 1024

LEAST_WINDOW = 32 * 1024
"""Bytes of a first window that is smaller, at least: most small answers are whole within it."""

UNREAD = 4 * 1024 * 1024
"""Bytes of all windows under one L{Allowance} of which nothing was read."""

EARNED = 4 * 1024 * 1024
"""Bytes more that they may have by what is read, however slowly."""


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


class Allowance:
    """
    What the windows of several streams have in common: those of one connection of a visitor's.

    Each begins with L{LEAST_WINDOW} and a quarter of what is left of L{UNREAD} by then, so that the first has
    256 KiB, as any stream has. One of which half is read is doubled, up to 256 KiB, from what is left and
    from what was earned: twice what was read of all of them, L{EARNED} at most. (To give four times as much
    makes the first ones faster, and all together slower.) Windows grow by their round trips, too, as those of
    any stream do, but by L{MAX_WINDOW} all together.

    @param streams: how many there may be at a time.
    @ivar growth: what they may grow by their round trips.
    """

    def __init__(self, streams: int) -> None:
        self.growth = GrowthBudget(MAX_WINDOW)
        self._left = UNREAD - streams * LEAST_WINDOW
        self._unearned = EARNED

    @property
    def first(self) -> int:
        """Bytes of the window with which the next stream will begin."""
        return LEAST_WINDOW + min(INITIAL_WINDOW - LEAST_WINDOW, self._left // 4)

    def read(self, amount: int) -> None:
        """So many bytes were read of one of them."""
        if self._unearned:
            earned = min(2 * amount, self._unearned)
            self._unearned -= earned
            self._left += earned

    def take(self, wanted: int) -> int:
        """@return: how many bytes more a window has from now on: C{wanted} at most."""
        taken = min(wanted, self._left)
        self._left -= taken
        return taken

    def give_back(self, amount: int) -> None:
        """The window of a stream is closed that had taken so many bytes beyond L{LEAST_WINDOW}."""
        self._left += amount


class Told(Allowance):
    """
    For one stream, whose first window somebody else has chosen: of what comes, so much is wanted before some
    is read. It grows by its round trips alone.

    @param window: bytes.
    """

    def __init__(self, window: int) -> None:
        super().__init__(0)
        self._window = window

    @property
    def first(self) -> int:
        """See L{Allowance}."""
        return self._window

    def take(self, wanted: int) -> int:
        """See L{Allowance}."""
        return 0


def first_window(allowance: Allowance | None) -> int:
    """Bytes of the window with which the next stream under an allowance, or under none, will begin."""
    return INITIAL_WINDOW if allowance is None else allowance.first


class ReceiveWindow:
    """
    The receive window of one stream.

    Under an L{Allowance} the peer may send 256 KiB before its first Window Update, as the specification says,
    and is asked for less. What follows is the same whether it does as it is asked or not: it is returned what
    was read, and more as the window grows.

    @param budget: what windows of the same session may grow.
    @param allowance: what it has in common with other streams of the same visitor; None for nothing.
    @ivar available: bytes that the peer may send before the next Window Update.
    @ivar size: bytes that it may send when everything was read.
    @ivar allowed: bytes that it was allowed to send so far, all together.
    """

    __slots__ = (
        "_allowance",
        "_budget",
        "_consumed",
        "_grown",
        "_read",
        "_since",
        "_step",
        "_taken",
        "allowed",
        "available",
        "size",
    )

    def __init__(self, budget: GrowthBudget, allowance: Allowance | None = None) -> None:
        self.available = self.size = self.allowed = INITIAL_WINDOW
        self._step = STEP
        self._consumed = self._read = self._grown = self._taken = 0
        self._since: float | None = None
        self._budget = budget
        self._allowance = allowance
        if allowance is not None:
            self.size = allowance.first
            self._taken = allowance.take(self.size - LEAST_WINDOW)
            self._step = self.size // 2

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
        if self._consumed < self._step or 16 * self._consumed < self.size:
            return 0
        delta, self._consumed = self._consumed, 0
        if self._allowance is not None:
            delta += self._take_more(self._allowance, delta)
        if 2 * self._read >= self.size:
            if self._since is not None and self.size < MAX_WINDOW:
                # rate * rtt is the bandwidth-delay product; a window smaller than twice that limits the rate.
                elapsed = now - self._since
                if 2 * self._read * rtt > self.size * elapsed:
                    delta += self._double()
            self._since = now
            self._read = 0
        return delta

    def granted(self, delta: int) -> None:
        """Count a Window Update with C{delta} that goes out now."""
        self.available += delta
        self.allowed += delta

    def close(self) -> None:
        """The stream is closed: give back what this window had grown by, and more than the least. Once."""
        self._budget.give_back(self._grown)
        if self._allowance is not None:
            self._allowance.growth.give_back(self._grown)
            self._allowance.give_back(self._taken)

    def _take_more(self, allowance: Allowance, read: int) -> int:
        """What a window that began with less than 256 KiB gets when so much of it was read."""
        allowance.read(read)
        if self.size >= INITIAL_WINDOW:
            return 0
        more = allowance.take(min(self.size, INITIAL_WINDOW - self.size))
        self._taken += more
        return self._add(more)

    def _double(self) -> int:
        """@return: how many bytes more the window has now; 0 if a budget does not have them."""
        more, allowance = self.size, self._allowance
        if not self._budget.take(more):
            return 0
        if allowance is not None and not allowance.growth.take(more):
            self._budget.give_back(more)
            return 0
        self._grown += more
        return self._add(more)

    def _add(self, more: int) -> int:
        self.size += more
        self._step = min(self.size // 2, STEP)
        return more
