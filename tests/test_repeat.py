"""Tests for L{burrow.repeat}."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.repeat import TELL_EVERY, repeating


class Repeating(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()

    def test_goes_on_after_an_exception_and_tells_it_once_a_minute(self):
        for work in (lambda: 1 / 0, self.later):
            loop = repeating(self.clock, work, "it")
            loop.start(1.0, now=False)
            self.clock.pump([1.0] * 10)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.clock.pump([1.0] * round(TELL_EVERY))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertTrue(loop.running)
            loop.stop()

    async def later(self):
        return 1 / 0

    def test_next_turn_waits_for_the_last(self):
        turns = []

        def work():
            turns.append(Deferred())
            return turns[-1]

        loop = repeating(self.clock, work, "it")
        loop.start(1.0)
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(turns), 1)
        turns[0].callback(None)
        self.clock.advance(1.0)
        self.assertEqual(len(turns), 2)
