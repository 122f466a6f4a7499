"""An agent whose sessions lead to a server in memory, for tests."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.agent import Agent
from burrow.client.tunnels import TunnelRequest
from burrow.link.address import Credentials, ServerAddress
from burrow.link.linked import Linked
from burrow.mux.control import CloseTunnel, OpenTunnel
from burrow.protocols.http import HttpProtocol
from burrow.testing import SessionPair


class Server(amp.AMP):
    """The server's end of a control channel: answers as the test says in C{answers}."""

    def __init__(self, test):
        super().__init__()
        self.test = test

    @CloseTunnel.responder
    def close_tunnel(self, tunnel):
        self.test.closed.append(tunnel)
        return {}

    @OpenTunnel.responder
    def open_tunnel(self, kind, upstream, name=None, options=None, **more):
        answer = self.test.answers[name]
        self.test.asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Deferred):
            return answer
        return opened(name)


def opened(name):
    """The server's answer when a tunnel is open."""
    return {"tunnel": name, "name": name, "url": f"https://{name}.example.com"}


class AgentCase(SynchronousTestCase):
    """
    Runs one agent.

    @ivar answers: what the server answers, by a tunnel's name: True, an exception, or a Deferred.
    @ivar asked: the names that the server was asked for. @ivar closed: those of the tunnels that it closed.
    @ivar opened: the names of which the agent said that they are open. @ivar events: what else it said.
    @ivar pair: the present session. @ivar channel: the server's end of its control channel.
    @ivar pairs: all sessions.
    """

    def setUp(self):
        self.pairs = []
        self.answers = {}
        self.asked = []
        self.closed = []
        self.opened = []
        self.kind = HttpProtocol()
        self.events = []
        self.clock = MemoryReactorClock()

    def requests(self, *names, upstream="3000"):
        return [TunnelRequest(self.kind, self.kind.parse_upstream(upstream), name) for name in names]

    def start(self, *names, **options):
        """An agent whose dialer hands out sessions with the server above."""
        requests = self.requests(*names)
        credentials = Credentials(ServerAddress(True, "127.0.0.1", 443), "token", "agent")
        self.agent = Agent(self.clock, credentials, requests, **options)
        self.agent._dialer.dial = self.dial
        self.agent.on_opened.append(lambda opened: self.opened.append(opened.name))
        self.agent.on_event.append(lambda kind, text: self.events.append((kind, text)))
        self.agent.startService()
        self.addCleanup(self.agent.stopService)
        self.pair.pump()

    def dial(self, linked):
        def server():
            self.channel = Server(self)
            return self.channel

        self.pair = SessionPair(server_factory=Factory.forProtocol(server), clock=self.clock)
        self.pairs.append(self.pair)
        return succeed(Linked(self.pair.agent, None, "session"))

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.pair.pump()

    def change(self, *requests):
        changed = self.agent.change([*requests])
        self.pair.pump()
        return changed

    def lose(self):
        """The session ends, and the agent dials again."""
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.advance(1)
