"""Tests for L{burrow.server.sessions}: how many sessions a token may have."""

import attr
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.sessions import HANDSHAKE, Sessions, TooManySessions
from burrow.store.base import Token

TOKEN = Token("token1", "laptop", "agent", b"", 0.0)


class User:
    def __init__(self, users, agent_id="agent-1", token=TOKEN):
        self.token = token
        self.agent_id = agent_id
        self.attached = True
        self._users = users
        users.append(self)

    def give_way(self):
        self._users.remove(self)


class Counting(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.users = []
        self.elsewhere = {}
        self.sessions = Sessions(self.clock, self.users, lambda token_id: self.elsewhere.get(token_id, 0))

    def begin(self, agent_id="agent-1", limit=2):
        self.sessions.let_in("token1", agent_id, limit)
        self.sessions.begun("token1")
        return User(self.users, agent_id)

    def refused(self, agent_id="agent-1", limit=2):
        with self.assertRaisesRegex(TooManySessions, "2 agents connected"):
            self.sessions.let_in("token1", agent_id, limit)

    def test_up_to_the_limit_and_one_more(self):
        self.begin()
        first = self.begin()
        self.refused()
        self.sessions.let_in("token2", "agent-1", 1)
        self.users.remove(first)
        self.begin()
        self.begin(limit=None)
        self.assertEqual(len(self.users), 3)

    def test_handshakes_under_way_count(self):
        self.sessions.let_in("token1", "agent-1", 2)
        self.sessions.let_in("token1", "agent-1", 2)
        self.refused()
        self.clock.advance(HANDSHAKE)  # neither became a session
        self.sessions.let_in("token1", "agent-1", 2)
        self.sessions.begun("token1")
        self.sessions.let_in("token1", "agent-1", 2)
        self.sessions.let_in("token1", "agent-1", 3)
        self.assertEqual(sum(map(len, self.sessions._let_in.values())), 2)
        self.clock.advance(HANDSHAKE)
        self.sessions.let_in("token2", "agent-1", None)
        self.assertEqual(self.sessions._let_in, {})

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
        now = self.begin("agent-1")
        self.assertEqual(self.users, [other, now])

    def test_token_that_changed_is_the_same(self):
        User(self.users, token=attr.evolve(TOKEN, digest=b"x", version=1))
        self.begin()
        self.refused()
