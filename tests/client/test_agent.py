"""Tests for L{burrow.client.agent}: what it asks for again, on a session in memory."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import amp
from twisted.protocols.amp import RemoteAmpError
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.agent import Agent
from burrow.client.refusals import ASK_AGAIN_FIRST, SOON_FIRST, SOON_LIMIT
from burrow.client.tunnels import TunnelRequest
from burrow.errors import (
    BadOption,
    CertificateFailed,
    NameTaken,
    NotAllowed,
    Refused,
    ServerUnreachable,
    TooManyTunnels,
    Unavailable,
    UnknownProtocol,
)
from burrow.link.address import Credentials, ServerAddress
from burrow.link.linked import Linked
from burrow.mux.control import CloseTunnel, OpenTunnel, VisitorHead
from burrow.protocols.http import HttpProtocol
from burrow.testing import Recorder, Recorders, SessionPair

BUSY = Unavailable("port 20000 is busy")
CLOSED = CertificateFailed("the CA says no")


class Server(amp.AMP):
    """Answers as the test wants."""

    def __init__(self, test):
        super().__init__()
        self.test = test

    @CloseTunnel.responder
    def close_tunnel(self, tunnel):
        self.test.closed.append(tunnel)
        return {}

    @OpenTunnel.responder
    def open_tunnel(self, kind, upstream, name=None, options=None):
        answer = self.test.answers[name]
        self.test.asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Deferred):
            return answer
        return {"tunnel": name, "name": name, "url": f"https://{name}.example.com"}


STOPPING = "1 connection may finish within 20 s; a second signal, or Ctrl-C, ends it now"


class AskingAgain(SynchronousTestCase):
    def setUp(self):
        self.answers = {}
        self.asked = []
        self.closed = []
        self.opened = []
        self.kind = HttpProtocol()
        self.events = []
        self.clock = MemoryReactorClock()

    def requests(self, *names, upstream="3000"):
        return [TunnelRequest(self.kind, self.kind.parse_upstream(upstream), name) for name in names]

    def change(self, *requests):
        changed = self.agent.change([*requests])
        self.pair.pump()
        return changed

    def test_only_what_changed_is_touched(self):
        self.answers = {"blog": True, "shop": True, "news": True, "old": True}
        self.start("blog", "shop", "old")
        pair = self.pair
        self.asked.clear()
        changed = self.requests("shop", upstream="4000")
        self.assertEqual(self.change(*self.requests("blog"), *changed, *self.requests("news")), (2, 2))
        self.assertEqual((self.asked, self.closed), (["shop", "news"], ["old"]))
        self.assertEqual(self.agent.streams.open_tunnels["shop"], changed[0])
        self.assertEqual(set(self.agent.streams.open_tunnels), {"blog", "shop", "news"})
        self.assertIs(self.pair, pair)
        self.lose()
        self.assertEqual(sorted(self.asked[2:]), ["blog", "news", "shop"])
        self.assertEqual(self.change(*self.requests("blog"), *changed, *self.requests("news")), (0, 0))
        self.assertEqual(len(self.asked), 5)

    def test_changed_tunnel_that_cannot_open_now_stays_as_it_was(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.answers = {"blog": BUSY}
        (first,) = self.requests("blog", upstream="4000")
        self.change(first)
        self.assertEqual(self.closed, [])
        self.assertEqual(str(self.agent.streams.open_tunnels["blog"].upstream), "http://localhost:3000")
        (second,) = self.requests("blog", upstream="5000")
        self.change(second)  # in the meantime, once more
        self.answers = {"blog": True}
        self.advance(SOON_FIRST)
        self.assertIs(self.agent.streams.open_tunnels["blog"], second)
        self.assertEqual((self.closed, self.asked.count("blog")), ([], 4))

    def test_changed_tunnel_that_is_refused_closes_the_old_one(self):
        self.answers = {"blog": True, "shop": True}
        self.start("blog", "shop")
        self.answers["blog"] = NameTaken("another's")
        self.change(*self.requests("shop"), *self.requests("blog", upstream="4000"))
        self.assertEqual(self.closed, ["blog"])
        self.assertNoResult(self.agent.done)

    def test_tunnel_that_opens_after_it_was_dropped_is_closed(self):
        self.answers = {"blog": True, "shop": Deferred()}
        self.start("blog")
        self.change(*self.requests("blog", "shop"))
        self.change(*self.requests("blog"))
        self.assertEqual(self.closed, [])
        self.answers["shop"].callback({"tunnel": "shop", "name": "shop", "url": "https://shop.example.com"})
        self.pair.pump()
        self.assertEqual(self.closed, ["shop"])
        self.assertEqual(set(self.agent.streams.open_tunnels), {"blog"})

    def test_tunnel_that_was_dropped_is_asked_for_no_more(self):
        self.answers = {"blog": True, "shop": Deferred()}
        self.start("blog")
        self.change(*self.requests("blog", "shop"))
        self.change(*self.requests("blog"))
        self.advance(10 * SOON_LIMIT)
        self.assertEqual(self.asked, ["blog", "shop"])
        self.assertEqual([event for event, _ in self.events], ["connected"])

    def test_tunnel_that_is_wanted_twice_stays_open_for_the_other(self):
        self.answers = {"blog": True}
        self.start("blog", "blog")
        self.change(*self.requests("blog"))
        self.assertEqual(self.closed, [])
        self.assertEqual(set(self.agent.streams.open_tunnels), {"blog"})

    def test_stream_that_comes_before_its_tunnel_is_known_loses_no_byte(self):
        self.kind.agent_protocol = lambda reactor, upstream, head: upstream_end
        upstream_end = Recorder()
        self.answers = {"blog": Deferred()}
        self.start("blog")
        visitor = Recorder()
        head = VisitorHead("blog", "192.0.2.1:4711", "https").encode()
        stream = self.pair.server.open_stream(visitor, head + b"one ")
        self.pair.pump()
        stream.write(b"two ")
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"")
        self.answers["blog"].callback({"tunnel": "blog", "name": "blog", "url": "https://blog.example.com"})
        self.pair.pump()
        stream.write(b"three")
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"one two three")

    def test_stream_that_comes_early_is_read_as_its_protocol_says(self):
        self.kind.agent_protocol = lambda reactor, upstream, head: upstream_end
        upstream_end = Recorder()
        upstream_end.connectionMade = lambda: upstream_end.transport.pauseProducing()
        self.answers = {"blog": Deferred()}
        self.start("blog")
        head = VisitorHead("blog", "192.0.2.1:4711", "https").encode()
        stream = self.pair.server.open_stream(Recorder(), head + b"one ")
        self.pair.pump()
        stream.write(b"two ")
        self.pair.pump()
        self.answers["blog"].callback({"tunnel": "blog", "name": "blog", "url": "https://blog.example.com"})
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"")
        upstream_end.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(upstream_end.received, b"one two ")

    def test_change_while_there_is_no_session_counts_for_the_next(self):
        self.answers = {"blog": True, "shop": True}
        self.start("blog")
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.agent.change(self.requests("shop"))
        self.advance(1)
        self.assertEqual(self.asked, ["blog", "shop"])
        self.assertEqual(self.events[-1][0], "connected")

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
        self.pair.pump()
        self.advance(1)
        self.assertEqual(self.asked, ["blog"] * 2)
        self.assertEqual(self.events[-1], ("refused", "the CA says no; trying again"))
        self.assertNoResult(self.agent.done)
        self.answers = {"blog": True}
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog"] * 2)

    def lose(self):
        """The session ends, and the agent dials again."""
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.advance(1)

    def test_busy_port_is_asked_for_until_it_is_free(self):
        self.answers = {"db": BUSY}
        self.start("db")
        self.assertEqual(self.events[-1], ("refused", "port 20000 is busy; trying again"))
        self.advance(SOON_FIRST)
        self.assertEqual(self.asked, ["db"] * 2)
        self.answers = {"db": True}
        self.advance(2 * SOON_FIRST)
        self.assertEqual(self.opened, ["db"])
        self.lose()
        self.answers = {"db": BUSY}
        self.lose()
        for _ in range(30):  # far longer than TIME-WAIT lasts
            self.advance(SOON_LIMIT)
        self.assertEqual(self.events.count(("refused", "port 20000 is busy; trying again")), 2)
        self.answers = {"db": True}
        self.advance(SOON_LIMIT)
        self.assertEqual(self.opened, ["db"] * 3)
        self.assertEqual(self.events[-1], ("notice", "db is open again"))
        self.assertNoResult(self.agent.done)

    def test_busy_port_leaves_the_session_and_the_others_alone(self):
        self.answers = {"blog": True, "db": BUSY, "www": NameTaken("it is another's")}
        self.start("blog", "db", "www")
        pair = self.pair
        for _ in range(10):
            self.advance(SOON_LIMIT)
        self.assertIs(self.pair, pair)
        self.assertFalse(pair.agent.lost)
        self.assertEqual(self.asked.count("blog"), 1)
        self.assertEqual(self.asked.count("www"), 1)
        self.assertGreater(self.asked.count("db"), 10)

    def test_what_was_open_is_asked_for_whatever_the_server_says_of_it_later(self):
        for refusal in (BadOption("no such port"), UnknownProtocol("no such kind"), TooManyTunnels("many")):
            self.answers, self.opened, self.asked = {"db": True}, [], []
            self.start("db")
            self.answers = {"db": refusal}
            self.lose()
            self.assertEqual(self.asked, ["db"] * 2)
            self.answers = {"db": True}
            self.advance(ASK_AGAIN_FIRST)
            self.assertEqual(self.opened, ["db"] * 2)
            self.assertNoResult(self.agent.done)

    def test_refusals_that_last_end_it(self):
        for refusal in (NameTaken("another's"), NotAllowed("the token is revoked")):
            self.answers = {"db": True}
            self.start("db")
            self.answers = {"db": refusal}
            self.lose()
            self.failureResultOf(self.agent.done, type(refusal))

    def test_refusals_at_the_first_start_end_it(self):
        for refusal in (BadOption("port"), UnknownProtocol("kind"), TooManyTunnels("many")):
            self.answers = {"db": refusal}
            self.start("db")
            self.failureResultOf(self.agent.done, type(refusal))

    def test_last_of_several_that_is_given_up_ends_it(self):
        self.answers = {"db": BUSY, "www": NameTaken("it is another's")}
        self.start("www", "db")
        self.answers["db"] = NameTaken("the port is another's")
        self.assertNoResult(self.agent.done)
        self.advance(SOON_FIRST)
        self.failureResultOf(self.agent.done, NameTaken)

    def test_error_that_nobody_declared_is_no_end(self):
        self.answers = {"db": RemoteAmpError(b"NEW_ONE", "of a newer server")}
        self.start("db")
        self.answers = {"db": True}
        self.advance(SOON_FIRST)
        self.assertEqual(self.opened, ["db"])

    def test_without_retries_what_is_busy_ends_it(self):
        self.answers = {"blog": True, "db": BUSY}
        self.start("blog", "db", retry=False)
        failure = self.failureResultOf(self.agent.done, ServerUnreachable)
        self.assertIn("port 20000 is busy", str(failure.value))

    def test_session_ends_with_its_control_channel(self):
        self.answers = {"blog": True}
        self.start("blog")
        before = self.pair
        self.channel.transport.loseConnection()
        self.pair.pump()
        self.assertTrue(before.agent.lost)
        self.advance(1)
        self.assertEqual(self.opened, ["blog"] * 2)

    def stop_with_a_visitor(self):
        """An agent with a grace of 20 s is stopped while a visitor's stream is open."""
        self.answers = {"blog": True}
        self.start("blog")
        self.agent._stop_grace = 20.0
        self.pair.agent.stop_listening()
        self.pair.agent.listen(Recorders())
        stream = self.pair.server.open_stream(Recorder())
        self.pair.pump()
        stopped = self.agent.stopService()
        self.pair.pump()
        return stream, stopped

    def test_stopping_waits_for_what_runs(self):
        stream, stopped = self.stop_with_a_visitor()
        self.assertEqual(self.closed, ["blog"])
        self.clock.pump([1] * 15)
        self.assertNoResult(stopped)
        self.assertEqual(self.events[-1], ("stopping", STOPPING))
        stream.loseConnection()
        self.advance(1)
        self.advance(1)
        self.successResultOf(stopped)
        self.assertTrue(self.pair.server.lost)

    def test_stopping_waits_no_longer_than_allowed(self):
        _, stopped = self.stop_with_a_visitor()
        for _ in range(22):
            self.advance(1)
        self.successResultOf(stopped)

    def test_asked_again_it_stops_now(self):
        _, stopped = self.stop_with_a_visitor()
        self.advance(1)
        stopped.cancel()
        self.advance(1)
        self.successResultOf(stopped)
        self.assertTrue(self.pair.server.lost)

    def test_stopping_while_the_server_is_away_is_done_at_once(self):
        _, stopped = self.stop_with_a_visitor()
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.advance(1)
        self.successResultOf(stopped)

    def test_stopping_ends_the_asking(self):
        self.answers = {"blog": True, "shop": CLOSED}
        self.start("blog", "shop")
        self.agent.stopService()
        self.advance(10 * ASK_AGAIN_FIRST)
        self.assertEqual(self.asked.count("shop"), 1)
