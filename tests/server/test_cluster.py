"""Tests for L{burrow.server.cluster}: who is there, and who holds what."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.server import cluster
from burrow.server.cluster import BEAT, LEASE_TTL, NODE_TTL, RENEW_LEASES, Cluster, Node
from burrow.store.memory import MemoryStore


class Nodes(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = MemoryStore(self.clock.seconds)
        self.lost, self.taken = [], []
        self.one, self.two = self.make("one"), self.make("two")

    def make(self, name, clock=None):
        made = Cluster(clock or self.clock, self.store, name)
        made.on_lost = self.lost.extend
        made.on_taken = lambda lease: self.taken.append((name, lease.name, lease.node))
        node = Node(name, "127.0.0.1", 7000, "secret", "", "0", self.clock.seconds(), group=name)
        self.do(made.join(node))
        return made

    def do(self, coroutine):
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def pass_time(self, seconds):
        self.clock.pump([BEAT / 10] * (round(seconds * 10 / BEAT) + 1))

    def hold(self, node, name="blog"):
        self.do(node.hold(name, "http", None))

    def test_nodes_see_each_other_and_their_leases(self):
        self.pass_time(BEAT)
        self.assertEqual((list(self.one.others), list(self.two.others)), (["two"], ["one"]))
        self.hold(self.one)
        self.assertIsNone(self.two.elsewhere("blog"))
        self.assertEqual(self.do(self.two.ask("blog")).node, "one")
        self.assertEqual(self.two.elsewhere("blog").node, "one")
        self.assertIsNone(self.one.elsewhere("blog"))
        self.do(self.one.let_go("blog"))
        self.pass_time(BEAT)
        self.assertIsNone(self.two.elsewhere("blog"))
        self.assertEqual(self.lost, [])

    def test_lease_of_a_node_that_just_came(self):
        """It is known to whoever asks, before the next look: also to one that was alone, and drains."""
        three = self.make("three")
        self.assertNotIn("three", self.two.others)
        self.hold(three)
        self.assertEqual(self.do(self.two.ask("blog")).node, "three")
        self.make("four")
        self.do(self.one.drain())
        self.assertIn("four", self.one.others)

    def test_lease_of_a_node_that_just_died(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.one._loop.stop()
        self.clock.advance(NODE_TTL)
        self.assertIsNone(self.do(self.two.ask("blog")))
        self.assertEqual(self.lost, ["blog"])

    def test_later_lease_takes_over(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.hold(self.two)
        self.pass_time(BEAT)
        self.assertEqual(self.taken, [("one", "blog", "two")])
        self.assertEqual(self.one.elsewhere("blog").node, "two")
        self.do(self.one.let_go("blog"))
        self.assertEqual(self.do(self.one.ask("blog")).node, "two")

    def test_clock_of_the_new_node_is_behind(self):
        behind = Clock()
        self.clock.advance(100)
        three = self.make("three", behind)
        self.hold(self.one)
        three._beaten = float("-inf")
        self.do(three._look())
        self.hold(three)
        self.pass_time(3 * BEAT)
        self.assertEqual(self.taken, [("one", "blog", "three")])

    def test_node_that_dies_loses_its_leases(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.one._loop.stop()
        self.pass_time(NODE_TTL - 2 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").node, "one")
        self.pass_time(3 * BEAT)
        self.assertIsNone(self.two.elsewhere("blog"))
        self.assertEqual(self.lost, ["blog"])
        self.assertEqual(self.successResultOf(self.store.notes("leases")), {})

    def test_node_that_was_away_takes_back_what_nobody_took(self):
        for name in ("mine", "moved"):
            self.hold(self.one, name)
        self.pass_time(BEAT)
        self.one._loop.stop()
        self.pass_time(NODE_TTL + 2 * BEAT)
        self.hold(self.two, "moved")
        self.one._loop.start(BEAT / 10)
        self.pass_time(2 * BEAT)
        self.assertEqual(self.taken, [("one", "moved", "two")])
        self.assertEqual(self.two.elsewhere("mine").node, "one")

    def test_store_that_lost_everything_is_told_again(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.store._notes.clear()
        self.pass_time(3 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").node, "one")

    def test_nobody_is_gone_because_the_store_lost_everything(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.one._loop.stop()
        self.store._notes.clear()
        self.store.whole = False
        self.pass_time(2 * BEAT)
        self.assertEqual((list(self.two.others), self.two.elsewhere("blog").node), (["one"], "one"))
        self.one._loop.start(BEAT / 10)
        self.pass_time(BEAT)
        self.store.whole = True
        self.pass_time(BEAT)
        self.assertEqual((list(self.two.others), self.two.elsewhere("blog").node), (["one"], "one"))
        self.assertEqual(self.lost, [])

    def test_store_goes_away_in_the_middle_of_a_look(self):
        """What was read of it counts: nobody is lost without a word."""
        self.hold(self.one)
        self.pass_time(BEAT)
        self.one._loop.stop()
        self.clock.advance(NODE_TTL - BEAT)
        swap = self.store.swap_note
        self.store.swap_note = lambda *arguments: fail(StoreError("away"))
        self.pass_time(3 * BEAT)
        self.assertEqual((self.lost, self.two.others), (["blog"], {}))
        self.store.swap_note = swap

    def test_store_that_is_away_changes_nothing(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        notes, put = self.store.notes, self.store.put_note
        self.store.notes = lambda space: fail(StoreError("away"))
        self.store.put_note = lambda *arguments: fail(StoreError("away"))
        self.pass_time(2 * NODE_TTL)
        self.assertEqual(self.two.elsewhere("blog").node, "one")
        self.hold(self.two, "new")
        self.store.notes, self.store.put_note = notes, put
        self.pass_time(3 * BEAT)
        self.assertEqual(self.one.elsewhere("new").node, "two")
        self.assertEqual(self.lost, [])

    def keep_for(self, seconds, nodes):
        """Let time pass; each node's lease is in the store, and known to the others, all along."""
        # Fewer turns than in earnest.
        self.patch(cluster, "NODE_TTL", 50.0)
        for node in nodes:
            self.hold(node, f"of-{node.own_id}")
        self.pass_time(2 * BEAT)
        self.patch(cluster, "BEAT", 10.0)
        changes = []
        for node in nodes:
            node.on_changed = lambda: changes.append(self.clock.seconds())
        names = {f"of-{node.own_id}": node.own_id for node in nodes}
        for _ in range(round(seconds / 10)):
            self.clock.advance(10)
            leases = self.successResultOf(self.store.notes("leases"))
            self.assertEqual(leases.keys(), names.keys(), f"after {self.clock.seconds()} s")
        for node in nodes:
            known = {lease.name: lease.node for lease in node.theirs}
            self.assertEqual(known, {name: own for name, own in names.items() if own != node.own_id})
        self.assertEqual((changes, self.lost, self.taken), ([], [], []))

    def test_leases_of_nodes_that_go_on_never_lapse(self):
        self.keep_for(2.5 * LEASE_TTL, [self.one, self.two])

    def test_leases_of_a_node_that_is_alone_never_lapse(self):
        self.do(self.two.leave())
        self.keep_for(2.5 * LEASE_TTL, [self.one])

    def test_many_leases_are_renewed_a_few_at_a_time(self):
        for number in range(250):
            self.hold(self.one, f"name{number}")
        swaps = []
        swap = self.store.swap_note
        self.store.swap_note = lambda *arguments: swaps.append(arguments[1]) or swap(*arguments)
        self.clock.advance(RENEW_LEASES)
        for number in range(1, 5):
            self.clock.advance(BEAT)
            self.assertLessEqual(len(swaps), 100 * (number + 1))
        self.assertEqual(len(set(swaps)), 250)

    def test_who_leaves_is_gone_at_once(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.assertTrue(self.do(self.two.strangers()))
        self.do(self.one.drain())
        self.assertFalse(self.do(self.two.strangers()))
        self.do(self.one.leave())
        self.pass_time(BEAT)
        self.assertEqual(self.two.others, {})
        self.assertIsNone(self.two.elsewhere("blog"))
