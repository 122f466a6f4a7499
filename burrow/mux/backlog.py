"""
When streams wait because the peer has not acknowledged others (L{burrow.wire.backlog}): is it slow to accept
them, or does it acknowledge late?

A peer that answers a ping has read all SYNs before it. If it acknowledges no stream within L{STALL} seconds
of that answer, it acknowledges late, and the next streams are announced.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from burrow.wire.yamux import Yamux

STALL = 0.25
"""Seconds that a full backlog may last after the answer to a ping without one acknowledgement."""


class BacklogWatch:
    """
    @param ping: sends a ping; fires with its answer. @param schedule: sends what is queued soon.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wire: Yamux,
        ping: Callable[[], Deferred[float]],
        schedule: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._wire = wire
        self._ping = ping
        self._schedule = schedule
        self._watching = False
        self._timer: IDelayedCall | None = None

    def watch(self) -> None:
        """Begin to watch, if streams wait and this does not watch already."""
        if self._watching or not self._wire.backlog.waiting:
            return
        self._watching = True
        self._ping().addCallbacks(
            self._answered, self._unanswered, callbackArgs=(self._wire.backlog.progress,)
        )

    def stop(self) -> None:
        """The session is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answered(self, round_trip: float, progress: int) -> None:
        self._timer = self._clock.callLater(STALL, self._stalled, progress)

    def _unanswered(self, reason: Failure) -> None:
        self._watching = False  # too many pings wait: the session's next sweep begins anew

    def _stalled(self, progress: int) -> None:
        self._timer = None
        self._watching = False
        if self._wire.backlog.progress == progress:
            self._wire.presume_taken()
        self.watch()
        self._schedule()
