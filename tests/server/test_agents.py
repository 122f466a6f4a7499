"""Tests for L{burrow.server.agents}."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.link.accept import Handshake, HandshakeRefused
from burrow.server.agents import Agents
from burrow.server.nodes.cluster import Cluster
from burrow.store.memory import MemoryStore
from burrow.store.tokens import make_token


class Authenticating(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        clock = Clock()
        self.agents = Agents(clock, self.store, None, None, None, Cluster(clock, self.store, "one"), None)
        self.text, self.token = make_token("laptop", "agent", 1.0)
        self.store.add_token(self.token)

    def authenticate(self):
        return Deferred.fromCoroutine(self.agents.authenticate(handshake(self.text)))

    def test_use_of_a_token_that_cannot_be_noted(self):
        """As on a full disk: it is told in the log, and no reason to refuse whom the store knows."""
        self.store.token_used = lambda *arguments: fail(StoreError("the disk is full"))
        self.assertEqual(self.successResultOf(self.authenticate()), self.token)

    def test_store_that_cannot_tell(self):
        self.store.token = lambda *arguments: fail(StoreError("away"))
        refused = self.failureResultOf(self.authenticate(), HandshakeRefused)
        self.assertEqual(refused.value.status, 503)


def handshake(token):
    return Handshake(token, "agent-0001", "0", "192.0.2.1")
