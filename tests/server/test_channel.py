"""Tests for L{burrow.server.agents} and L{burrow.server.channel}: a session of an agent, from the outside."""

import struct
from types import SimpleNamespace

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import BadOption, CertificateFailed, NoSuchTunnel, StoreError, Unavailable
from burrow.link.accept import Handshake
from burrow.mux.control import CloseTunnel, Drain, Notice, OpenTunnel, shown
from burrow.mux.interfaces import CloseCode
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.server.agent import Agent
from burrow.server.agents import Agents
from burrow.server.channel import MAX_BOX
from burrow.server.expected import EXPECT_FOR
from burrow.server.ports import Ports
from burrow.store.base import Token
from burrow.store.memory import MemoryStore
from burrow.testing import HalfCloseRecorder, Recorder, Recorders, SessionPair
from tests.server.parts import Parts

TOKEN = Token("token1", "laptop", "agent", b"", 0.0)


def box(**fields):
    """A box by hand: keys and values behind two-byte lengths, and an empty key."""
    parts = [part.encode() if isinstance(part, str) else part for pair in fields.items() for part in pair]
    return b"".join(struct.pack("!H", len(part)) + part for part in parts) + b"\0\0"


class Control(amp.AMP):
    """An agent's end of the control channel: remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    @Drain.responder
    def drain(self):
        self.told.append("drain")
        return {}

    @Notice.responder
    def notice(self, code, text, tunnel=None):
        self.told.append((code, text, tunnel))
        return {}


class Connected(SynchronousTestCase):
    def setUp(self):
        self.clock = MemoryReactorClock()
        self.store = MemoryStore(self.clock.seconds)
        self.kinds = {"http": HttpProtocol()}
        ports = Ports(None, "127.0.0.1", range(20_000, 20_003))
        self.announced = succeed(None)
        parts = Parts(
            self.clock,
            self.store,
            self.kinds,
            ports,
            ready=lambda host, token: self.ready(host),
            announce=lambda lease: self.announced,
        )
        self.opening = parts.opening
        self.routes, self.tunnels, self.cluster = parts.routes, parts.tunnels, parts.cluster
        self.ready = lambda host: succeed(None)
        self.agents = Agents(
            self.clock,
            self.store,
            parts.opening,
            parts.tunnels,
            parts.routes,
            parts.cluster,
            parts.events,
        )
        self.store.add_token(TOKEN)

    def connect(self, agent="agent-1234"):
        """A session of an agent's: the pair, with what closed it; its streams are answered by recorders."""
        self.visitors = Recorders(HalfCloseRecorder)
        pair = SessionPair(agent_factory=self.visitors, clock=self.clock)
        pair.closed = []
        close = pair.server_carrier.close

        def closing(reason, code):
            pair.closed.append((reason, code))
            close(reason, code)

        pair.server_carrier.close = closing
        self.agents.begin(pair.server, None, TOKEN, Handshake("", agent, "1", "peer"))
        pair.went = []
        pair.agent.on_go_away.append(pair.went.append)
        return pair

    def control(self, pair):
        control = Control()
        pair.agent.open_stream(control)
        return control

    def opened(self, pair, name="blog"):
        control = self.control(pair)
        opening = control.callRemote(OpenTunnel, kind="http", upstream="x", name=name)
        pair.pump()
        self.successResultOf(opening)
        return control

    def refused(self, pair, control, error, command, **arguments):
        """A command that the server refuses: with which words."""
        failures = []
        control.callRemote(command, **arguments).addErrback(failures.append)
        pair.pump()
        self.assertTrue(failures[0].check(error), failures)
        return failures[0].getErrorMessage()

    def visit(self, pair, name="blog"):
        """A visitor's stream."""
        visitor = HalfCloseRecorder()
        self.tunnels.by_name(name).connect(visitor, "1.2.3.4:5", "https")
        pair.pump()
        return visitor

    def attached(self, name="blog"):
        return Deferred.fromCoroutine(self.routes.wait_for(name))


