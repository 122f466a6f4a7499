"""The kind "tcp": a public port, each connection to it one to the upstream, byte for byte."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import BurrowError
from burrow.mux.control import VisitorHead, visitor_address
from burrow.mux.pipe import PipeEnd
from burrow.protocols.base import ITunnelProtocol, Reach
from burrow.protocols.forward import Connectors, Forward
from burrow.protocols.upstream import Upstream, UpstreamFailed


class _Visitor(PipeEnd):
    """
    A visitor's connection, on the server.

    @ivar tunnel: the tunnel whose stream it is joined to; None before.
    """

    log = Logger()
    tunnel: Any = None

    def __init__(self, tunnel: Any) -> None:
        self._tunnel = tunnel

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
        tunnel.connect(stream, visitor_address(peer.host, peer.port), "tcp")
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


class _VisitorFactory(Factory):
    noisy = False

    def __init__(self, tunnel: Any) -> None:
        self._tunnel = tunnel

    def buildProtocol(self, addr: Any) -> _Visitor:
        return _Visitor(self._tunnel)


@implementer(ITunnelProtocol)
class TcpProtocol:
    """See L{ITunnelProtocol}."""

    name = "tcp"
    summary = "a TCP port: databases, SSH, anything"
    reach = Reach.TCP_PORT
    scheme = "tcp"

    def parse_upstream(self, text: str) -> Upstream:
        """See L{ITunnelProtocol}."""
        return Upstream.parse(text, ("tcp",))

    def visitor_factory(self, tunnel: Any) -> IProtocolFactory:
        """See L{ITunnelProtocol}."""
        return _VisitorFactory(tunnel)

    def agent_protocol(self, reactor: Any, upstream: Upstream, head: VisitorHead) -> IProtocol:
        """See L{ITunnelProtocol}."""
        return Forward(Connectors.get(reactor, upstream), upstream, _reset)


def _reset(stream: Forward, error: UpstreamFailed) -> None:
    """Reset the visitor's connection, as the upstream's machine would have done."""
    stream.transport.abortConnection()
