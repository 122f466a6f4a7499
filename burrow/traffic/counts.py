"""What a process counts of the requests that it serves, whether or not anybody listens. No I/O."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The upper bounds, in seconds, of the buckets of L{Counts.times}; one more bucket has what took longer."""


_FIRST = BOUNDS[0]


class Times:
    """
    How long things took.

    @ivar times: how many took how long: one number for each of L{BOUNDS}, not cumulative, and one for the
        rest. @ivar seconds: the sum.
    """

    __slots__ = ("seconds", "times")

    def __init__(self) -> None:
        self.times = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        """One took so long."""
        self.times[0 if seconds <= _FIRST else bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Connections(Times):
    """
    Connections to tunnels' ports: how long those lasted that ended.

    @ivar refused: how many were closed at once, since their tunnel is not for their address.
    """

    __slots__ = ("refused",)

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0


class Counts(Times):
    """
    Requests to tunnels.

    @ivar by_class: how many ended, by the first digit of their status: 1 for those that switched to another
        protocol, 0 for those that ended without a whole answer (the visitor left, the upstream broke off).
    @ivar times: see L{Times}: until their answer was whole.
    """

    __slots__ = ("by_class",)

    def __init__(self) -> None:
        super().__init__()
        self.by_class = [0] * 10

    def ended(self, status: int, seconds: float) -> None:
        """A request ended. @param status: of its whole answer; 0 if there was none."""
        self.by_class[status // 100] += 1
        self.times[0 if seconds <= _FIRST else bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
