"""One visitor's connection to the edge, without sockets: bytes in and out on both sides."""

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from burrow.http.remembered import Memory
from burrow.protocols.visits import NO_POLICIES
from burrow.server.edge.context import Edge
from burrow.server.edge.forwarded import Forwarding
from burrow.server.edge.http1 import VisitorFactory
from burrow.server.edge.sweep import Sweep
from burrow.traffic.request_id import RequestIds

PEER = "203.0.113.7"


class Wire(StringTransport):
    """
    A connection's end, as the edge sees it.

    @ivar aborted: whether it was broken off. @ivar holds: whether bytes wait in it, while it is paused.
    """

    granted = 0
    holds = False

    def __init__(self, peer):
        super().__init__()
        self.connected = True
        self.aborted = False
        self._peer = peer
        self._held = b""

    def getPeer(self):
        return self._peer

    def setTcpNoDelay(self, enabled):
        pass

    def setTcpKeepAlive(self, enabled):
        pass

    def become(self, protocol, rest):
        self.protocol, self._held = protocol, rest
        protocol.makeConnection(self)

    def resumeProducing(self):
        super().resumeProducing()
        held, self._held = self._held, b""
        if held:
            self.protocol.dataReceived(held)

    def unregisterProducer(self):
        self.producer = None  # as often as one likes, as of a socket

    def loseWriteConnection(self):
        pass

    def abortConnection(self):
        self.aborted = True
        self.connected = False

    def loseConnection(self):
        super().loseConnection()
        self.connected = False


class Peer:
    type = "TCP"

    def __init__(self, host=PEER, port=4711):
        self.host = host
        self.port = port


class Exchange:
    """
    A visitor of a tunnel that is there, and whose upstream is the test.

    @ivar visitor: what the visitor sees. @ivar streams: what the upstream sees, one each stream.
    """

    name = "t"
    alive = True
    may_have_moved = False
    policies = NO_POLICIES
    share = None
    requests = 0

    def __init__(
        self, *, peer=PEER, scheme="https", domain="example.com", own=None, memory=None, **forwarding
    ):
        self.streams, self.allowances = [], []
        self.edge = Edge(
            find=lambda host, asking: self,
            own=own or (lambda head: None),
            sweep=Sweep(Clock()),
            forwarding=Forwarding(**forwarding),
            domain=domain,
            idle_timeout=75.0,
            response_timeout=120.0,
            memory=memory or Memory(),
            request_ids=RequestIds(0x0123456700000000),
        )
        self.visitor = Wire(Peer(peer))
        self.visitor.protocol = VisitorFactory(self.edge, scheme).buildProtocol(None)
        self.visitor.protocol.makeConnection(self.visitor)

    def connect(self, protocol, visitor, scheme, allowance=None):
        self.address, self.scheme = visitor, scheme
        self.allowances.append(allowance)
        stream = Wire(None)
        self.streams.append(stream)
        stream.protocol = protocol
        protocol.makeConnection(stream)

    def ask(self, data, step=None):
        """The visitor sends C{data}, in pieces of C{step} bytes. Returns what the upstream has got."""
        step = step or len(data) or 1
        for start in range(0, len(data), step):
            if not self.gone(self.visitor):
                self.visitor.protocol.dataReceived(data[start : start + step])
        return self.upstream

    def answer(self, data, step=None, *, end=False):
        """The upstream sends C{data}, and perhaps closes its half. Returns what the visitor has got."""
        step = step or len(data) or 1
        for start in range(0, len(data), step):
            if not self.gone(self.streams[-1]):
                self.streams[-1].protocol.dataReceived(data[start : start + step])
        if end and not self.gone(self.streams[-1]):
            self.streams[-1].protocol.readConnectionLost()
        return self.visitor.value()

    @staticmethod
    def gone(wire):
        return wire.aborted or wire.disconnecting

    @property
    def upstream(self):
        """All that the upstream got."""
        return b"".join(stream.value() for stream in self.streams)

    @property
    def status(self):
        """The status of the visitor's (first) answer; 0 for none."""
        data = self.visitor.value()
        return int(data.split(b" ", 2)[1]) if data else 0
