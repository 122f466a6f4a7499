"""The streams that the server opens to the agent, one a visitor's connection."""

from __future__ import annotations

import typing
from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.tunnels import TunnelRequest
from burrow.errors import WireError
from burrow.mux.control import decode_visitor_head


class TunnelsOfAgent(typing.Protocol):
    """
    What they need of the agent.

    @ivar open_tunnels: the requests by the tunnel that the server opened for each.
    @ivar waiting_streams: streams whose tunnel is not known yet.
    """

    reactor: Any
    open_tunnels: dict[str, TunnelRequest]
    waiting_streams: set[VisitorStream]

    def wait_for_tunnel(self, stream: VisitorStream) -> None:
        """Look again once more tunnels are known, or end it."""
        ...


class VisitorStream(Protocol):
    """Reads its head, then is replaced by the protocol of the tunnel's kind."""

    log = Logger()
    transport: Any

    def __init__(self, agent: TunnelsOfAgent) -> None:
        self._agent = agent
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        """More of the head, or what is behind it."""
        self._data += data
        self.look()

    def look(self) -> None:
        """Use the head, if it is whole and its tunnel known."""
        transport = self.transport
        try:
            decoded = decode_visitor_head(self._data)
        except WireError as error:
            self.log.warn("a visitor's stream cannot be understood: {error}", error=error)
            transport.abortConnection()
            return
        if decoded is None:
            return
        head, rest = decoded
        request = self._agent.open_tunnels.get(head.tunnel)
        if request is None:
            self._agent.wait_for_tunnel(self)
            return
        protocol = request.kind.agent_protocol(self._agent.reactor, request.upstream, head)
        transport.resumeProducing()
        transport.become(protocol, rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left before its tunnel was known."""
        self._agent.waiting_streams.discard(self)


class VisitorStreams(Factory):
    """Takes the streams."""

    noisy = False

    def __init__(self, agent: TunnelsOfAgent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: Any) -> VisitorStream:
        return VisitorStream(self._agent)