class Leaving(Connected):
    """The server goes away."""

    def leave(self):
        for agent in list(self.agents.connected):
            agent.send_away()

    def test_agent_is_told_by_drain_alone_and_go_away_comes_with_the_end(self):
        pair = self.connect()
        control = self.opened(pair)
        visitor = self.visit(pair)
        self.leave()
        pair.pump()
        self.assertEqual(control.told, ["drain"])
        successor = self.connect()
        self.opened(successor)
        for _ in range(3):
            self.leave()
            pair.pump()
        # A download goes on, and nothing says that the session ends.
        self.visitors_of(pair)[0].transport.write(b"more")
        pair.pump()
        self.assertEqual(visitor.received, b"more")
        self.assertEqual((pair.went, pair.closed, control.told), ([], [], ["drain"]))
        visitor.transport.loseConnection()
        self.visitors_of(pair)[0].transport.loseConnection()
        pair.pump()
        self.leave()
        pair.pump()
        self.assertEqual(pair.closed, [("the server restarts", CloseCode.RESTART)])
        self.assertEqual(pair.went, [0])

    def visitors_of(self, pair):
        return pair.agent.factory.built

    def test_new_visitors_still_reach_an_agent_that_has_not_moved(self):
        pair = self.connect()
        self.opened(pair)
        self.leave()
        pair.pump()
        self.visit(pair)
        self.assertIn(b"blog", self.visitors_of(pair)[0].received)
        self.assertEqual(pair.closed, [])

    def test_agent_without_control_channel_is_closed(self):
        pair = self.connect()
        pair.pump()
        self.leave()
        pair.pump()
        self.assertEqual(pair.closed, [("the server restarts", CloseCode.RESTART)])


