"""Tests for L{burrow.client.agent}: the sessions of an agent, and its end."""

from burrow.client.refusals import ASK_AGAIN_FIRST
from burrow.errors import CertificateFailed, ServerUnreachable
from burrow.mux.control import Drain, Notice, VisitorHead
from burrow.testing import Recorder
from tests.client.agents import AgentCase

CLOSED = CertificateFailed("the CA says no")
STOPPING = "1 connection may finish within 20 s; a second signal, or Ctrl-C, ends it now"


class Life(AgentCase):
    def test_change_while_there_is_no_session_counts_for_the_next(self):
        self.answers = {"blog": True, "shop": True}
        self.start("blog")
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.agent.change(self.requests("shop"))
        self.advance(1)
        self.assertEqual(self.asked, ["blog", "shop"])
        self.assertEqual(self.events[-1][0], "connected")

    def test_session_ends_with_its_control_channel(self):
        self.answers = {"blog": True}
        self.start("blog")
        before = self.pair
        self.channel.transport.loseConnection()
        self.pair.pump()
        self.assertTrue(before.agent.lost)
        self.advance(1)
        self.assertEqual(self.opened, ["blog"] * 2)

    def visit(self):
        """A visitor's stream on the present session: the server's end."""
        self.kind.agent_protocol = lambda tunnel, head: Recorder()
        head = VisitorHead("blog", "192.0.2.1:4711", "https").encode()
        stream = self.pair.server.open_stream(Recorder(), head)
        self.pair.pump()
        return stream

    def stop_with_a_visitor(self):
        """An agent with a grace of 20 s is stopped while a visitor's stream is open."""
        self.answers = {"blog": True}
        self.start("blog", stop_grace=20.0)
        stream = self.visit()
        stopped = self.agent.stopService()
        self.pair.pump()
        return stream, stopped

    def test_it_is_known_when_it_dials_next(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.assertIsNone(self.agent.next_try)
        self.assertTrue(self.agent.linked.attached)

        async def dial(linked):
            raise ServerUnreachable("cannot reach it")

        self.agent._dialer.dial = dial
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.clock.advance(0)
        self.assertFalse(self.agent.linked.attached)
        self.assertGreater(self.agent.next_try, self.clock.seconds())
        self.agent._dialer.dial = self.dial
        self.clock.advance(1)
        self.pair.pump()
        self.assertIsNone(self.agent.next_try)

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

    def test_session_that_the_server_leaves_is_replaced_and_kept_until_it_ends(self):
        self.answers = {"blog": True}
        self.start("blog")
        old, channel = self.pair, self.channel
        channel.callRemote(Drain)
        old.pump()
        self.advance(1)
        self.assertEqual(self.asked, ["blog"] * 2)
        self.assertIsNot(self.pair, old)
        self.assertEqual(self.opened, ["blog"] * 2)
        self.assertEqual([event for event, _ in self.events], ["connected"])
        channel.callRemote(Notice, code="taken-over", text="another agent has it", tunnel="blog")
        old.pump()
        self.advance(5)
        self.assertFalse(old.agent.lost)
        self.assertEqual([event for event, _ in self.events], ["connected"])
        old.server.close("the server stops")
        old.pump()
        self.assertTrue(old.agent.lost)
        self.assertFalse(self.pair.agent.lost)
        self.assertEqual(len(self.pairs), 2)

    def test_session_that_is_suspected_is_replaced_and_ends_with_its_last_stream(self):
        self.answers = {"blog": True}
        self.start("blog")
        old = self.pair
        stream = self.visit()
        self.agent.linked.report_trouble()
        self.pair.pump()
        self.advance(2)
        self.assertFalse(old.agent.lost)
        stream.loseConnection()
        old.pump()
        self.advance(2)
        old.pump()
        self.assertTrue(old.agent.lost)
        self.assertEqual((len(self.pairs), self.opened), (2, ["blog"] * 2))

    def test_all_sessions_are_closed_when_it_stops(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.channel.callRemote(Drain)
        self.pair.pump()
        self.advance(1)
        stopped = self.agent.stopService()
        for pair in self.pairs:
            pair.pump()
        self.successResultOf(stopped)
        self.assertEqual([pair.server.lost for pair in self.pairs], [True, True])
        self.successResultOf(self.agent.done)
