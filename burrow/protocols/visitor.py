"""On the server: a visitor's connection to a tunnel's port, joined to a stream to the agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import BurrowError
from burrow.mux.control import visitor_address
from burrow.mux.pipe import PipeEnd


class Visitor(PipeEnd):
    """
    A visitor's connection, on the server.

    @ivar tunnel: the tunnel whose stream it is joined to; None before.
    """

    log = Logger()
    tunnel: Any = None

    def __init__(self, tunnel: Any, scheme: str) -> None:
        self._tunnel = tunnel
        self._scheme = scheme

    def connectionMade(self) -> None:
        """Open the stream that carries it."""
        super().connectionMade()
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._finding = Deferred.fromCoroutine(self._connect())
        self._finding.addErrback(self._failed)

    async def _connect(self) -> None:
        peer = self.transport.getPeer()
        tunnel = await self._tunnel.found()
        stream = PipeEnd()
        tunnel.connect(stream, visitor_address(peer.host, peer.port), self._scheme)
        self.tunnel = tunnel
        tunnel.requests += 1
        self.join(stream)

    def _failed(self, reason: Failure) -> None:
        if not reason.check(BurrowError, CancelledError):
            self.log.failure("a visitor's connection failed", reason)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left, perhaps before its tunnel was found."""
        self._finding.cancel()
        super().connectionLost(reason)


class VisitorFactory(Factory):
    """
    Serves the port of one tunnel.

    @param tunnel: see L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}.
    @param scheme: how visitors come, as the agent is told.
    @param admits: whether a visitor may connect, by its address; of who may not, the connection is closed
        before a stream is opened.
    """

    noisy = False

    def __init__(self, tunnel: Any, scheme: str, admits: Callable[[str], bool] = lambda host: True) -> None:
        self._tunnel = tunnel
        self._scheme = scheme
        self._admits = admits

    def buildProtocol(self, addr: Any) -> Visitor | None:
        """None for a visitor that may not connect."""
        if not self._admits(addr.host):
            return None
        return Visitor(self._tunnel, self._scheme)