class GoingAway(Connected):
    """The agent goes away."""

    def test_visitors_wait_for_its_next_session(self):
        pair = self.connect()
        self.opened(pair)
        visitor = self.visit(pair)
        pair.agent.go_away()
        pair.pump()
        waiting = self.attached()
        self.assertNoResult(waiting)
        running = pair.agent.factory.built[0]
        running.transport.write(b"more")
        pair.pump()
        self.assertEqual(visitor.received, b"more")
        self.opened(self.connect())
        self.assertIs(self.successResultOf(waiting), self.tunnels.by_name("blog"))
        self.assertTrue(self.tunnels.by_name("blog").connected)

    def test_no_visitor_waits_for_ever(self):
        pair = self.connect()
        self.opened(pair)
        self.visit(pair)
        pair.agent.go_away()
        pair.pump()
        waiting = self.attached()
        self.clock.advance(10)
        self.assertIsNone(self.successResultOf(waiting))
        self.clock.advance(EXPECT_FOR)
        pair.pump()
        self.assertFalse(pair.server.lost)  # the visitor's stream is still there
        self.assertIsNone(self.successResultOf(self.attached()))

    def test_session_is_closed_once_nothing_runs(self):
        pair = self.connect()
        self.opened(pair)
        visitor = self.visit(pair)
        pair.agent.go_away()
        pair.pump()
        self.clock.advance(5)
        self.assertEqual(pair.closed, [])
        visitor.transport.loseConnection()
        pair.agent.factory.built[0].transport.loseConnection()
        pair.pump()
        self.clock.advance(1)
        pair.pump()
        self.assertEqual(pair.closed, [("the agent sent a go away", 1000)])
        self.assertTrue(pair.agent.lost)
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.assertEqual(self.agents.connected, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(self.attached())  # it may be on its way with a new session

    def test_it_opens_no_more_tunnels(self):
        pair = self.connect()
        control = self.opened(pair)
        pair.agent.go_away()
        self.refused(pair, control, Unavailable, OpenTunnel, kind="http", upstream="x", name="shop")

    def test_end_while_it_goes_away_leaves_no_timer(self):
        pair = self.connect()
        self.opened(pair)
        pair.agent.go_away()
        pair.pump()
        pair.agent.abort()
        pair.pump()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TakingOver(Connected):
    def test_older_of_two_is_told_what_is_true_of_both(self):
        first = self.connect()
        control = self.opened(first)
        second = self.connect("agent-5678")
        newer = self.opened(second)
        first.pump()
        [(code, text, tunnel)] = control.told
        self.assertEqual((code, tunnel), ("taken-over", "blog"))
        self.assertIn("another agent with the same token, or another session of this one", text)
        self.assertIn("(agent agent-5678) and has the tunnel now; this agent does not take it back", text)
        [(code, text, tunnel)] = newer.told
        self.assertEqual((code, tunnel), ("took-over", "blog"))
        self.assertIn("over from another agent with the same token, or an earlier session of this one", text)
        self.assertTrue(text.endswith("(agent agent-1234)"), text)

    def test_taking_over_from_one_that_is_away_is_not_told(self):
        first = self.connect()
        self.opened(first)
        first.server.connected = False
        self.assertEqual(self.opened(self.connect()).told, [])

    def test_session_that_was_asked_to_leave_or_that_leaves_hears_nothing(self):
        for leave in (lambda pair: self.leave(), lambda pair: pair.agent.go_away()):
            first = self.connect()
            control = self.opened(first)
            leave(first)
            first.pump()
            self.opened(self.connect())
            first.pump()
            self.assertEqual([told for told in control.told if told[0] == "taken-over"], [])

    def leave(self):
        for agent in list(self.agents.connected):
            agent.send_away()


class WithoutHttp2(Connected):
    """A server that speaks no HTTP/2 with visitors says so to agents whose upstream does."""

    def told(self, upstream, http2):
        self.opening.http2 = http2
        pair = self.connect()
        control = self.control(pair)
        self.successResultOf(self.opens(pair, control, upstream))
        return [(code, tunnel, "--http2" in text) for code, text, tunnel in control.told]

    def opens(self, pair, control, upstream):
        opening = control.callRemote(OpenTunnel, kind="http", upstream=upstream, name="blog")
        pair.pump()
        return opening

    def test_upstreams_that_speak_it(self):
        for upstream in ("h2c://localhost:1", "h2://localhost:1", "h2c+unix:/x"):
            self.setUp()
            self.assertEqual(self.told(upstream, http2=False), [("http1-only", "blog", True)])

    def test_others(self):
        self.assertEqual(self.told("http://localhost:1", http2=False), [])

    def test_server_that_speaks_it(self):
        self.assertEqual(self.told("h2c://localhost:1", http2=True), [])


class Channel(Connected):
    """What an agent may do wrong on its control channel."""

    def say(self, data):
        """The pair after an agent's first stream said so much, and what the server answered there."""
        pair = self.connect()
        answers = Recorder()
        pair.agent.open_stream(answers).write(data)
        pair.pump()
        return pair, answers

    def assert_broken(self, data, why, answer=b""):
        pair, answers = self.say(data)
        self.assertTrue(pair.server.lost, data)
        reason, code = pair.closed[0]
        self.assertIn(why, reason)
        self.assertEqual(code, CloseCode.PROTOCOL_ERROR)
        self.assertIn(answer, answers.received)
        self.assertEqual(self.agents.connected, set())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_is_no_box(self):
        self.assert_broken(b"GET / HTTP/1.1\r\n\r\n", "does not carry AMP boxes")

    def test_box_that_is_neither_command_nor_answer(self):
        self.assert_broken(box(hello="world"), "cannot be used: it is neither a command nor an answer")
        self.assert_broken(box(), "cannot be used: it is neither a command nor an answer")

    def test_answer_without_a_command(self):
        self.assert_broken(box(_answer="77"), "cannot be used: it answers a command that was not sent")
        self.assert_broken(box(_error="77"), "cannot be used: it answers a command that was not sent")

    def test_error_that_says_nothing(self):
        pair = self.connect()
        answers = Recorder()
        pair.agent.open_stream(answers)
        pair.pump()
        self.leave(pair)
        asked = answers.received.partition(b"_ask")[2]
        answers.transport.write(box(_error=asked[2 : 2 + asked[1]]))
        pair.pump()
        self.assertIn("it is an error without '_error_code'", pair.closed[0][0])

    def leave(self, pair):
        for agent in self.agents.connected:
            agent.tunnels["blog"] = SimpleNamespace(share=None)  # else it is closed at once
            agent.send_away()
            agent.tunnels.clear()
        pair.pump()

    def test_command_that_lacks_something(self):
        ask = {"_ask": "1", "_command": "OpenTunnel"}
        self.assert_broken(box(**ask, kind="http"), "lacks 'upstream'", b"BAD_BOX")
        self.assert_broken(box(**ask, kind=b"\xff", upstream="x"), "not UTF-8", b"BAD_BOX")
        self.assert_broken(box(_command="OpenTunnel"), "lacks 'kind'")  # no _ask: nobody to answer

    def test_box_without_an_end(self):
        key = struct.pack("!H", 3) + b"key" + struct.pack("!H", 60_000) + bytes(60_000)
        self.assert_broken(key * (MAX_BOX // 60_000 + 1), "more than")

    def test_unknown_command_is_answered_and_harms_nothing(self):
        pair, answers = self.say(box(_ask="1", _command="Fly"))
        self.assertIn(b"UNHANDLED", answers.received)
        self.assertIn(b"there is no command 'Fly' here", answers.received)
        self.assertFalse(pair.server.lost)
        self.assertEqual(pair.closed, [])

    def test_commands_that_want_no_answer(self):
        with capturedLogs() as logs:
            pair, answers = self.say(
                box(_command="Fly") * 500
                + box(_command=b"\xff" * 5000)
                + box(_command="CloseTunnel", tunnel="none")
                + box(_command="OpenTunnel", kind="http", upstream="x", name="blog")
            )
        self.assertEqual((pair.server.lost, pair.closed, answers.received), (False, [], b""))
        self.assertIsNotNone(self.tunnels.by_name("blog"))
        refused = [log for log in logs if "wants no answer" in log["log_format"]]
        self.assertEqual([log["text"] for log in refused], ["there is no command 'Fly' here"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_cannot_be_answered_ends_the_session(self):
        """A fault of ours: its log says what, the agent only that."""

        async def close(agent, name):
            return {}

        self.patch(Agent, "close", close)
        self.patch(CloseTunnel, "makeResponse", classmethod(lambda *args: amp.AmpBox({b"x": b"x" * 70_000})))
        pair, _ = self.say(box(_ask="1", _command="CloseTunnel", tunnel="x"))
        self.assertEqual(
            pair.closed, [("the server cannot answer a command; its log says why", CloseCode.PROTOCOL_ERROR)]
        )
        self.assertEqual(len(self.flushLoggedErrors(amp.TooLong)), 1)

    def test_options_that_are_none(self):
        self.kinds["tcp"] = TcpProtocol()
        pair = self.connect()
        control = self.control(pair)
        for options in (
            "[" * 30_000,
            '{"x":' * 10_000,
            '{"port": ' + "9" * 5000 + "}",
            '{"port": "' + "\\u0000" * 10_000 + '"}',
            '{"' + "x" * 65_520 + '": 1}',
            "{",
            "[]",
        ):
            arguments = {"kind": "http" if '"x' in options else "tcp", "upstream": "x", "name": "blog"}
            text = self.refused(pair, control, BadOption, OpenTunnel, options=options, **arguments)
            self.assertLess(len(text), 200)
        text = self.refused(
            pair, control, BadOption, OpenTunnel, kind="http", upstream="x", name="\0" * 65_000
        )
        self.assertLess(len(text), 600)
        self.assertFalse(pair.server.lost)

    def test_peers_are_shown_in_one_form(self):
        self.assertEqual(shown(IPv4Address("TCP", "192.0.2.1", 5)), "192.0.2.1:5")
        self.assertEqual(shown(IPv6Address("TCP", "::ffff:192.0.2.1", 5)), "192.0.2.1:5")
        self.assertEqual(shown(IPv6Address("TCP", "2001:db8::1", 5)), "[2001:db8::1]:5")
        self.assertEqual(shown(UNIXAddress(b"/x")), str(UNIXAddress(b"/x")))

    def test_boxes_of_any_number_are_taken(self):
        ask = box(_ask="1", _command="CloseTunnel", tunnel="x" * 60_000)
        pair, answers = self.say(ask * 10)
        self.assertEqual(answers.received.count(b"NO_SUCH_TUNNEL"), 10)
        self.assertFalse(pair.server.lost)

    def test_session_ends_with_its_channel(self):
        pair, answers = self.say(b"")
        answers.transport.loseConnection()
        pair.pump()
        self.assertEqual(pair.closed, [("the control channel ended", 1000)])

    def test_command_that_fails_leaves_the_channel_alone(self):
        pair = self.connect()
        control = self.control(pair)
        self.ready = lambda host: 1 / 0
        text = self.refused(pair, control, Unavailable, OpenTunnel, kind="http", upstream="x", name="blog")
        self.assertIn("its log says why", text)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refused(pair, control, NoSuchTunnel, CloseTunnel, tunnel="blog")

    def test_store_that_cannot_tell_is_no_matter_of_the_agents(self):
        pair = self.connect()
        control = self.control(pair)
        self.store.token = lambda token_id: fail(StoreError("/var/lib/burrow/burrow.db: disk I/O error"))
        text = self.refused(pair, control, Unavailable, OpenTunnel, kind="http", upstream="x", name="blog")
        self.assertEqual(text, "the server's store cannot answer now; the agent tries again")

    def test_closing_waits_for_the_opening_before_it(self):
        pair = self.connect()
        control = self.control(pair)
        (agent,) = self.agents.connected
        for problem in (None, CertificateFailed("DNS")):
            ready = Deferred()
            self.ready = lambda host, ready=ready: ready
            answers = []
            control.callRemote(OpenTunnel, kind="http", upstream="x", name="blog").addBoth(answers.append)
            control.callRemote(CloseTunnel, tunnel="blog").addBoth(answers.append)
            self.refused(pair, control, NoSuchTunnel, CloseTunnel, tunnel="another")
            self.assertEqual(answers, [])
            if problem is None:
                ready.callback(None)
                self.clock.advance(0)
                pair.pump()
                self.assertEqual([answers[0]["tunnel"], answers[1]], ["blog", {}])
            else:
                ready.errback(problem)
                self.clock.advance(0)
                pair.pump()
                self.assertTrue(answers[0].check(CertificateFailed))
                self.assertTrue(answers[1].check(NoSuchTunnel))
            self.assertIsNone(self.tunnels.by_name("blog"))
            self.assertEqual(agent._under_way, {})

    def opening_with_rules(self, pair):
        """A tunnel that is open, and of which the agent is told when other nodes know: its refusals."""
        refusals = []
        self.announced = Deferred()
        opening = self.control(pair).callRemote(
            OpenTunnel, kind="http", upstream="x", name="blog", options='{"allow": ["10.0.0.0/8"]}'
        )
        opening.addErrback(refusals.append)
        pair.pump()
        self.assertNoResult(opening)
        self.assertIsNotNone(self.tunnels.by_name("blog"))
        return refusals

    def test_agent_that_leaves_while_other_nodes_are_told_of_its_tunnel_leaves_none(self):
        pair = self.connect()
        self.opening_with_rules(pair)
        pair.agent.abort()
        pair.pump()
        self.announced.callback(None)
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.assertEqual(self.cluster.leases.held, {})
        self.announced = succeed(None)
        for number in range(3):  # as many as one may have: nothing of it is counted
            again = self.connect()
            self.opened(again, f"blog{number}")

    def test_tunnel_that_is_taken_over_while_other_nodes_are_told_of_it_is_not_the_agents(self):
        pair, other = self.connect(), self.connect()
        refusals = self.opening_with_rules(pair)
        waiting, self.announced = self.announced, succeed(None)
        self.opened(other)
        waiting.callback(None)
        self.clock.advance(0)
        pair.pump()
        (refusal,) = refusals
        self.assertTrue(refusal.check(Unavailable))
        self.assertIn("was taken away while it was being opened", str(refusal.value))
        first, second = sorted(self.agents.connected, key=lambda agent: agent.number)
        self.assertEqual((list(first.tunnels), list(second.tunnels)), ([], ["blog"]))
        self.assertIs(self.tunnels.by_name("blog"), second.tunnels["blog"])

    def test_second_stream_of_an_agent_is_reset(self):
        pair = self.connect()
        self.control(pair)
        second = Recorder()
        pair.agent.open_stream(second)
        pair.pump()
        self.assertTrue(second.lost.check(ConnectionLost))

    def test_agent_that_said_good_bye_is_not_waited_for_and_one_that_vanished_is(self):
        for end, waits in (
            (lambda pair: pair.agent.close("bye"), False),
            (lambda pair: pair.agent.abort(), True),
        ):
            self.clock.advance(2 * EXPECT_FOR)
            pair = self.connect()
            self.opened(pair)
            end(pair)
            pair.pump()
            self.assertEqual(not self.attached().called, waits)
            self.assertEqual(self.routes.expected("blog"), waits)
