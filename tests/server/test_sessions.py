"""Tests for L{burrow.server.sessions}: how many sessions a token may have."""

from unittest import mock

import attr
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.sessions import HANDSHAKE, Sessions, TooManySessions
from burrow.store.base import Token

TOKEN = Token("token1", "laptop", "agent", b"", 0.0)


class User:
    def __init__(self, sessions, agent_id="agent-1", token=TOKEN):
        self.token = token
        self.agent_id = agent_id
        self.attached = True
        self.ended = False
        self._sessions = sessions
        sessions.began(self)

    def give_way(self):
        self.ended = True
        self._sessions.ended(self)


class Counting(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.elsewhere = {}
        self.sessions = Sessions(self.clock, lambda token_id: self.elsewhere.get(token_id, 0))

    def begin(self, agent_id="agent-1", limit=2):
        self.sessions.let_in("token1", agent_id, limit)
        return User(self.sessions, agent_id)

    def refused(self, agent_id="agent-1", limit=2):
        with self.assertRaisesRegex(TooManySessions, "2 agents connected"):
            self.sessions.let_in("token1", agent_id, limit)

    def test_up_to_the_limit_and_one_more(self):
        self.begin()
        first = self.begin()
        self.refused()
        self.sessions.let_in("token2", "agent-1", 1)
        first.give_way()
        self.begin()
        self.refused()
        self.begin(limit=None)

    def test_handshakes_under_way_count(self):
        self.sessions.let_in("token1", "agent-1", 2)
        self.sessions.let_in("token1", "agent-1", 2)
        self.refused()
        self.clock.advance(HANDSHAKE)  # neither became a session
        self.sessions.let_in("token1", "agent-1", 2)
        one = User(self.sessions)
        one.give_way()
        self.sessions.let_in("token1", "agent-1", 2)
        self.sessions.let_in("token1", "agent-1", 3)
        self.refused()

    def test_nothing_is_kept_of_what_is_over(self):
        for token_id in ("token1", "token2"):
            self.sessions.let_in(token_id, "agent-1", 5)
        self.begin().give_way()
        self.clock.advance(HANDSHAKE)
        self.sessions.let_in("token3", "agent-1", None)
        self.assertEqual((self.sessions._let_in, self.sessions._here), ({}, {}))

    def test_letting_one_in_looks_at_no_other(self):
        """A thousand agents come back at once: each would look at all of them."""
        asked = property(lambda user: self.fail("another session is looked at"))
        with mock.patch.object(User, "token", asked, create=True):
            self.sessions._here["token1"] = {object.__new__(User) for _ in range(10)}
            self.sessions.let_in("token1", "agent-1", 20)

    def test_sessions_on_other_nodes_count(self):
        self.elsewhere["token1"] = 1
        self.begin()
        self.refused()

    def test_agent_that_was_started_anew_has_its_place(self):
        """Its session before, without a connection, gives way; another agent's or a connected one stays."""
        before, other = self.begin(), self.begin("agent-2")
        self.refused("agent-2")
        before.attached = False
        self.refused("agent-2")
        self.begin("agent-1")
        self.assertEqual((before.ended, other.ended), (True, False))
        self.refused("agent-1")

    def test_token_that_changed_is_the_same(self):
        User(self.sessions, token=attr.evolve(TOKEN, digest=b"x", version=1))
        self.begin()
        self.refused()
