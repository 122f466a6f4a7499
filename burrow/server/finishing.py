"""
Ends visitors' connections when a server stops, or an agent has closed their tunnel: idle ones at once,
running ones when they are done. What counts as running::

    an HTTP exchange                    from the first byte of the request until the answer is written; those
                                        of one HTTP/2 connection each by itself
    a WebSocket, an event stream,       while it is not idle: see L{burrow.sockets.idle}
    a TCP connection, or one to a
    private tunnel
    datagrams                           never
    a connection without a request yet  L{FRESH} seconds: the request may be on its way

Mostly, what is idle are connections that HTTP visitors keep for a next request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.task import LoopingCall, deferLater

from burrow.protocols.udp.private import StreamVisitor
from burrow.protocols.udp.visitors import UdpVisitor
from burrow.server.edge.context import Edge
from burrow.server.edge.front import PlainFront
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import TLSFront
from burrow.sockets import QUIET, idle

FRESH = 1.0
"""Seconds that a connection has to send its first request, from when the server stops."""

POLL_EVERY = 0.1
"""Seconds between two checks of what still runs on a server that stops."""

_POLL_CLOSED = 0.5
"""Seconds between two checks of what still runs on tunnels that are closed."""


class Watch:
    """
    How long a connection on a stream has been silent both ways. No socket tells it, as L{idle} asks it; so
    what passes is looked at from when the server stops.

    @param visitor: its protocol.
    """

    def __init__(self, clock: Any, visitor: Any) -> None:
        self._clock = clock
        self._last = clock.seconds()
        visitor.dataReceived = self._before(visitor.dataReceived)
        visitor.transport.write = self._before(visitor.transport.write)

    def _before(self, call: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def passing(data: bytes) -> None:
            self._last = self._clock.seconds()
            call(data)

        return passing

    @property
    def seconds(self) -> float:
        """How long."""
        silent: float = self._clock.seconds() - self._last
        return silent


class Finishing:
    """
    @param edge: has the HTTP visitors' connections. @param ports: returns those to TCP ports.
    @param held: whether the tunnel of a route is open, here or on another node.
    @param elsewhere: whether something runs here for another node.
    @param private: returns the connections to private tunnels, whose transports are agents' streams.
    """

    def __init__(
        self,
        clock: Any,
        edge: Edge,
        sweep: Sweep,
        ports: Callable[[], Iterable[Any]],
        held: Callable[[Any], bool],
        elsewhere: Callable[[], bool],
        private: Callable[[], Iterable[Any]] = lambda: (),
    ) -> None:
        self._private = private
        self._watched: WeakKeyDictionary[Any, Watch] = WeakKeyDictionary()
        self._clock = clock
        self._edge = edge
        self._sweep = sweep
        self._ports = ports
        self._held = held
        self._elsewhere = elsewhere
        self._began: float | None = None
        self._closed = LoopingCall(self._end_idle)
        self._closed.clock = clock

    # -- a server that stops ------------------------------------------------------------------------------

    async def finish(self, within: float) -> None:
        """
        End what is idle, now and as it becomes so; return when nothing runs, or after C{within} seconds.
        """
        ends = self._clock.seconds() + within
        while self.running() and self._clock.seconds() < ends:
            await deferLater(self._clock, POLL_EVERY)

    def serve_fronts(self) -> None:
        """Connections of the plain port whose head has not come are visitors from now on, like all others."""
        for front in list(self._sweep):
            if isinstance(front, PlainFront):
                front.serve()

    @property
    def greeting(self) -> bool:
        """Whether a visitor's ClientHello is waited for: it comes, or the connection ends, within seconds."""
        return any(isinstance(each, TLSFront) for each in self._sweep)

    def running(self) -> bool:
        """End what is idle. @return: whether something still runs."""
        now = self._clock.seconds()
        if self._began is None:
            self._began = now
        fresh = now - self._began < FRESH
        running = self._elsewhere() or (fresh and self.greeting)
        for visitor in list(self._edge.visitors):
            if visitor.running:
                running = True
                for part in visitor.parts():
                    if not part.running:
                        part.finish()
            elif fresh and not visitor.asked:
                running = True
            else:
                visitor.end()
        for visitor in list(self._ports()):
            if isinstance(visitor, UdpVisitor):
                visitor.end()  # nobody can tell whether it would have said more
            elif not idle(visitor.transport):
                running = True
            elif not visitor.transport.disconnecting:
                visitor.transport.loseConnection()
        for visitor in list(self._private()):
            if isinstance(visitor, StreamVisitor):
                visitor.close()
                continue
            if visitor not in self._watched:
                self._watched[visitor] = Watch(self._clock, visitor)
            if self._watched[visitor].seconds < QUIET:
                running = True
            else:
                visitor.transport.loseConnection()
        return running

    # -- tunnels that are closed --------------------------------------------------------------------------

    def end_idle(self) -> None:
        """
        A tunnel was closed, here or on another node: end its idle connections, now and as they become so.
        """
        if not self._closed.running:
            self._closed.start(_POLL_CLOSED, now=False)
            self._clock.callLater(0, self._end_idle)

    def stop(self) -> None:
        """Stop ending the connections of closed tunnels."""
        if self._closed.running:
            self._closed.stop()

    def _end_idle(self) -> None:
        left = False
        for visitor in list(self._edge.visitors):
            for part in visitor.parts():
                tunnel = part.tunnel
                if tunnel is None or self._held(tunnel):
                    continue
                if part.running:
                    left = True
                else:
                    part.finish()
        for visitor in list(self._ports()):
            tunnel = getattr(visitor, "tunnel", None)
            if tunnel is None or self._held(tunnel):
                continue
            if isinstance(visitor, UdpVisitor):
                visitor.end()
            elif idle(visitor.transport):
                visitor.transport.loseConnection()
            else:
                left = True
        if not left:
            self.stop()
