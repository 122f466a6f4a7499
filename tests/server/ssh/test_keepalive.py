"""Tests for L{burrow.server.ssh.keepalive}: who counts as gone."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.ssh.keepalive import ASK_EVERY, SILENT_LOOKS, Keepalive
from burrow.sockets import Way


class Watched(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.way = None
        self.told = []
        self.keepalive = Keepalive(
            self.clock, lambda: self.told.append("asked"), lambda: self.told.append("gone"), lambda: self.way
        )

    def looks(self, count=1):
        """Let it look so often. @return: what it did."""
        for _ in range(count):
            self.clock.advance(ASK_EVERY)
        told, self.told = self.told, []
        return told

    def test_who_answers_nothing_is_gone(self):
        self.assertEqual(self.looks(SILENT_LOOKS), ["asked", "asked", "gone"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_sends_something_is_not_asked(self):
        for _ in range(10):
            self.keepalive.heard()
            self.assertEqual(self.looks(), [])

    def test_an_answer_begins_the_time_anew(self):
        for _ in range(10):
            self.assertEqual(self.looks(SILENT_LOOKS - 1), ["asked", "asked"])
            self.keepalive.heard()
            self.assertEqual(self.looks(), [])

    def test_a_slow_line_that_still_takes_what_was_sent_is_alive(self):
        for taken in range(1, 10):
            self.way = Way(taken * 1000, 1_000_000)
            self.assertEqual(self.looks(), [])

    def test_a_kernel_that_takes_questions_for_a_program_that_stands_still_is_no_sign(self):
        for taken in (0, 50):
            self.way = Way(taken, taken)
            self.assertEqual(self.looks(), ["asked"])
        self.way = Way(100, 100)
        self.assertEqual(self.looks(), ["gone"])

    def test_what_is_sent_and_not_taken_is_no_sign(self):
        self.way = Way(5, 1000)
        self.assertEqual(self.looks(), [])  # some of it was
        self.assertEqual(self.looks(SILENT_LOOKS), ["asked", "asked", "gone"])

    def test_a_server_whose_machine_slept_asks_first(self):
        self.clock.advance(3600)
        self.assertEqual(self.told, ["asked"])

    def test_it_stops(self):
        self.keepalive.stop()
        self.keepalive.stop()
        self.assertEqual(self.looks(SILENT_LOOKS), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
