"""Tests for L{burrow.server.upkeep}: unused names and ports are freed, and nothing else."""

import attr
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.server.events import Events
from burrow.server.upkeep import EVERY, Upkeep
from burrow.store.base import Reservation
from burrow.store.memory import MemoryStore

DAY = 86_400.0
AFTER = 90 * DAY
START = 1_700_000_000.0
GIVEN = Reservation("given", "http", "token1", "agent1", "up", None, True, START, used=START)


class Tunnels:
    def __init__(self):
        self.names = []


class Freeing(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.time = START
        self.store = MemoryStore(self.clock.seconds)
        self.tunnels = Tunnels()
        self.events = Events(self.clock, self.store, "node1")
        self.upkeep = self.make()
        self.successResultOf(self.store.reserve(GIVEN))

    def make(self):
        return Upkeep(self.clock, self.store, self.tunnels, self.events, AFTER, lambda: self.time)

    def tidy(self, upkeep=None):
        self.successResultOf(Deferred.fromCoroutine((upkeep or self.upkeep).round()))

    def serve(self, days):
        """A server that is up all the time; a round a day is as good as one an hour."""
        for _ in range(days):
            self.time += DAY
            self.tidy()

    def names(self):
        return [known.name for known in self.successResultOf(self.store.reservations())]

    def test_freed_after_its_time_and_not_a_day_before(self):
        self.serve(90)
        self.assertEqual(self.names(), ["given"])
        self.serve(1)
        self.assertEqual(self.names(), [])
        self.assertIn("given was not used for 90 days", self.events._pending[0].text)

    def test_open_tunnel_counts_as_used(self):
        self.tunnels.names = ["given"]
        self.serve(200)
        self.tunnels.names = []
        self.serve(90)
        self.assertEqual(self.names(), ["given"])
        self.serve(1)
        self.assertEqual(self.names(), [])

    def test_asked_for_name_stays_for_ever(self):
        self.successResultOf(self.store.reserve(attr.evolve(GIVEN, name="asked", assigned=False, asked=True)))
        self.serve(1000)
        self.assertEqual(self.names(), ["asked"])

    def test_name_of_an_older_release_counts_from_now(self):
        self.successResultOf(self.store.reserve(attr.evolve(GIVEN, name="old", used=None, upstream="x")))
        self.serve(91)
        self.assertEqual(self.names(), ["old"])
        self.serve(1)
        self.assertEqual(self.names(), [])

    def test_while_no_server_was_up_nobody_could_use_anything(self):
        self.serve(1)
        self.time += 365 * DAY
        self.tidy()
        self.assertEqual(self.names(), ["given"])
        self.serve(90)
        self.assertEqual(self.names(), ["given"])
        self.serve(1)
        self.assertEqual(self.names(), [])

    def test_clock_that_is_wrong_for_a_while(self):
        self.serve(1)
        right = self.time
        for wrong in (right + 365 * DAY, 0.0, right):
            self.time = wrong
            self.tidy()
            self.assertEqual(self.names(), ["given"])

    def test_of_several_nodes_one_does_it(self):
        other = self.make()
        self.serve(91)
        self.successResultOf(self.store.reserve(attr.evolve(GIVEN, name="second")))
        self.time += EVERY / 3
        self.tidy(other)
        self.assertEqual(self.names(), ["second"])
        self.time += EVERY
        self.tidy(other)
        self.assertEqual(self.names(), [])

    def test_every_hour_also_after_a_store_that_was_away(self):
        rounds = []
        self.store.names_used = lambda names, when: rounds.append(when) or fail(StoreError("away"))
        self.upkeep.start()
        self.addCleanup(self.upkeep.stop)
        self.clock.pump([EVERY / 2] * 6)
        self.assertEqual(len(rounds), 3)
