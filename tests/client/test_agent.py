"""Tests for L{burrow.client.agent}: what it asks for again, on a session in memory."""

from twisted.internet.defer import succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.agent import ASK_AGAIN_FIRST, Agent
from burrow.client.tunnels import TunnelRequest
from burrow.errors import Refused
from burrow.link.address import Credentials, ServerAddress
from burrow.link.linked import Linked
from burrow.mux.control import CertificateFailed, NameTaken, OpenTunnel
from burrow.protocols.http import HttpProtocol
from burrow.testing import SessionPair

CLOSED = CertificateFailed("the CA says no")


class Server(amp.AMP):
    """Answers as the test wants."""

    def __init__(self, test):
        super().__init__()
        self.test = test

    @OpenTunnel.responder
    def open_tunnel(self, kind, upstream, name=None, options=None):
        answer = self.test.answers[name]
        self.test.asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        return {"tunnel": name, "name": name, "url": f"https://{name}.example.com"}


class AskingAgain(SynchronousTestCase):
    def setUp(self):
        self.answers = {}
        self.asked = []
        self.opened = []
        self.events = []
        self.clock = MemoryReactorClock()

    def start(self, *names):
        """An agent whose dialer hands out sessions with the server above."""
        kind = HttpProtocol()
        requests = [TunnelRequest(kind, kind.parse_upstream("3000"), name) for name in names]
        credentials = Credentials(ServerAddress(True, "127.0.0.1", 443), "token", "agent")
        self.agent = Agent(self.clock, credentials, requests)
        self.agent._dialer.dial = self.dial
        self.agent.on_opened = lambda opened: self.opened.append(opened.name)
        self.agent.on_event = lambda kind, text: self.events.append((kind, text))
        self.agent.startService()
        self.addCleanup(self.agent.stopService)
        self.pair.pump()

    def dial(self, linked):
        self.pair = SessionPair(server_factory=Factory.forProtocol(lambda: Server(self)), clock=self.clock)
        return succeed(Linked(self.pair.agent, None, "session"))

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.pair.pump()

    def test_the_only_tunnel_without_a_certificate_ends_it(self):
        self.answers = {"blog": CLOSED}
        self.start("blog")
        self.failureResultOf(self.agent.done, Refused)
        self.assertEqual(self.asked, ["blog"])

    def test_one_of_several_is_asked_for_until_it_has_a_certificate(self):
        self.answers = {"blog": True, "shop": CLOSED}
        self.start("blog", "shop")
        self.assertEqual(self.opened, ["blog"])
        self.assertEqual(self.events[-1], ("refused", "the CA says no; trying again"))
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.asked, ["blog", "shop", "shop"])
        self.answers["shop"] = True
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog"])
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog", "shop"])
        self.advance(10 * ASK_AGAIN_FIRST)
        self.assertEqual(self.asked.count("shop"), 3)
        self.assertNoResult(self.agent.done)

    def test_another_refusal_ends_the_asking(self):
        self.answers = {"blog": True, "shop": CLOSED}
        self.start("blog", "shop")
        self.answers["shop"] = NameTaken("it is another's")
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.events[-1], ("refused", "it is another's"))
        self.advance(10 * ASK_AGAIN_FIRST)
        self.assertEqual(self.asked.count("shop"), 2)

    def test_one_that_was_open_does_not_end_the_agent(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.assertEqual(self.opened, ["blog"])
        self.answers = {"blog": CLOSED}
        self.pair.server_carrier.abort()
        self.advance(1)
        self.assertEqual(self.asked, ["blog"] * 2)
        self.assertEqual(self.events[-1], ("refused", "the CA says no; trying again"))
        self.assertNoResult(self.agent.done)
        self.answers = {"blog": True}
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog"] * 2)

    def test_stopping_ends_the_asking(self):
        self.answers = {"blog": True, "shop": CLOSED}
        self.start("blog", "shop")
        self.agent.stopService()
        self.advance(10 * ASK_AGAIN_FIRST)
        self.assertEqual(self.asked.count("shop"), 1)
