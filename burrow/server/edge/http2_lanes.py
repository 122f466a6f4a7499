"""The streams to tunnels that an HTTP/2 connection has, and keeps for its next requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from burrow.http.http2_server.frames import Code
from burrow.server.edge.kept import KeptStream
from burrow.server.route import IRoute
from burrow.wire.windows import Allowance

MAX_KEPT = 32
"""Streams to tunnels that one connection keeps for its next requests, at most."""


@implementer(IPushProducer)
class Lane:
    """
    A stream to a tunnel, for one request of the connection at a time, and the producer of its bodies.

    @ivar full: whether it takes no more of a body now. @ivar current: whose it is now.
    @ivar stream: the L{Stream<burrow.mux.stream.Stream>}; set by L{KeptStream}.
    """

    def __init__(self, visitor: Any) -> None:
        self.full = False
        self.current: Any = None
        self.stream: Any = None
        this: Any = self
        self.kept = KeptStream(visitor.edge.sweep, this, this, visitor.answers, visitor.lanes.allowance)

    @property
    def tunnel(self) -> IRoute | None:
        """See L{Finishable<burrow.server.edge.context.Finishable>}, as for C{running} and C{finish}."""
        return self.kept.route

    running = False

    def finish(self) -> None:
        """No request has it now: give it up."""
        self.kept.drop()

    def pauseProducing(self) -> None:
        """It takes no more."""
        self.full = True

    def resumeProducing(self) -> None:
        """It takes more, or is gone."""
        self.full = False
        if self.current is not None:
            self.current.pass_body()

    stopProducing = resumeProducing


class Lanes:
    """
    Those of one connection. @ivar closed: whether none is kept any more.

    @param many: how many requests may be under way at a time.
    @ivar allowance: what their windows have in common: a visitor needs to read no answer to have as many.

    Iterating gives those that no request has now.
    """

    def __init__(self, visitor: Any, many: int) -> None:
        self.closed = False
        self.allowance = Allowance(many)  # those that are kept hold nothing
        self._visitor = visitor
        self._kept: list[Lane] = []

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._kept)

    def to(self, route: IRoute) -> Lane:
        """One to a route that an earlier request left, or a new one."""
        kept = self._kept
        for number in range(len(kept) - 1, -1, -1):
            if kept[number].kept.route is route:
                return kept.pop(number)
        return Lane(self._visitor)

    def keep(self, lane: Lane) -> None:
        """A request is answered: keep its stream for the next one, if it can be used again."""
        responses = lane.kept.responses
        if len(self._kept) == MAX_KEPT:  # of some the upstream has closed the stream meanwhile
            self._kept = [one for one in self._kept if one.kept.route is not None]
        if responses is not None and responses.usable and not self.closed and len(self._kept) < MAX_KEPT:
            self._kept.append(lane)
            lane.stream.resumeProducing()  # it waited if the visitor did not take the answer at once
        else:
            lane.kept.drop()

    def drop(self) -> None:
        """Give up those that no request has now."""
        kept, self._kept = self._kept, []
        for lane in kept:
            lane.kept.drop()


class Unwanted:
    """A body that is still being sent and not wanted. @ivar deadline: see L{Deadlined}."""

    def __init__(self, visitor: Any, id: int) -> None:
        self.deadline: float | None = None
        self._visitor = visitor
        self._id = id

    def timed_out(self) -> None:
        """Called by the sweep: the visitor has had its answer. It may have ended the stream meanwhile."""
        self._visitor.h2.reset(self._id, Code.NO_ERROR)
        self._visitor.send()
