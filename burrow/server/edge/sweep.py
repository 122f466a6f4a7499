"""Deadlines of connections without a timer for each: all are checked once a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from burrow.repeat import repeating

INTERVAL = 1.0


class Deadlined(Protocol):
    """
    Something with a deadline.

    @ivar deadline: in the clock's seconds; set by the sweep.
    """

    deadline: float | None

    def timed_out(self) -> None:
        """The deadline has passed, by up to L{INTERVAL}. It is cleared already."""
        ...


class Sweep:
    """
    Calls L{Deadlined.timed_out} of those whose deadline has passed. Bounded by the open connections.

    @ivar clock: by which it goes. @ivar now: returns the clock's seconds.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.now: Callable[[], float] = clock.seconds
        self._members: set[Deadlined] = set()
        self._loop = repeating(clock, self._check, "ending what takes too long")

    def __iter__(self) -> Iterator[Deadlined]:
        """Those that have a deadline now."""
        return iter(self._members)

    def start(self) -> None:
        """Begin to check."""
        self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Check no more."""
        if self._loop.running:
            self._loop.stop()

    def add(self, member: Deadlined, seconds: float) -> None:
        """Give C{member} so many seconds from now, whatever it had before."""
        member.deadline = self.clock.seconds() + seconds
        self._members.add(member)

    def discard(self, member: Deadlined) -> None:
        """C{member} has no deadline any more."""
        member.deadline = None
        self._members.discard(member)

    def _check(self) -> None:
        now = self.clock.seconds()
        late = [member for member in self._members if member.deadline is not None and member.deadline <= now]
        for member in late:
            if member.deadline is not None and member.deadline <= now:  # unless one before changed it
                self.discard(member)
                member.timed_out()
