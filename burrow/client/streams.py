"""The streams that the server opens to the agent, one for each connection of a visitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.tunnels import TunnelRequest
from burrow.errors import WireError
from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead, decode_visitor_head
from burrow.protocols.base import AgentTunnel
from burrow.traffic.hub import Traffic
from burrow.wire.windows import INITIAL_WINDOW

MEMORY = 8 * 1024 * 1024
"""Bytes for what the heads of all watched streams mean."""


class VisitorStream(Protocol):
    """Reads the head of a stream, and gives the stream to the protocol of the tunnel's kind."""

    log = Logger()
    transport: Any

    def __init__(self, streams: VisitorStreams) -> None:
        self._streams = streams
        self._data = b""
        self._head: VisitorHead | None = None

    def dataReceived(self, data: bytes) -> None:
        """More of the head, or the whole head and what follows."""
        self._data += data
        try:
            decoded = decode_visitor_head(self._data)
        except WireError as error:
            self.log.warn("the server opened a stream with a bad head; it is reset: {error}", error=error)
            self.transport.abortConnection()
            return
        if decoded is None:
            return
        self._head, self._data = decoded
        if self._head.window < INITIAL_WINDOW:
            self.transport.limit(self._head.window)
        tunnel = self._streams.open_tunnels.get(self._head.tunnel)
        if tunnel is not None:
            self._become(tunnel)
        else:
            self._streams.hold(self)

    def retry(self) -> None:
        """Use the head now, if its tunnel is known meanwhile. Called while the stream is held."""
        assert self._head is not None
        tunnel = self._streams.open_tunnels.get(self._head.tunnel)
        if tunnel is None:
            self._streams.hold(self)
            return
        self.transport.resumeProducing()
        self._become(tunnel)

    def _become(self, tunnel: AgentTunnel) -> None:
        """Give the stream to the kind's protocol. A kind is anybody's code: its failure costs this stream."""
        assert self._head is not None
        streams = self._streams
        try:
            protocol = tunnel.kind.agent_protocol(tunnel, self._head)
            if streams.traffic.listening:
                observer = tunnel.kind.observer(tunnel, self._head, streams.traffic, streams.memory)
                observer.cover(protocol, self.transport)
        except Exception:
            self.log.failure(
                "the plugin for tunnels of kind {kind} failed; a visitor's stream is reset",
                kind=tunnel.kind.name,
            )
            self.transport.abortConnection()
            return
        self.transport.become(protocol, self._data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left before the tunnel was known."""
        self._streams.held.discard(self)


class VisitorStreams(Factory):
    """
    Takes the streams of all sessions of an agent.

    @param expecting: whether the server still has to answer for a tunnel. Streams may come before the answer
        that says that their tunnel is open: they are held for so long, and reset if it does not open.
    @ivar open_tunnels: the open tunnels, by the server's id of each open tunnel.
    @param traffic: is told what passes.
    @ivar memory: what heads mean, for all watched streams together.
    @ivar held: the streams that wait for their tunnel. Nothing more is read of them.
    """

    noisy = False

    def __init__(self, reactor: Any, expecting: Callable[[], bool], traffic: Traffic | None = None) -> None:
        self.reactor = reactor
        self.traffic = traffic or Traffic()
        self.memory = Memory(MEMORY)
        self.open_tunnels: dict[str, AgentTunnel] = {}
        self.held: set[VisitorStream] = set()
        self._expecting = expecting

    def buildProtocol(self, addr: Any) -> VisitorStream:
        """The protocol of one more stream."""
        return VisitorStream(self)

    def add(self, tunnel: str, request: TunnelRequest, version: int = 1, url: str = "") -> None:
        """A tunnel is open. @param version: of its kind, as the server chose it. @param url: its URL."""
        before = self.open_tunnels.get(tunnel)
        if before is not None and before.kind is not request.kind:
            self._closed(before)
        options = {each.key: each.default for each in request.kind.options} | request.options
        self.open_tunnels[tunnel] = AgentTunnel(
            self.reactor, request.kind, request.upstream, options, version, url
        )

    def remove(self, tunnel: str) -> None:
        """A tunnel is not open any more. Streams that run go on."""
        before = self.open_tunnels.pop(tunnel, None)
        if before is not None:
            self._closed(before)

    def stop(self) -> None:
        """The agent stops: no tunnel is open any more."""
        for tunnel in list(self.open_tunnels):
            self.remove(tunnel)

    @staticmethod
    def _closed(tunnel: AgentTunnel) -> None:
        """Tell a kind that has something to do as long as its tunnel is open."""
        closed = getattr(tunnel.kind, "closed", None)
        if closed is not None:
            closed()

    def hold(self, stream: VisitorStream) -> None:
        """Keep a stream until its tunnel is known, or reset it if none is expected."""
        if self._expecting():
            stream.transport.pauseProducing()
            self.held.add(stream)
        else:
            stream.transport.abortConnection()

    def answered(self) -> None:
        """The server has answered for a tunnel: begin or reset the streams that were held for it."""
        held, self.held = self.held, set()
        for stream in held:
            stream.retry()
