"""Tests for L{burrow.server.edge.sweep}."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.edge.sweep import Sweep


class Member:
    deadline = None
    calls = 0

    def timed_out(self):
        self.calls += 1


class Sweeps(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.member = Member()

    def pass_seconds(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)

    def test_deadline_passes_once(self):
        self.sweep.add(self.member, 3)
        self.pass_seconds(2)
        self.assertEqual(self.member.calls, 0)
        self.pass_seconds(10)
        self.assertEqual((self.member.calls, self.member.deadline), (1, None))

    def test_deadline_is_moved_and_taken_away(self):
        self.sweep.add(self.member, 3)
        self.pass_seconds(2)
        self.sweep.add(self.member, 3)
        self.pass_seconds(2)
        self.sweep.discard(self.member)
        self.pass_seconds(10)
        self.assertEqual(self.member.calls, 0)

    def test_stop(self):
        self.sweep.stop()
        self.sweep.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
