"""A visitor's connection after 101: a pipe to the upstream, whose halves close one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.pipe import PipeEnd
from burrow.server.edge.context import Edge, Finishable
from burrow.server.edge.pace import Pace
from burrow.server.route import IRoute
from burrow.sockets import idle, lowest_transport, taken


@implementer(IPushProducer)
class _Watched:
    """A producer whose pauses are watched: while it is paused, the visitor has to take something."""

    def __init__(self, source: Any, pace: Pace) -> None:
        self._source = source
        self._pace = pace
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True
        self._source.pauseProducing()
        self._pace.watch()

    def resumeProducing(self) -> None:
        self.paused = False
        self._pace.fast_enough()
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        self._source.stopProducing()

    @property
    def holds(self) -> bool:
        """See L{Inbound<burrow.mux.inbound.Inbound>}."""
        holds: bool = self._source.holds
        return holds


class Upgraded(PipeEnd):
    """
    The visitor's end.

    @param ended: whether the visitor has closed its half already.
    @param silent: whether nothing passes; asked of the transport's socket if None.
    @ivar tunnel: the tunnel that this connection has a stream of. @ivar asked: it did, before.
    """

    asked = True

    def __init__(
        self, edge: Edge, tunnel: IRoute | None, *, ended: bool, silent: Callable[[], bool] | None = None
    ) -> None:
        self.ended = ended
        self.tunnel = tunnel
        self._edge = edge
        self._silent = silent
        self._watched: _Watched | None = None
        self._pace = Pace(edge.sweep, edge.rate, self._taken, self._late)
        edge.visitors.add(self)
        self._share = None if tunnel is None else tunnel.share
        if self._share is not None:
            self._share.load += 1

    def fed_by(self, source: Any) -> Any:
        """See L{PipeEnd}."""
        self._watched = _Watched(source, self._pace)
        return self._watched

    @property
    def running(self) -> bool:
        """Whether there is something to finish: see L{burrow.server.finishing}."""
        return not (idle(self.transport) if self._silent is None else self._silent())

    def parts(self) -> Iterable[Finishable]:
        """See L{Connected<burrow.server.edge.context.Connected>}."""
        return (self,)

    def finish(self) -> None:
        """Nothing runs here: close the connection, and the stream with it."""
        self.transport.unregisterProducer()  # TLS in Twisted would wait for its end
        self.transport.loseConnection()
        lowest_transport(self.transport).loseConnection()  # nor wait for the visitor's close_notify

    end = finish

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor is gone."""
        self._edge.visitors.discard(self)
        if self._share is not None:
            self._share.load -= 1
        self._pace.stop()
        super().connectionLost(reason)

    def _taken(self) -> int | None:
        if self._watched is None or not self._watched.paused:
            return None
        return taken(self.transport)

    def _late(self) -> None:
        self.transport.abortConnection()
