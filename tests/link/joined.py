"""Both ends of a link in memory: Autobahn's handshake and frames, on a clock that the test moves."""

from types import SimpleNamespace

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.link.accept import AcceptFactory
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import Dialer, DialFactory

NOWHERE = IPv4Address("TCP", "127.0.0.1", 54321)


@implementer(IReactorPluggableNameResolver)
class Reactor(Clock):
    """A clock that an endpoint for a name takes, and does not ask."""

    nameResolver = None

    def installNameResolver(self, resolver):
        raise NotImplementedError


class Socket(StringTransport):
    """
    One end's transport. It takes everything at once, and asks its producer for more.

    @ivar ended: how this end ended it, the first time; empty before.
    """

    ended = ""

    def __init__(self):
        super().__init__(peerAddress=NOWHERE)

    def unregisterProducer(self):
        self.producer = None

    def abortConnection(self):
        self.ended = self.ended or "aborted"

    def loseConnection(self):
        self.disconnecting = True
        self.ended = self.ended or "lost"


class Connection:
    """
    A TCP connection between two protocols.

    @ivar first: the first bytes that the agent sent, until the server's first answer.
    """

    def __init__(self, agent, server):
        self.ends = (agent, server)
        self.first = b""
        for end in self.ends:
            end.makeConnection(Socket())

    def pump(self):
        """Deliver until neither side has anything to say. Whatever one end ends, ends for both."""
        moved = True
        while moved and not self.over:
            moved = False
            for here, there in (self.ends, self.ends[::-1]):
                data = here.transport.value()
                here.transport.clear()
                if here is self.ends[0] and not self.first:
                    self.first = data
                if data and not there.transport.ended:
                    moved = True
                    there.dataReceived(data)
                if here.transport.producer is not None:
                    here.transport.producer.resumeProducing()
        if self.over and self.ends:
            self.cut()

    @property
    def over(self):
        return not self.ends or any(end.transport.ended for end in self.ends)

    def cut(self):
        """Both ends lose it."""
        ends, self.ends = self.ends, ()
        for end in ends:
            how = ConnectionAborted if end.transport.ended == "aborted" else ConnectionDone
            end.connectionLost(Failure(how()))


class Joined:
    """
    A server and the agents that dial it.

    @ivar refusal: what the server's C{authenticate} raises; None for nothing.
    @ivar sessions: what it was told of each new session: the session, its lifeline, its identity, and the
        handshake.
    @ivar connections: all connections, in order.
    """

    def __init__(self, **options):
        self.clock = Reactor()
        self.refusal = None
        self.sessions, self.connections = [], []

        async def authenticate(handshake):
            if self.refusal is not None:
                raise self.refusal
            return "somebody"

        self.server = AcceptFactory(
            self.clock,
            authenticate,
            lambda *begun: self.sessions.append(begun),
            lambda identity, handshake: (identity, handshake.agent),
            **options,
        )
        self.server._batched_timer = SimpleNamespace(call_later=self.clock.callLater)

    def dialer(self, host="127.0.0.1", agent="agent-1234"):
        """A dialer whose connections are here."""
        dialer = Dialer(self.clock, Credentials(ServerAddress(False, host, 80), "right", agent))
        dialer._endpoint = SimpleNamespace(connect=self.connect)
        return dialer

    async def connect(self, factory):
        """Stands in for the endpoint's method."""
        agent = factory.buildProtocol(None)
        self.connections.append(Connection(agent, self.server.buildProtocol(NOWHERE)))
        self.clock.callLater(0, self.pump)
        return agent

    def pump(self):
        """Deliver all that waits, on all connections."""
        for _ in range(20):
            self.clock.advance(0)
            for connection in self.connections:
                connection.pump()

    def pass_time(self, seconds):
        """Let so much time pass, in quarters of a second."""
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            self.pump()


def client(credentials=None, previous=None):
    """An agent's protocol on a new connection, without a server, and its clock."""
    clock = Clock()
    credentials = credentials or Credentials(ServerAddress(False, "127.0.0.1", 80), "right", "agent-1234")
    factory = DialFactory(clock, credentials, previous)
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(Socket())
    return protocol, factory, clock
