"""Tests for L{burrow.server.events}."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.server.events import RING, Events, recent
from burrow.store.memory import MemoryStore


class Ring(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = MemoryStore(self.clock.seconds)
        self.events = Events(self.clock, self.store, "node1")
        self.events.start()

    def texts(self):
        found = self.successResultOf(Deferred.fromCoroutine(recent(self.store)))
        return [event.text for event in found]

    def test_events_of_all_nodes_in_order(self):
        other = Events(self.clock, self.store, "node2")
        self.events.add("one", "first")
        self.clock.advance(0.5)
        other.add("two", "second")
        self.successResultOf(Deferred.fromCoroutine(other.stop()))
        self.clock.advance(0.5)
        self.assertEqual(self.texts(), ["first", "second"])

    def test_the_last_are_kept(self):
        for number in range(3 * RING):
            self.events.add("many", str(number))
            if number % 50 == 0:
                self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(len(self.texts()), RING)
        self.assertIn(str(3 * RING - 1), self.texts())
        self.clock.advance(86_401)
        self.assertEqual(self.texts(), [])

    def test_events_wait_for_a_store_that_is_away(self):
        put = self.store.put_note
        self.store.put_note = lambda *arguments: fail(StoreError("away"))
        self.events.add("one", "waited")
        self.clock.advance(1)
        self.store.put_note = put
        self.clock.advance(1)
        self.assertEqual(self.texts(), ["waited"])
