"""Tests for L{burrow.server.nodes.announce}."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.nodes.announce import WITHIN, Announcer
from burrow.server.nodes.boxes import RefreshBox
from burrow.testing import Recorders, SessionPair


class Announcing(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.nodes = [Recorders(), Recorders()]
        self.pairs = [SessionPair(server_factory=node, clock=self.clock) for node in self.nodes]
        self.announcer = Announcer(self.clock, lambda: [pair.agent for pair in self.pairs])

    def announce(self):
        announced = Deferred.fromCoroutine(self.announcer.announce())
        self.pump()
        return announced

    def pump(self):
        for pair in [*self.pairs, *self.pairs]:  # what one's word causes, the other carries
            pair.pump()

    def looked(self, node):
        self.nodes[node].built[-1].transport.loseConnection()
        self.pump()

    def test_returns_when_all_have_looked(self):
        announced = self.announce()
        self.assertEqual(self.nodes[0].built[0].received, RefreshBox().encode())
        self.looked(0)
        self.assertNoResult(announced)
        self.looked(1)
        self.successResultOf(announced)

    def test_one_look_after_all_that_ask_suffices(self):
        first = self.announce()
        others = [self.announce() for _ in range(5)]
        self.looked(0)
        self.looked(1)
        self.successResultOf(first)
        self.assertEqual([len(node.built) for node in self.nodes], [2, 2])
        self.looked(0)
        self.looked(1)
        for other in others:
            self.successResultOf(other)
        self.assertEqual([len(node.built) for node in self.nodes], [2, 2])

    def test_node_that_takes_too_long_or_is_gone(self):
        self.pairs[0].agent.abort()
        announced = self.announce()
        self.assertEqual(self.nodes[0].built, [])
        self.clock.advance(WITHIN)
        self.successResultOf(announced)
        self.pump()
        self.assertIsNotNone(self.nodes[1].built[0].lost)

    def test_no_other_node(self):
        self.pairs.clear()
        self.successResultOf(self.announce())
