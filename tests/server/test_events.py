"""Tests for L{burrow.server.events}."""

import json

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.server import events
from burrow.server.events import RING, Events, recent
from burrow.store.memory import MemoryStore


class Ring(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = MemoryStore(self.clock.seconds)
        self.events = Events(self.clock, self.store, "node1", self.clock.seconds)
        self.events.start()

    def texts(self):
        found = self.successResultOf(Deferred.fromCoroutine(recent(self.store)))
        return [event.text for event in found]

    def test_events_of_all_nodes_in_order(self):
        other = Events(self.clock, self.store, "node2", self.clock.seconds)
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

    def test_events_of_another_release_and_nonsense(self):
        self.store.put_note(
            "events", "other-000", json.dumps({"when": 1.0, "node": "n", "kind": "k", "text": "t", "x": 1})
        )
        event = {"when": 1.0, "node": "x", "kind": "y", "text": "z"}
        odd = [
            {**event, **changed} for changed in ({"when": "x"}, {"when": 1e300}, {"text": 1}, {"number": ""})
        ]
        for number, text in enumerate(("[]", "nonsense", "{}", "null", *map(json.dumps, odd))):
            self.store.put_note("events", f"odd-{number}", text)
        self.events.add("one", "ours")
        self.clock.advance(1)
        self.assertEqual(self.texts(), ["ours", "t"])

    def test_processes_that_start_again_and_again_leave_no_more_than_the_last(self):
        self.patch(events, "KEPT", 20)
        for number in range(30):
            one = Events(self.clock, self.store, f"process{number}", self.clock.seconds)
            one.add("node-started", f"start {number}")
            one.add("node-stopped", f"stop {number}")
            self.successResultOf(Deferred.fromCoroutine(one.stop()))
            self.clock.advance(1)
            self.assertLessEqual(len(self.texts()), 22)
        self.assertEqual(self.texts()[-2:], ["start 29", "stop 29"])

    def test_writing_goes_on_after_an_exception(self):
        put = self.store.put_note
        self.store.put_note = lambda *arguments: 1 / 0
        self.events.add("one", "waited")
        self.clock.advance(2)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.store.put_note = put
        self.clock.advance(1)
        self.assertEqual(self.texts(), ["waited"])
