"""Tests for L{burrow.server.nodes.cluster}: who is there, and who holds what."""

import itertools
import json
from collections import defaultdict

import attr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.server.nodes import cluster, members
from burrow.server.nodes.announce import refresh
from burrow.server.nodes.cluster import LEASE_TTL, RENEW_LEASES, SHORT_BEAT, Cluster
from burrow.server.nodes.members import BEAT, NODE_TTL
from burrow.server.nodes.records import Lease, Node, from_notes, to_text
from burrow.store.base import Reservation
from burrow.store.changes import ChangeLog
from burrow.store.memory import MemoryStore
from burrow.testing import SlowStore


class Away:
    """A store that answers nothing, and remembers how often it was asked."""

    whole = True
    asked = 0

    def __getattr__(self, name):
        self.asked += 1
        return lambda *arguments: fail(StoreError("away"))


class Switched:
    """Each node's own way to the store, that may be cut."""

    def __init__(self, inner):
        self.inner = self.real = inner

    def cut(self):
        self.inner = Away()
        return self.inner

    def mend(self):
        self.inner = self.real

    def __getattr__(self, name):
        return getattr(self.inner, name)


def lose(store):
    """The store loses all notes."""
    store._notes.clear()
    store._log = ChangeLog()


class Nodes(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = MemoryStore(self.clock.seconds)
        self.lost, self.taken = [], []
        self.linked = defaultdict(set)
        self.ways = defaultdict(lambda: Switched(self.store))
        self.one, self.two = self.make("one"), self.make("two")

    def make(self, name, clock=None):
        clock = clock or self.clock
        made = Cluster(
            clock, self.ways[name], name, lambda node_id: node_id in self.linked[name], now=clock.seconds
        )
        made.on_dead.append(self.lost.extend)
        made.on_taken.append(lambda lease: self.taken.append((name, lease.name, lease.node)))
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
        self.pass_time(NODE_TTL + BEAT)
        self.assertIsNone(self.do(self.two.ask("blog")))
        self.assertEqual(self.lost, ["blog"])

    def test_node_whose_note_is_removed_is_gone(self):
        """Before it would be too old: for the node that comes in its place, and for the others."""
        self.hold(self.one)
        self.pass_time(BEAT)
        self.one._loop.stop()
        text = self.successResultOf(self.store.note("nodes", "one"))
        self.successResultOf(self.store.swap_note("nodes", "one", text, None))
        three = self.make("three")
        self.assertEqual(list(three.others), ["two"])
        self.assertIsNone(three.elsewhere("blog"))
        self.pass_time(BEAT)
        self.assertEqual(list(self.two.others), ["three"])
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

    def own(self, token, name="blog"):
        self.successResultOf(
            self.store.reserve(Reservation(name, "http", token, "agent", "up", None, False, 1.0))
        )

    def test_lease_of_a_token_that_does_not_own_the_name_is_taken_back(self):
        """The node that wrote it missed how the name changed hands."""
        self.own("new")
        self.do(self.one.hold("blog", "http", None, "new"))
        self.pass_time(BEAT)
        self.do(self.two.hold("blog", "http", None, "former"))
        reservation = self.store.reservation
        self.store.reservation = lambda name: fail(StoreError("away"))
        self.pass_time(2 * BEAT)
        self.assertEqual((self.taken, self.one.elsewhere("blog")), ([], None))  # nobody knows: it stays ours
        self.store.reservation = reservation
        self.pass_time(2 * BEAT)
        self.assertEqual(self.taken, [("two", "blog", "one")])
        self.assertEqual(self.two.elsewhere("blog").token, "new")
        lease = json.loads(self.successResultOf(self.store.note("leases", "blog")))
        self.assertEqual((lease["node"], lease["token"]), ("one", "new"))

    def test_lease_of_the_names_new_owner_takes_over(self):
        self.own("new")
        self.do(self.one.hold("blog", "http", None, "former"))
        self.pass_time(BEAT)
        self.do(self.two.hold("blog", "http", None, "new"))
        self.pass_time(BEAT)
        self.assertEqual(self.taken, [("one", "blog", "two")])
        self.assertEqual(self.one.elsewhere("blog").node, "two")

    def test_clock_of_the_new_node_is_behind(self):
        behind = Clock()
        self.clock.advance(100)
        three = self.make("three", behind)
        self.hold(self.one)
        three._beaten = float("-inf")
        self.do(three.look())
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
        lose(self.store)
        self.pass_time(3 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").node, "one")

    def test_nobody_is_gone_because_the_store_lost_everything(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.one._loop.stop()
        lose(self.store)
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
        self.pass_time(NODE_TTL - BEAT)
        swap = self.store.swap_note
        self.store.swap_note = lambda *arguments: fail(StoreError("away"))
        self.pass_time(3 * BEAT)
        self.assertEqual((self.lost, self.two.others), (["blog"], {}))
        self.store.swap_note = swap

    def test_store_that_is_away_changes_nothing(self):
        """Also when all notes ran out meanwhile, whoever looks first then."""
        for first, second in ((self.one, self.two), (self.two, self.one)):
            self.hold(first, f"of-{first.own_id}")
            self.pass_time(2 * BEAT)
            ways = self.ways[first.own_id], self.ways[second.own_id]
            away = [way.cut() for way in ways]
            self.pass_time(2 * NODE_TTL)
            self.assertGreater(away[0].asked, 10)
            self.assertEqual(second.elsewhere(f"of-{first.own_id}").node, first.own_id)
            self.hold(second, f"new-{second.own_id}")
            ways[1].mend()
            self.pass_time(2 * BEAT)
            ways[0].mend()
            self.pass_time(3 * BEAT)
            self.assertEqual(first.elsewhere(f"new-{second.own_id}").node, second.own_id)
            self.assertEqual(second.elsewhere(f"of-{first.own_id}").node, first.own_id)
            self.assertEqual((self.lost, self.taken), ([], []))

    def test_node_whose_link_to_the_store_alone_is_gone(self):
        """It is alive as long as it can be reached, and what it holds is where it was."""
        self.hold(self.one)
        self.pass_time(BEAT)
        self.linked["two"] = {"one"}
        self.ways["one"].cut()
        self.patch(cluster, "LEASE_TTL", 1.0)
        for _ in range(3):
            self.pass_time(NODE_TTL)
            self.assertEqual((list(self.two.others), self.two.elsewhere("blog").node), (["one"], "one"))
            if ("leases", "blog") in self.store._notes:
                self.store._remove("leases", "blog")  # as if its time were over
        self.assertEqual(self.lost, [])
        self.linked["two"].clear()
        self.pass_time(2 * BEAT)
        self.assertEqual((self.lost, self.two.others), (["blog"], {}))

    def tell(self, told_by, name="blog", to=None):
        """A node tells the other what it holds."""
        return self.do(refresh(to or self.two, to_text(told_by.leases.held[name])))

    def test_lease_that_its_node_tells(self):
        self.pass_time(BEAT)
        changed = []
        self.two.on_leases.append(changed.extend)
        self.do(self.one.hold("blog", "http", None, options='{"allow": []}'))
        asked = self.ways["two"].cut()
        self.tell(self.one)
        self.assertEqual(self.two.elsewhere("blog").options, '{"allow": []}')
        self.assertEqual((changed, asked.asked), (["blog"], 0))
        self.tell(self.one)
        self.assertEqual(changed, ["blog"])

    def test_lease_that_its_node_tells_while_the_store_is_away(self):
        """Nor is the one before it seen again when the store is back, which has that still."""
        self.hold(self.one)
        self.pass_time(BEAT)
        ways = [self.ways["one"], self.ways["two"]]
        for way in ways:
            way.cut()
        self.do(self.one.hold("blog", "http", None, options='{"allow": []}'))
        self.tell(self.one)
        ways[1].mend()
        for _ in range(3):
            self.assertEqual(self.two.elsewhere("blog").options, '{"allow": []}')
            self.pass_time(BEAT)
        ways[0].mend()
        self.pass_time(3 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").options, '{"allow": []}')
        self.do(self.one.let_go("blog"))
        self.pass_time(BEAT)
        self.assertIsNone(self.two.elsewhere("blog"))

    def test_lease_that_is_told_by_a_node_that_is_not_known_yet(self):
        three = self.make("three")
        self.hold(three)
        self.tell(three)
        self.assertEqual(self.two.elsewhere("blog").node, "three")

    def test_lease_that_is_told_on_a_name_that_is_held_here(self):
        self.pass_time(BEAT)
        self.hold(self.two)
        self.hold(self.one)
        self.tell(self.one)
        self.assertEqual(self.taken, [("two", "blog", "one")])
        self.assertEqual(self.two.elsewhere("blog").node, "one")

    def test_what_is_told_and_is_no_lease_is_read(self):
        self.pass_time(BEAT)
        self.hold(self.one)
        for told in ("", "no JSON", "{}"):
            self.two.leases.theirs.clear()
            self.two.leases._again.add("blog")
            self.do(refresh(self.two, told))
            self.assertEqual(self.two.elsewhere("blog").node, "one")

    def test_node_that_goes_away_is_not_kept_by_its_link(self):
        self.pass_time(BEAT)
        self.linked["two"] = {"one"}
        self.do(self.one.drain())
        self.pass_time(BEAT)
        self.do(self.one.leave())
        self.pass_time(2 * BEAT)
        self.assertEqual(self.two.others, {})

    def test_clock_of_the_store_is_set_back(self):
        """A node that died is gone by our clock; one that lives stays."""
        offset = 0.0
        self.store._now = lambda: self.clock.seconds() + offset
        three = self.make("three")
        self.hold(self.one)
        self.pass_time(2 * BEAT)
        offset = -3600.0
        self.one._loop.stop()
        self.pass_time(NODE_TTL + 2 * BEAT)
        self.assertEqual((list(self.two.others), self.lost), (["three"], ["blog", "blog"]))
        self.assertEqual(list(three.others), ["two"])
        self.assertIsNone(self.two.elsewhere("blog"))

    def test_leases_that_were_taken_at_once(self):
        """Both nodes agree whose it is."""
        self.pass_time(BEAT)
        ask = cluster.Cluster.ask

        async def nobody(node, name):
            return None

        self.patch(cluster.Cluster, "ask", nobody)
        self.hold(self.two)
        self.hold(self.one)
        self.assertEqual(self.one.leases.held["blog"].since, self.two.leases.held["blog"].since)
        self.patch(cluster.Cluster, "ask", ask)
        self.pass_time(3 * BEAT)
        self.assertEqual(self.taken, [("one", "blog", "two")])
        self.assertEqual(self.one.elsewhere("blog").node, "two")
        self.assertIsNone(self.two.elsewhere("blog"))

    def test_node_that_was_taken_for_dead_yields_whatever_its_clock_says(self):
        ahead = Clock()
        ahead.advance(3600)
        three = self.make("three", ahead)
        self.do(three.hold("blog", "http", None))
        self.do(self.two.look())
        for _ in range(8):
            self.pass_time(BEAT)
        self.hold(self.two)
        ahead.advance(10)
        self.do(three.look())
        self.assertEqual(self.taken, [("three", "blog", "two")])
        self.pass_time(2 * BEAT)
        self.assertIsNone(self.two.elsewhere("blog"))

    def test_records_of_another_release(self):
        """What cannot be read is left alone, unknown fields are left out, and the looks go on."""
        self.hold(self.one)
        node = {**attr.asdict(self.one.node), "id": "newer", "color": "red", "beat": None}
        lease = {**attr.asdict(self.one.leases.held["blog"]), "name": "n", "node": "newer", "color": "red"}
        for text in ("[]", "nonsense", "{}", "null"):
            self.store.put_note("nodes", "strange", text)
            self.store.put_note("nodes", "newer", json.dumps(node))
            self.store.put_note("leases", "n", json.dumps(lease))
            self.store.put_note("leases", "odd", text)
            self.store.put_note("leases", "strange", json.dumps({**lease, "node": "strange"}))
            self.pass_time(2 * BEAT)
            self.assertEqual(set(self.two.others), {"one", "newer"})
            self.assertEqual(self.two.elsewhere("n").node, "newer")
            self.assertEqual(self.do(self.two.ask("odd")), None)
            leases = self.successResultOf(self.store.notes("leases"))
            self.assertEqual(set(leases), {"blog", "n", "odd", "strange"})

    def test_odd_notes_hide_no_others(self):
        self.pass_time(BEAT)
        lease = {**attr.asdict(Lease("odd", "one", "http", None, 1.0)), "since": "later"}
        for odd in (lease, {**lease, "since": 1, "node": []}, {**lease, "since": 1, "token": None}):
            self.store.put_note("leases", "odd", json.dumps(odd))
            self.hold(self.one)
            self.pass_time(2 * BEAT)
            self.assertEqual(self.two.elsewhere("blog").node, "one")
            self.assertIsNone(self.two.elsewhere("odd"))
            self.do(self.one.let_go("blog"))
            self.pass_time(2 * BEAT)

    def test_what_a_look_did_not_deal_with_is_told_again(self):
        self.pass_time(BEAT)
        resolve, leases = self.two.leases.resolve, self.two.leases
        leases.resolve = lambda *arguments, **options: 1 / 0
        self.hold(self.one)
        self.pass_time(2 * BEAT)
        leases.resolve = resolve
        leases._again.clear()  # as after half the work
        self.pass_time(2 * BEAT)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.assertEqual(self.two.elsewhere("blog").node, "one")

    def test_node_of_a_release_that_writes_no_log(self):
        """It is found, and from then on everything is read."""
        self.pass_time(BEAT)
        log, self.store._log = self.store._log, ChangeLog()
        older = Node("older", "127.0.0.1", 7000, "secret", "", "0", self.clock.seconds())
        self.store.put_note("nodes", "older", to_text(older), 1000.0)
        lease = Lease("blog", "older", "http", None, 1.0)
        self.store.put_note("leases", "blog", to_text(lease), 1000.0)
        self.store._log = log
        self.pass_time(2 * BEAT)
        self.assertNotIn("older", self.two.others)
        self.pass_time(cluster.COUNT_NODES)
        self.assertIn("older", self.two.others)
        self.assertEqual(self.two.elsewhere("blog"), lease)
        self.store._notes["leases", "blog"] = to_text(attr.evolve(lease, since=2.0)), None
        self.pass_time(2 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").since, 2.0)

    def test_nodes_of_older_releases_are_looked_for_now_and_then(self):
        asked = []
        self.ways["two"].inner = Counting(self.store, asked)
        self.pass_time(4 * cluster.COUNT_NODES)
        self.assertIn(len(asked), (3, 4))

    def test_looks_come_once_a_second_and_ten_times_while_somebody_waits(self):
        self.pass_time(2 * BEAT)
        looks = []
        look = self.two._look_now
        self.two._look_now = lambda renew: looks.append(self.clock.seconds()) or look(renew)
        self.pass_time(3 * BEAT)
        self.assertIn(len(looks), (3, 4))
        self.two.hurried.append(lambda: True)
        looks.clear()
        self.pass_time(BEAT)
        self.assertGreaterEqual(len(looks), 9)
        self.do(self.one.leave())
        self.pass_time(2 * BEAT)
        looks.clear()
        self.pass_time(3 * BEAT)  # alone there is nobody to wait for
        self.assertIn(len(looks), (3, 4))

    def test_changes_are_told_once_each(self):
        self.pass_time(2 * BEAT)
        changes = []
        self.two.on_nodes.append(lambda: changes.append(sorted(self.two.others)))
        self.two.on_leases.append(lambda names: changes.append(sorted(self.two.others)))
        self.pass_time(2 * BEAT)
        self.assertEqual(changes, [])
        self.hold(self.one)
        self.pass_time(2 * BEAT)
        self.assertEqual(changes, [["one"]])
        self.do(self.one.let_go("blog"))
        self.pass_time(2 * BEAT)
        self.assertEqual(changes, [["one"]] * 2)
        self.make("three")
        self.pass_time(2 * BEAT)
        self.assertEqual(changes, [["one"]] * 2 + [["one", "three"]])
        self.do(self.one.leave())
        self.pass_time(2 * BEAT)
        self.assertEqual(changes, [["one"]] * 2 + [["one", "three"], ["three"]])

    def test_what_is_known_is_said_while_the_store_is_away(self):
        self.hold(self.one)
        self.pass_time(2 * BEAT)
        self.ways["two"].cut()
        self.assertEqual(self.do(self.two.ask("blog")).node, "one")
        self.assertIsNone(self.do(self.two.ask("other")))
        self.assertFalse(self.do(self.two.strangers()))

    def test_strangers_are_those_of_another_group_that_stay_and_are_linked(self):
        self.pass_time(2 * BEAT)
        self.assertFalse(self.do(self.two.strangers()))
        self.linked.update(one={"two"}, two={"one"})
        self.assertTrue(self.do(self.two.strangers()))
        self.one.node = attr.evolve(self.one.node, group="two")
        self.pass_time(2 * BEAT)
        self.assertFalse(self.do(self.two.strangers()))
        self.one.node = attr.evolve(self.one.node, group="one")
        self.pass_time(2 * BEAT)
        self.assertTrue(self.do(self.two.strangers()))
        self.do(self.one.drain())
        self.assertFalse(self.do(self.two.strangers()))
        self.assertTrue(self.do(self.one.strangers()))

    def test_looks_go_on_after_an_exception(self):
        changes = self.store.changes
        self.store.changes = lambda *arguments: 1 / 0
        self.pass_time(3 * BEAT)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.store.changes = changes
        self.hold(self.one)
        self.pass_time(2 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").node, "one")

    def test_lease_that_the_store_lost_is_written_again(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.successResultOf(self.store.swap_note("leases", "blog", self.note("blog"), None))
        self.pass_time(2 * BEAT)
        self.assertEqual(self.two.elsewhere("blog").node, "one")

    def note(self, name):
        return self.successResultOf(self.store.note("leases", name))

    def test_what_is_held_here_is_not_elsewhere_and_what_is_let_go_is_nowhere(self):
        self.hold(self.one)
        self.do(self.two.ask("blog"))
        self.assertIsNotNone(self.two.elsewhere("blog"))
        self.hold(self.two)
        self.assertIsNone(self.two.elsewhere("blog"))
        self.do(self.one.let_go("blog"))  # not its own any more
        self.assertIn("two", self.note("blog"))
        self.do(self.two.let_go("blog"))
        self.assertIsNone(self.note("blog"))
        self.do(self.two.let_go("blog"))

    def test_who_leaves_holds_nothing(self):
        for name in ("a", "b"):
            self.hold(self.one, name)
        self.hold(self.two, "c")
        self.do(self.one.leave())
        self.assertEqual(set(self.successResultOf(self.store.notes("leases"))), {"c"})
        self.assertEqual(set(self.successResultOf(self.store.notes("nodes"))), {"two"})

    @pytest.mark.slow
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.4]), min_size=1, max_size=30), st.integers(0, 3))
    def test_three_nodes_that_take_a_name_while_the_store_is_slow_agree(self, delays, apart):
        clock, taken = Clock(), []
        store = MemoryStore(clock.seconds)
        pause = itertools.cycle(delays)
        nodes = [
            Cluster(clock, SlowStore(clock, store, lambda: next(pause)), name, now=lambda: 1000.0)
            for name in ("one", "two", "three")
        ]
        for node in nodes:
            node.on_taken.append(lambda lease, node=node: taken.append(node.own_id))
            Deferred.fromCoroutine(node.join(Node(node.own_id, "", 1, "", "", "0", 0.0)))
        clock.pump([0.1] * 60)
        for node in nodes:
            Deferred.fromCoroutine(node.hold("blog", "http", None))
            clock.pump([0.1] * apart)
        clock.pump([0.1] * 150)
        holding = [node.own_id for node in nodes if "blog" in node.leases.held]
        assert len(holding) == 1, (holding, taken)
        for node in nodes:
            seen = node.elsewhere("blog")
            assert node.own_id in holding or (seen is not None and seen.node == holding[0])

    def keep_for(self, seconds, nodes):
        """Let time pass; each node's lease is in the store, and known to the others, all along."""
        # Fewer turns than in earnest.
        self.patch(members, "NODE_TTL", 50.0)
        self.patch(cluster, "NODE_TTL", 50.0)
        for node in nodes:
            self.hold(node, f"of-{node.own_id}")
        self.pass_time(2 * BEAT)
        self.patch(members, "BEAT", 10.0)
        self.patch(cluster, "BEAT", 10.0)
        changes = []
        for node in nodes:
            node.on_nodes.append(lambda: changes.append(self.clock.seconds()))
            node.on_leases.append(lambda names: changes.append(self.clock.seconds()))
        names = {f"of-{node.own_id}": node.own_id for node in nodes}
        for _ in range(round(seconds / 10)):
            self.clock.advance(10)
            leases = self.successResultOf(self.store.notes("leases"))
            self.assertEqual(leases.keys(), names.keys(), f"after {self.clock.seconds()} s")
        for node in nodes:
            known = {lease.name: lease.node for lease in node.leases.theirs.values()}
            self.assertEqual(known, {name: own for name, own in names.items() if own != node.own_id})
        self.assertEqual((changes, self.lost, self.taken), ([], [], []))

    @pytest.mark.slow
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
        self.assertFalse(self.do(self.two.strangers()))  # without a link it may be dead
        self.linked["two"] = {"one"}
        self.assertTrue(self.do(self.two.strangers()))
        self.do(self.one.drain())
        self.assertFalse(self.do(self.two.strangers()))
        self.do(self.one.leave())
        self.pass_time(BEAT)
        self.assertEqual(self.two.others, {})
        self.assertIsNone(self.two.elsewhere("blog"))

    # -- what is written, and when ---------------------------------------------------------------------------

    def lease(self, name="blog"):
        """What the store says of a name."""
        text = self.note(name)
        return None if text is None else from_notes(Lease, {name: text})[name]

    def own_note(self, name):
        return from_notes(Node, self.successResultOf(self.store.notes("nodes")))[name]

    def test_times_are_those_of_the_documents(self):
        times = (SHORT_BEAT, BEAT, NODE_TTL, RENEW_LEASES, LEASE_TTL, cluster.COUNT_NODES)
        self.assertEqual(times, (0.1, 1.0, 5.0, 3000.0, 7200.0, 30.0))

    def test_lease_says_what_is_held_and_since_when(self):
        self.clock.advance(7)
        self.do(self.one.hold("blog", "tcp", 4711, "token", '{"a": 1}', 2))
        self.assertEqual(self.lease(), Lease("blog", "one", "tcp", 4711, 7.0, "token", '{"a": 1}', 2))
        self.hold(self.one, "shop")
        self.assertEqual(self.lease("shop"), Lease("shop", "one", "http", None, 7.0, "", "", 1))
        for name in ("blog", "shop"):
            self.assertEqual(self.store._notes["leases", name][1], 7.0 + LEASE_TTL)

    def test_lease_is_later_than_the_one_that_it_replaces(self):
        """By a thousandth of a second, where this machine's clock is behind."""
        self.pass_time(BEAT)
        self.patch(self.one, "_now", lambda: 1000.0)
        self.patch(self.two, "_now", lambda: 500.0)
        self.hold(self.one)
        self.hold(self.two)
        self.assertEqual((self.lease().node, self.lease().since), ("two", 1000.001))
        self.patch(self.two, "_now", lambda: 2000.0)
        self.hold(self.two)
        self.assertEqual(self.lease().since, 2000.0)

    def test_lease_that_is_taken_back_is_later_by_as_much(self):
        self.own("new")
        self.pass_time(BEAT)
        for node in (self.one, self.two):
            self.patch(node, "_now", lambda: 1000.0)
        self.do(self.one.hold("blog", "http", None, "new"))
        self.pass_time(BEAT)
        self.do(self.two.hold("blog", "http", None, "former"))
        self.assertEqual(self.lease().since, 1000.001)
        self.pass_time(2 * BEAT)
        self.assertEqual((self.lease().node, self.lease().since), ("one", 1000.002))

    def test_listeners_hear_of_a_name_that_moves_here(self):
        self.pass_time(BEAT)
        told = []
        self.two.on_leases.append(told.extend)
        self.hold(self.two, "free")
        self.assertEqual(told, [])
        self.hold(self.one)
        self.pass_time(BEAT)
        self.assertEqual(told, ["blog"])
        self.hold(self.two)
        self.assertEqual(told, ["blog", "blog"])

    def test_owner_that_takes_over_is_told_to_listeners(self):
        self.own("new")
        told = []
        self.one.on_leases.append(told.extend)
        self.do(self.one.hold("blog", "http", None, "former"))
        self.pass_time(BEAT)
        self.do(self.two.hold("blog", "http", None, "new"))
        self.pass_time(BEAT)
        self.assertEqual(told, ["blog"])

    def test_contested_name_that_is_let_go_meanwhile(self):
        """While the store is asked for the owner."""
        for token in (None, "former"):
            self.own("new")
            self.do(self.one.hold("blog", "http", None, "new"))
            self.pass_time(BEAT)
            self.do(self.two.hold("blog", "http", None, "former"))
            waiting, reservation = Deferred(), self.store.reservation
            self.store.reservation = lambda name, waiting=waiting: waiting
            self.pass_time(BEAT)
            self.store.reservation = reservation
            if token is None:
                self.do(self.one.let_go("blog"))
            else:  # opened anew, with the token of the other
                self.do(self.one.hold("blog", "http", None, token))
            before = self.lease()
            waiting.callback(self.successResultOf(self.store.reservation("blog")))
            self.assertEqual(self.lease(), before)
            self.assertEqual("blog" in self.one.leases.held, token is not None)
            self.do(self.two.let_go("blog"))
            self.do(self.one.let_go("blog"))
            self.pass_time(2 * BEAT)

    def test_lease_that_could_not_be_written_is_written_soon(self):
        put = self.store.put_note
        self.store.put_note = lambda *arguments: fail(StoreError("away"))
        self.hold(self.one)
        self.store.put_note = put
        self.assertIsNone(self.note("blog"))
        self.pass_time(2 * BEAT)
        self.assertEqual(self.lease().node, "one")

    def swaps(self):
        """The names of the leases that are written from now on, as they come."""
        found, swap = [], self.store.swap_note

        def counted(space, name, *more):
            if space == "leases":
                found.append(name)
            return swap(space, name, *more)

        self.store.swap_note = counted
        return found

    def test_leases_are_renewed_once_in_their_time(self):
        """Each in its own, also one that was opened anew since, and none before."""
        self.hold(self.one, "a")
        self.hold(self.one, "b")
        self.pass_time(BEAT)
        swaps = self.swaps()
        self.pass_time(3 * BEAT)
        self.assertEqual(swaps, [])
        self.clock.advance(1000)
        self.hold(self.one, "a")
        self.pass_time(BEAT)
        self.clock.advance(RENEW_LEASES - 1000)
        self.pass_time(3 * BEAT)
        self.assertEqual(swaps, ["b"])
        self.assertGreater(self.store._notes["leases", "b"][1], RENEW_LEASES + LEASE_TTL)
        self.clock.advance(1000)
        self.pass_time(3 * BEAT)
        self.assertEqual(swaps, ["b", "a"])

    def test_lease_that_the_store_dropped_is_there_again_when_it_is_renewed(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        del self.store._notes["leases", "blog"]  # it tells nobody
        self.clock.advance(RENEW_LEASES)
        self.pass_time(2 * BEAT)
        self.assertEqual(self.lease().node, "one")

    def test_renewal_does_not_undo_what_another_node_took(self):
        self.hold(self.one)
        self.pass_time(BEAT)
        self.clock.advance(RENEW_LEASES)
        theirs = Lease("blog", "two", "http", None, 9999.0)
        self.store._notes["leases", "blog"] = to_text(theirs), 1e9  # and was not read yet
        self.pass_time(2 * BEAT)
        self.assertEqual(self.lease(), theirs)

    def test_names_that_are_let_go_while_others_are_written(self):
        self.hold(self.one, "a")
        self.hold(self.one, "b")
        self.pass_time(BEAT)
        lose(self.store)
        swap, other = self.store.swap_note, []

        def meanwhile(space, name, *more):
            if space == "leases" and not other:
                other.append("b" if name == "a" else "a")
                self.one.leases.let_go(other[0])
            return swap(space, name, *more)

        self.store.swap_note = meanwhile
        self.pass_time(2 * BEAT)
        self.assertEqual(len(other), 1)
        self.assertIsNone(self.note(other[0]))

    # -- notes of nodes, and looks ---------------------------------------------------------------------------

    def test_note_of_a_node(self):
        note = self.own_note("one")
        self.assertEqual((note.group, note.draining, note.logs, note.sessions), ("one", False, True, {}))
        self.assertGreaterEqual(self.store._notes["nodes", "one"][1], self.clock.seconds() + NODE_TTL)
        self.one.members.session_began("token")
        before = note.beat
        self.pass_time(2 * BEAT)
        note = self.own_note("one")
        self.assertEqual(note.sessions, {"token": 1})
        self.assertNotEqual(note.beat, before)

    def test_node_that_drains_says_so_at_once(self):
        self.do(self.one.drain())
        self.assertIs(self.own_note("one").draining, True)

    def test_node_that_never_joined_has_nothing_to_say(self):
        three = Cluster(self.clock, self.ways["three"], "three", now=self.clock.seconds)
        self.do(three.drain())
        self.do(three.look(renew=True))
        self.assertEqual(set(three.others), {"one", "two"})
        self.assertFalse(self.do(three.strangers()))
        self.do(three.leave())
        self.assertEqual(set(self.successResultOf(self.store.notes("nodes"))), {"one", "two"})

    def test_node_that_left_writes_nothing_more(self):
        self.hold(self.one)
        self.do(self.one.leave())
        self.do(self.one.leave())
        self.pass_time(3 * BEAT)
        self.assertEqual(set(self.successResultOf(self.store.notes("nodes"))), {"two"})
        self.assertIsNone(self.note("blog"))

    def test_look_that_ends_after_the_node_left_takes_nothing_over(self):
        self.pass_time(BEAT)
        waiting, changes = Deferred(), self.store.changes
        self.ways["two"].inner = Delayed(self.store, waiting)
        self.pass_time(BEAT)
        self.do(self.two.leave())
        told = []
        self.two.on_leases.append(told.extend)
        self.two.on_nodes.append(lambda: told.append("node"))
        self.ways["two"].mend()
        self.make("three")
        self.hold(self.one)
        waiting.callback(None)
        self.assertEqual((told, self.two.elsewhere("blog")), ([], None))
        self.assertIs(self.store.changes.__func__, changes.__func__)

    def test_what_others_write_is_looked_at_soon_and_once(self):
        """Where the store tells that something was written."""
        told = []
        self.store.follow = told.append
        three = self.make("three")
        self.pass_time(2 * BEAT)
        looks = self.looks_of(three)
        told[0]()
        self.hold(self.one)
        self.clock.advance(SHORT_BEAT)
        self.assertEqual(three.elsewhere("blog").node, "one")
        self.assertLessEqual(len(looks), 2)
        looks.clear()
        self.pass_time(3 * BEAT)
        self.assertIn(len(looks), (3, 4))

    def looks_of(self, node):
        """The times of a node's looks from now on."""
        looks, look = [], node._look_now
        node._look_now = lambda renew: looks.append(self.clock.seconds()) or look(renew)
        return looks

    def test_node_that_is_alone_looks_no_oftener_whatever_is_written(self):
        told = []
        for node in (self.one, self.two):
            self.do(node.leave())
        self.store.follow = told.append
        three = self.make("three")
        self.pass_time(2 * BEAT)
        looks = self.looks_of(three)
        for _ in range(30):
            told[0]()
            self.clock.advance(SHORT_BEAT)
        self.assertIn(len(looks), (2, 3, 4))

    def test_names_that_are_shared_are_told_soon(self):
        self.pass_time(2 * BEAT)
        told = []
        self.two.on_leases.append(told.extend)
        self.one.members.share("blog", ["agent"])
        self.clock.advance(SHORT_BEAT)
        self.assertEqual(self.own_note("one").shares, {"blog": ["agent"]})
        looks = self.looks_of(self.one)
        self.pass_time(3 * BEAT)
        self.assertIn(len(looks), (2, 3, 4))
        self.assertEqual(self.two.members.shared, {"blog": {"one": ["agent"]}})
        self.assertEqual(told, ["blog"])

    def test_who_asks_for_a_lease_looks_only_if_its_node_is_not_known(self):
        self.pass_time(BEAT)
        looks = self.looks_of(self.two)
        self.hold(self.one)
        self.assertEqual(self.do(self.two.ask("blog")).node, "one")
        self.assertIsNone(self.do(self.two.ask("nothing")))
        self.store.put_note("leases", "stray", to_text(Lease("stray", "two", "http", None, 1.0)))
        self.assertIsNone(self.do(self.two.ask("stray")))
        self.assertEqual(looks, [])
        self.store.put_note("leases", "dead", to_text(Lease("dead", "gone", "http", None, 1.0)))
        self.assertIsNone(self.do(self.two.ask("dead")))
        self.assertEqual(len(looks), 1)

    def test_lease_that_was_read_before_its_node_is_known_counts_once_it_is(self):
        self.pass_time(BEAT)
        self.store.put_note("leases", "blog", to_text(Lease("blog", "five", "http", None, 1.0)))
        # Slow nodes, which have not removed it yet.
        self.patch(self.two.leases, "worthless", lambda alive, most: [])
        self.patch(self.one.leases, "worthless", lambda alive, most: [])
        self.pass_time(2 * BEAT)
        self.assertIsNone(self.two.elsewhere("blog"))
        node = Node("five", "127.0.0.1", 7000, "secret", "", "0", 0.0, logs=True)
        self.store.put_note("nodes", "five", to_text(node))
        self.pass_time(BEAT)
        self.assertEqual(self.two.elsewhere("blog").node, "five")

    def test_names_of_a_token_on_other_nodes(self):
        self.do(self.one.hold("blog", "http", None, "token"))
        self.do(self.two.hold("shop", "http", None, "token"))
        self.pass_time(BEAT)
        self.assertEqual(set(self.two.names_elsewhere("token")), {"blog"})
        self.assertEqual(set(self.two.names_elsewhere("other")), set())


class Counting:
    """A store that notes when it is asked for all notes."""

    def __init__(self, inner, asked):
        self.inner, self.asked = inner, asked

    def notes(self, space):
        self.asked.append(space)
        return self.inner.notes(space)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Delayed:
    """A store whose changes are told when C{waiting} fires."""

    def __init__(self, inner, waiting):
        self.inner, self.waiting = inner, waiting

    def changes(self, *arguments):
        return self.waiting.addCallback(lambda _: self.inner.changes(*arguments))

    def __getattr__(self, name):
        return getattr(self.inner, name)
