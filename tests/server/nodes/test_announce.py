"""Tests for L{burrow.server.nodes.announce}."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.nodes.announce import WITHIN, Announcer
from burrow.server.nodes.boxes import MAX_TOLD, RefreshBox
from burrow.server.nodes.records import Lease, to_text
from burrow.testing import Recorders, SessionPair


class Announcing(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.nodes = [Recorders(), Recorders()]
        self.pairs = [SessionPair(server_factory=node, clock=self.clock) for node in self.nodes]
        self.announcer = Announcer(self.clock, lambda: [pair.agent for pair in self.pairs])

    def announce(self, lease=None):
        announced = Deferred.fromCoroutine(self.announcer.announce(lease))
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

    def test_lease_that_is_told(self):
        leases = [Lease(name, "one", "http", None, 1.0, options='{"allow": []}') for name in ("a", "b")]
        announced = [self.announce(*told) for told in ([], [leases[0]], [leases[1]], [])]
        self.looked(0)
        self.looked(1)
        self.assertEqual(len(self.nodes[0].built), 4)
        received = [each.received for each in self.nodes[0].built[1:]]
        told = [RefreshBox(to_text(lease)).encode() for lease in leases]
        self.assertEqual(received, [*told, RefreshBox().encode()])
        for node in self.nodes:
            for each in node.built[1:]:
                self.assertNoResult(announced[1])
                each.transport.loseConnection()
                self.pump()
        for each in announced:
            self.successResultOf(each)

    def test_lease_that_is_too_long_for_a_box_is_read(self):
        self.announce(Lease("a", "one", "http", None, 1.0, options="x" * MAX_TOLD))
        self.assertEqual(self.nodes[0].built[0].received, RefreshBox().encode())

    def test_node_that_does_not_answer_is_logged(self):
        with capturedLogs() as logs:
            self.announce()
            self.looked(0)
            self.nodes[1].built[0].transport.abortConnection()
            self.pump()
        self.assertEqual([event["count"] for event in logs], ["1 message"])

    def test_no_other_node(self):
        self.pairs.clear()
        self.successResultOf(self.announce())
