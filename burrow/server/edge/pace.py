"""
The least that a visitor has to send of a body, or to take of an answer, while it is waited for.

A visitor that sends or takes less than C{least} bytes a second over C{window} seconds is ended: it occupies a
connection, a stream, and a connection of the upstream. Nothing is counted while nothing is awaited of the
visitor: a WebSocket, an event stream or a long poll may be quiet without limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from burrow.server.edge.sweep import Sweep


@dataclass(frozen=True, slots=True)
class Rate:
    """
    @ivar least: bytes a second; 0 for no limit. @ivar window: seconds that it is measured over.
    """

    least: float
    window: float


NO_RATE = Rate(0, 60)


class Pace:
    """
    One direction of one visitor's connection, watched while it is waited for.

    @param count: how many bytes it has moved so far; None if nothing is awaited of the visitor now.
    @param late: what to do with one that is too slow.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    def __init__(
        self, sweep: Sweep, rate: Rate, count: Callable[[], int | None], late: Callable[[], None]
    ) -> None:
        self.deadline: float | None = None
        self._sweep = sweep
        self._rate = rate
        self._count = count
        self._late = late
        self._before = 0
        self._fast = False

    def watch(self) -> None:
        """The visitor is waited for from now on. Nothing happens if it is watched already."""
        if self.deadline is None and self._rate.least:
            self._fast = False
            count = self._count()
            if count is not None:
                self._before = count
                self._sweep.add(self, self._rate.window)

    def fast_enough(self) -> None:
        """What was waited for has come: the next window begins anew. Cheap, for it is called often."""
        self._fast = True

    def stop(self) -> None:
        """Watch no more."""
        if self.deadline is not None:
            self._sweep.discard(self)

    def timed_out(self) -> None:
        """Called by the sweep: a window has passed."""
        count = self._count()
        slow = count is not None and count - self._before < self._rate.least * self._rate.window
        if slow and not self._fast:
            self._late()
        else:
            self._fast = False
            self.watch()
