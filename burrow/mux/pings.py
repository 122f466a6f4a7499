"""The pings of one session: those that wait for an answer, and the round trips that were measured."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from burrow.errors import StreamGone
from burrow.wire.yamux import Yamux

MAX_PINGS = 8
"""Pings that wait for their answer, at most. A peer that answers none of them is sent no more."""


class Pings:
    """
    @param clock: measures the round trips.
    @param wire: sends the pings, and gets each round trip.
    @ivar last: the last round trip in seconds; None before the first.
    """

    def __init__(self, clock: IReactorTime, wire: Yamux) -> None:
        self._clock = clock
        self._wire = wire
        self.last: float | None = None
        self._waiting: dict[int, tuple[float, Deferred[float]]] = {}

    def send(self) -> Deferred[float]:
        """
        Queue a ping. Fires with the round trip in seconds. Fails with what L{fail} is given, and at once with
        L{StreamGone} while L{MAX_PINGS} others wait.
        """
        if len(self._waiting) >= MAX_PINGS:
            return fail(StreamGone(f"the peer has not answered {MAX_PINGS} pings"))
        answer: Deferred[float] = Deferred()
        self._waiting[self._wire.ping()] = (self._clock.seconds(), answer)
        return answer

    def answered(self, opaque: int) -> float:
        """
        The peer answered the ping with this value. An answer to none of ours is ignored.

        @return: the round trip in seconds; 0 if it was none of ours.
        """
        round_trip = 0.0
        if opaque in self._waiting:
            sent, answer = self._waiting.pop(opaque)
            self.last = round_trip = self._clock.seconds() - sent
            self._wire.measured(round_trip)
            answer.callback(round_trip)
        return round_trip

    def fail(self, reason: Failure) -> None:
        """The session is lost: fail all that wait."""
        waiting, self._waiting = self._waiting, {}
        for _, answer in waiting.values():
            answer.errback(reason)
