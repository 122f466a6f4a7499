"""Tests for L{burrow.server.lookups}: the cost of questions about names without an owner."""

from types import SimpleNamespace

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.batches import AT_ONCE, PAUSE
from burrow.errors import StoreError
from burrow.server import lookups
from burrow.server.lookups import MAX_REMEMBERED, REMEMBER, Lookups


class Questions:
    """A store that answers when the test lets it."""

    whole = True

    def __init__(self):
        self.owned = set()
        self.kinds = {}
        self.asked = []

    def find_reservations(self, names):
        self.asked.append((list(names), Deferred()))
        return self.asked[-1][1]

    def answer(self, number=-1, unknown=()):
        names, answer = self.asked[number]
        found = {
            name: SimpleNamespace(kind=self.kinds.get(name, "http")) if name in self.owned else None
            for name in names
        }
        answer.callback({name: found[name] for name in names if name not in unknown})


class Asking(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = Questions()
        self.alone = True
        self.lookups = Lookups(self.clock, self.store, lambda: self.alone)

    def ask(self, name):
        return Deferred.fromCoroutine(self.lookups.owned(name))

    def nobodys(self, names):
        self.store.asked.append(names)
        return succeed(dict.fromkeys(names))

    def test_any_number_of_names_is_one_question_at_a_time(self):
        self.store.owned = {"name7", "name900"}
        asked = [self.ask(f"name{number}") for number in range(AT_ONCE + 2)]
        asked.append(self.ask("name7"))
        self.assertEqual([names for names, _ in self.store.asked], [["name0"]])
        self.store.answer()
        self.assertFalse(self.successResultOf(asked[0]))
        self.assertEqual(len(self.store.asked), 1)
        self.clock.advance(PAUSE)
        self.assertEqual([len(names) for names, _ in self.store.asked], [1, AT_ONCE])
        self.clock.advance(10)
        self.assertEqual(len(self.store.asked), 2)
        self.store.answer()
        self.assertTrue(self.successResultOf(asked[7]))
        self.assertTrue(self.successResultOf(asked[-1]))
        self.assertNoResult(asked[-2])
        self.clock.advance(PAUSE)
        self.store.answer()
        self.assertFalse(self.successResultOf(asked[-2]))

    def test_a_private_tunnels_name_is_nobodys(self):
        self.store.owned, self.store.kinds = {"box"}, {"box": "private-http"}
        asked = self.ask("box")
        self.store.answer()
        self.assertFalse(self.successResultOf(asked))
        self.assertFalse(self.successResultOf(self.ask("box")))  # and is remembered as such
        self.assertEqual(len(self.store.asked), 1)

    def test_random_names_for_a_second_cost_fifty_questions(self):
        self.store.find_reservations = self.nobodys
        for number in range(10_000):
            self.ask(f"name{number}")
            self.clock.advance(0.0001)
        self.assertLessEqual(len(self.store.asked), 1 + 1 / PAUSE)

    def test_name_that_is_nobodys_is_remembered_for_a_moment(self):
        asked = self.ask("blog")
        self.store.answer()
        self.assertFalse(self.successResultOf(asked))
        self.clock.advance(REMEMBER * 0.99)
        self.assertFalse(self.successResultOf(self.ask("blog")))
        self.assertEqual(len(self.store.asked), 1)
        self.clock.advance(REMEMBER * 0.02)
        self.assertNoResult(self.ask("blog"))
        self.assertEqual(len(self.store.asked), 2)

    def test_nothing_is_remembered_while_another_node_may_open_it(self):
        self.alone = False
        for number in range(3):
            asked = self.ask("blog")
            self.store.answer()
            self.assertFalse(self.successResultOf(asked))
            self.clock.advance(PAUSE)
            self.assertEqual(len(self.store.asked), number + 1)

    def test_store_that_lost_something_says_nothing_that_is_remembered(self):
        self.store.whole = False
        self.ask("blog")
        self.store.answer()
        self.clock.advance(PAUSE)
        self.ask("blog")
        self.assertEqual(len(self.store.asked), 2)

    def test_remembered_names_are_bounded(self):
        self.store.find_reservations = self.nobodys
        self.patch(self.lookups._batches, "at_once", 1)
        self.patch(lookups, "REMEMBER", 1e6)
        for number in range(MAX_REMEMBERED + 1):
            self.ask(f"name{number}")
            self.clock.advance(PAUSE)
        self.assertEqual(len(self.lookups._unowned), MAX_REMEMBERED)
        self.store.find_reservations = lambda names: fail(StoreError("asked"))
        self.assertFalse(self.successResultOf(self.ask(f"name{MAX_REMEMBERED}")))
        self.assertFalse(self.successResultOf(self.ask("name1")))
        self.failureResultOf(self.ask("name0"), StoreError)

    def test_name_that_is_reserved_is_not_nobodys_any_more(self):
        """Whether it was remembered, is being asked for, or waits to be asked for."""
        self.ask("blog")
        self.store.answer()
        self.clock.advance(PAUSE)
        asked, waiting = self.ask("shop"), self.ask("db")
        self.store.owned = {"blog", "db"}
        for name in ("blog", "shop", "db"):
            self.lookups.reserved(name)
        self.assertTrue(self.successResultOf(waiting))
        self.store.answer()
        self.assertFalse(self.successResultOf(asked))
        self.assertEqual(self.lookups._unowned, {})
        self.clock.advance(PAUSE)
        again = self.ask("blog")
        self.store.answer()
        self.assertTrue(self.successResultOf(again))

    def test_what_cannot_be_a_name_costs_nothing(self):
        for name in (
            "",
            "a_b",
            "a..b",
            ".a",
            "a.",
            f"{'a' * 64}.b",
            "a." * 130 + "b",
            "x" * 64,
            "ä",
            "a\n",
            "A",
        ):
            self.assertFalse(self.successResultOf(self.ask(name)))
        self.assertEqual(self.store.asked, [])

    def test_store_that_cannot_tell(self):
        asked, other = self.ask("blog"), self.ask("shop")
        self.store.answer(unknown=("blog",))
        self.failureResultOf(asked, StoreError)
        self.clock.advance(PAUSE)
        self.store.asked[-1][1].errback(StoreError("away"))
        self.assertEqual(str(self.failureResultOf(other, StoreError).value), "away")
        self.clock.advance(PAUSE)
        again = self.ask("shop")
        self.store.answer()
        self.assertFalse(self.successResultOf(again))

    def test_visitor_that_left_meanwhile(self):
        asked, other = self.ask("blog"), self.ask("blog")
        asked.cancel()
        self.failureResultOf(asked)
        self.store.answer()
        self.clock.advance(PAUSE)
        self.store.answer()
        self.assertFalse(self.successResultOf(other))
