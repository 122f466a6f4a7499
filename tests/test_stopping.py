"""Tests for L{burrow.stopping}: what a first and a second signal ask for."""

import signal
from unittest import TestCase

from twisted.internet.task import Clock

from burrow.stopping import ONE_REQUEST, StopSignals


class Signals(TestCase):
    def setUp(self):
        self.clock = Clock()
        self.asked = []

    def signals(self, **options):
        return StopSignals(
            self.clock, lambda: self.asked.append("stop"), lambda: self.asked.append("now"), **options
        )

    def test_second_ends_now(self):
        signals = self.signals()
        signals.asked(signal.SIGINT)
        self.assertEqual(self.asked, ["stop"])
        self.clock.advance(ONE_REQUEST)
        signals.asked(signal.SIGINT)  # still the same request
        self.assertEqual(self.asked, ["stop"])
        self.clock.advance(0.001)
        signals.asked(signal.SIGTERM)
        signals.asked(signal.SIGTERM)
        self.assertEqual(self.asked, ["stop", "now", "now"])

    def test_worker_ends_now_by_its_parents_word_alone(self):
        signals = self.signals(worker=True)
        for _ in range(3):
            signals.asked(signal.SIGTERM)
            self.clock.advance(1)
        self.assertEqual(self.asked, ["stop"])
        signals.asked(signal.SIGINT)
        self.assertEqual(self.asked, ["stop", "now"])
