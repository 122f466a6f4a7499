"""A tunnel of a kind in memory: lets the author of a kind test it without a network."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from burrow.client.streams import VisitorStreams
from burrow.client.tunnels import TunnelRequest
from burrow.mux.control import VisitorHead, visitor_address
from burrow.mux.pipe import PipeEnd
from burrow.protocols.base import Kind, Reach
from burrow.protocols.forward import Connectors
from burrow.protocols.options import read_options, sent_options
from burrow.protocols.upstream import UpstreamFailed
from burrow.server.given import read_given
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair
from burrow.testing.datagrams import DatagramClock, MemoryPort
from burrow.traffic.hub import Listener, Traffic
from burrow.traffic.record import Record


class MemoryTunnel:
    """
    An open tunnel without a network: visitors, server, agent and upstream of a kind, joined in memory.

    Options are read as the agent reads them, and what the server has to know is checked as the server does.
    Bytes move when L{pump} is called, and time when the test advances C{clock}.

    @param kind: a provider of L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}.
    @param given: options, by key: texts, as on the command line, or values, as in a file.
    @param upstream: builds a protocol for each connection to the upstream; by default
        L{HalfCloseRecorder}s. @param address: of the upstream, as a person would write it.
    @ivar built: the protocols of the upstream, in order; C{upstream} must be a L{Recorders} for it.
    @ivar sockets: of a kind whose upstream takes datagrams the agent's sockets, in order: each a
        L{MemorySocket<burrow.testing.datagrams.MemorySocket>}.
    @ivar records: of what the kind tells of, each from its beginning.
    @ivar agent_options, server_options: the options as each role sees them.
    @ivar refusing: while this is an L{UpstreamFailed}, the upstream cannot be connected to.
    @raise ConfigError: an option or the address is not possible. @raise BadOption: likewise, at the server.
    """

    NAME = "test"
    PEER = IPv4Address("TCP", "192.0.2.1", 50_000)

    def __init__(
        self,
        kind: Kind,
        given: dict[str, Any] | None = None,
        upstream: IProtocolFactory | None = None,
        address: str = "6000",
    ) -> None:
        self.kind = kind
        self.clock = DatagramClock()
        self.sockets = self.clock.sockets
        self.refusing: UpstreamFailed | None = None
        self.agent_options = read_options(kind.options, given or {})
        kind.check_options(self.agent_options)
        told = json.loads(json.dumps(sent_options(kind.options, self.agent_options)))
        self.server_options = self.options = read_given(kind, told)
        self.version = kind.version
        self.requests = 0
        where = kind.parse_upstream(address, self.agent_options)
        recorders = Recorders(HalfCloseRecorder)
        self.built = recorders.built if upstream is None else getattr(upstream, "built", [])
        traffic, notes = Traffic(), _Notes()
        traffic.add(notes)
        self.records = notes.records
        streams = VisitorStreams(self.clock, lambda: False, traffic)
        streams.add(self.NAME, TunnelRequest(kind, where, self.NAME, self.agent_options), kind.version)
        self._middle = SessionPair(agent_factory=streams, clock=self.clock)
        self._behind = SessionPair(server_factory=upstream or recorders, clock=self.clock)
        self._before = SessionPair(clock=self.clock)
        if kind.reach is Reach.UDP_PORT:
            self._datagrams = MemoryPort(self.clock, kind.visitor_factory(self))
        elif kind.reach is not Reach.HOST:
            self._before = SessionPair(
                server_factory=_Port(kind.visitor_factory(self), self.PEER), clock=self.clock
            )
        Connectors.use(self.clock, where, _Connector(self, self._behind))

    def visit(self, protocol: Any = None) -> Any:
        """
        A visitor comes.

        @param protocol: the visitor's; by default a L{HalfCloseRecorder}.
        @return: it; of a kind that is reached by a UDP port a L{DatagramVisitor
            <burrow.testing.datagrams.DatagramVisitor>}.
        """
        if self.kind.reach is Reach.UDP_PORT:
            return self._datagrams.visit()
        visitor = HalfCloseRecorder() if protocol is None else protocol
        if self.kind.reach is Reach.HOST:
            self.connect(visitor, visitor_address(self.PEER.host, self.PEER.port), "https")
        else:
            self._before.agent.open_stream(visitor)
        self.pump()
        return visitor

    def pump(self, turns: int = 100_000) -> None:
        """Move bytes until nothing moves. @raise AssertionError: not within C{turns} turns."""
        for _ in range(turns):
            moved = [pair.turn() for pair in (self._before, self._middle, self._behind)]
            if not any(moved):
                return
        raise AssertionError("the tunnel never comes to rest")

    async def found(self) -> MemoryTunnel:
        """What the kind's C{visitor_factory} asks for: the tunnel."""
        return self

    def connect(self, protocol: Any, visitor: str, scheme: str) -> None:
        """Likewise: open a visitor's stream to the agent."""
        self._middle.server.open_stream(protocol, VisitorHead(self.NAME, visitor, scheme).encode())


class _Connector:
    """What the agent connects to the upstream with. @param behind: has the upstream at its server."""

    def __init__(self, tunnel: MemoryTunnel, behind: SessionPair) -> None:
        self._tunnel = tunnel
        self._behind = behind

    def connect_now(self, other: PipeEnd | None = None) -> PipeEnd | None:
        """See L{burrow.protocols.connecting.Connector}."""
        if self._tunnel.refusing is not None:
            return None
        end = PipeEnd()
        end.other = other
        self._behind.agent.open_stream(end)
        return end

    async def connect(self) -> PipeEnd:
        """Likewise. @raise UpstreamFailed: the test has it so."""
        if self._tunnel.refusing is not None:
            raise self._tunnel.refusing
        end = self.connect_now()
        assert end is not None
        return end


class _Notes(Listener):
    """Keeps the records of what begins."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def begun(self, record: Record) -> None:
        self.records.append(record)


@implementer(IProtocolFactory)
class _Port:
    """Visitors' streams as a factory for a TCP port expects its connections."""

    def __init__(self, factory: IProtocolFactory, peer: IPv4Address) -> None:
        self._factory = factory
        self._peer = peer

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, addr: object) -> Any:
        protocol: Any = self._factory.buildProtocol(self._peer)
        connect = protocol.makeConnection

        def with_peer(transport: Any) -> None:
            transport.getPeer = lambda: self._peer
            connect(transport)

        protocol.makeConnection = with_peer
        return protocol
