"""Tests for L{burrow.server.revoking}: sessions end whose token is no longer valid."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from burrow.errors import NoSuchTunnel, NotAllowed, StoreError, TooManyTunnels
from burrow.link.accept import Handshake, HandshakeRefused
from burrow.mux.control import CloseTunnel, OpenTunnel
from burrow.mux.interfaces import CloseCode
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.server.revoking import CHECK_EVERY
from burrow.store.tokens import check_token, make_token, rotated
from burrow.testing import Recorder
from tests.server import test_channel
from tests.server.test_channel import TOKEN

WHY = "the token 'laptop' was revoked: ask the server's owner for another"


class Watched(test_channel.Connected):
    def setUp(self):
        super().setUp()
        self.agents.watch.start()
        self.addCleanup(self.agents.watch.stop)

    def check(self, pair):
        self.successResultOf(Deferred.fromCoroutine(self.cluster.look()))
        self.clock.advance(CHECK_EVERY)
        pair.pump()

    def test_revoked_token_ends_its_session_and_its_agent_is_told(self):
        pair = self.connect()
        control = self.opened(pair)
        self.check(pair)
        self.assertEqual(pair.closed, [])
        self.store.revoke_token("laptop")
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])
        self.assertEqual(control.told, [("revoked", WHY, None)])
        self.assertTrue(pair.server.lost)
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.assertEqual(self.agents.connected, set())

    def test_session_without_a_control_channel_ends_too(self):
        pair = self.connect()
        self.store.revoke_token("laptop")
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_agent_that_does_not_answer_is_cut_at_the_next_check(self):
        pair = self.connect()
        self.opened(pair)
        pair.server_carrier.close = lambda reason, code: None
        self.store.revoke_token("laptop")
        self.check(pair)
        self.assertFalse(pair.server.lost)
        self.check(pair)
        self.assertTrue(pair.server.lost)

    def test_detached_session_ends(self):
        session = Session(self.clock, client=False)
        lifeline = Lifeline(self.clock, session)
        stream = Recorder()
        self.agents.begin(session, lifeline, TOKEN, Handshake("", "agent-1234", "1", "peer"))
        session.open_stream(stream)
        lifeline.carrier_lost(Failure(ConnectionLost()))
        self.clock.advance(CHECK_EVERY)
        self.assertFalse(session.lost)
        self.store.revoke_token("laptop")
        self.successResultOf(Deferred.fromCoroutine(self.cluster.look()))
        self.clock.advance(CHECK_EVERY)
        self.assertTrue(session.lost)
        self.assertIsNotNone(stream.lost)
        self.assertEqual(self.agents.connected, set())

    def test_token_with_another_secret(self):
        """Sessions of the old secret end; one of the new secret stays."""
        text, token = make_token("desk", "agent", 1.0)
        self.store.add_token(token)
        handshakes = []

        def shake(text):
            handshakes.append(Handshake(text, "agent-1234", "1", "peer"))
            authenticating = Deferred.fromCoroutine(self.agents.authenticate(handshakes[-1]))
            session = test_channel.SessionPair(clock=self.clock)
            self.agents.begin(session.server, None, self.successResultOf(authenticating), handshakes[-1])
            return session

        old = shake(text)
        other = self.connect()
        new_text, digest = rotated(token)
        self.successResultOf(self.store.change_token("desk", {"digest": digest}))
        new = shake(new_text)
        self.check(old)
        self.assertEqual([pair.server.lost for pair in (old, new, other)], [True, False, False])
        refused = Deferred.fromCoroutine(self.agents.authenticate(handshakes[0]))
        self.assertEqual(self.failureResultOf(refused, HandshakeRefused).value.status, 401)
        known = self.successResultOf(Deferred.fromCoroutine(check_token(self.store, new_text)))
        self.assertEqual((known.id, known.name), (token.id, "desk"))

    def test_revoked_while_the_store_is_away(self):
        pair = self.connect()
        self.opened(pair)
        self.store.revoke_token("laptop")
        find = self.store.find_tokens
        self.store.find_tokens = lambda ids: fail(StoreError("away"))
        for _ in range(5):
            self.check(pair)
        self.assertEqual(pair.closed, [])
        self.store.find_tokens = find
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_store_that_lost_tokens_is_no_revocation(self):
        """It does not have it, but cannot tell whether it was revoked."""
        pair = self.connect()
        self.store.revoke_token("laptop")
        token = self.store.token
        self.store.token = lambda token_id: fail(StoreError("Redis lost what was in it"))
        self.check(pair)
        self.assertEqual(pair.closed, [])
        self.store.token = token
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_check_that_fails_in_an_unexpected_way_is_not_the_last(self):
        pair = self.connect()
        self.store.revoke_token("laptop")
        find = self.store.find_tokens
        self.store.find_tokens = lambda ids: fail(RuntimeError("what nobody expects"))
        self.check(pair)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.store.find_tokens = find
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_revoked_between_its_check_and_its_session(self):
        """The store told that the token changed before the agent was one of ours."""
        self.store.revoke_token("laptop")
        self.successResultOf(Deferred.fromCoroutine(self.cluster.look()))
        pair = self.connect()
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_revoked_while_it_is_asked_for(self):
        """The answer is older than that: it is asked for again."""
        pair = self.connect()
        answer, find = Deferred(), self.store.find_tokens
        self.store.find_tokens = lambda ids: answer
        self.check(pair)
        self.store.find_tokens = find
        self.store.revoke_token("laptop")
        self.successResultOf(Deferred.fromCoroutine(self.cluster.look()))
        answer.callback({TOKEN.id: TOKEN})
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_no_question_while_nothing_changes(self):
        pair = self.connect()
        self.check(pair)
        self.store.find_tokens = self.store.token = None
        other = make_token("other", "agent", 1.0)[1]
        self.store.add_token(other)
        self.check(pair)
        self.assertEqual(pair.closed, [])

    def test_store_that_cannot_tell_what_changed(self):
        """All are asked for."""
        pair = self.connect()
        self.check(pair)
        self.store.revoke_token("laptop")
        self.cluster.changes.forget()
        self.check(pair)
        self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])

    def test_every_command_asks_again(self):
        for command, arguments in (
            (OpenTunnel, {"kind": "http", "upstream": "y", "name": "shop"}),
            (CloseTunnel, {"tunnel": "blog"}),
        ):
            pair = self.connect()
            control = self.opened(pair)
            self.store.revoke_token("laptop")
            self.assertEqual(self.refused(pair, control, NotAllowed, command, **arguments), WHY)
            self.clock.advance(0)
            pair.pump()
            self.assertEqual(pair.closed, [(WHY, CloseCode.REVOKED)])
            self.assertIsNone(self.tunnels.by_name("shop"))
            self.assertIsNone(self.successResultOf(self.store.reservation("shop")))
            self.store.add_token(TOKEN)

    def test_command_while_the_store_is_away(self):
        """Nothing is opened; what is open may be closed."""
        pair = self.connect()
        control = self.opened(pair)
        self.store.token = lambda token_id: fail(StoreError("away"))
        arguments = {"kind": "http", "upstream": "y", "name": "shop"}
        self.refused(pair, control, test_channel.Unavailable, OpenTunnel, **arguments)
        closing = control.callRemote(CloseTunnel, tunnel="blog")
        pair.pump()
        self.successResultOf(closing)
        self.refused(pair, control, NoSuchTunnel, CloseTunnel, tunnel="blog")
        self.assertEqual(pair.closed, [])

    def test_new_settings_count_at_once(self):
        pair = self.connect()
        control = self.opened(pair)
        self.successResultOf(self.store.change_token("laptop", {"max_tunnels": 1}))
        arguments = {"kind": "http", "upstream": "y", "name": "shop"}
        self.assertIn("1 tunnel open", self.refused(pair, control, TooManyTunnels, OpenTunnel, **arguments))
        self.successResultOf(self.store.change_token("laptop", {"max_tunnels": None, "max_names": 1}))
        self.assertIn("owns 1 name,", self.refused(pair, control, TooManyTunnels, OpenTunnel, **arguments))
