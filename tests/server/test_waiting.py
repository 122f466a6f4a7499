"""Tests for L{burrow.server.waiting}."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server import waiting
from burrow.server.waiting import Waiting


class Asking:
    def __init__(self, may_be_gone):
        self.may_be_gone = may_be_gone


class Waiters(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.waiting = Waiting(self.clock)

    def wait(self, name, seconds=10, asking=None):
        return Deferred.fromCoroutine(self.waiting.wait(name, seconds, asking))

    def test_all_of_a_name_are_woken(self):
        waiters = [self.wait("blog") for _ in range(5)]
        other = self.wait("shop")
        self.assertEqual(sorted(self.waiting), ["blog", "shop"])
        self.waiting.wake("blog")
        self.assertEqual([self.successResultOf(one) for one in waiters], [True] * 5)
        self.assertNoResult(other)

    def test_too_long(self):
        waiter = self.wait("blog", 3)
        self.clock.advance(3)
        self.assertFalse(self.successResultOf(waiter))
        self.assertFalse(self.waiting)
        self.waiting.wake("blog")

    def test_too_many(self):
        """More are refused at once and leave nothing; other tunnels have room, and then this one again."""
        self.patch(waiting, "MAX_WAITING", 3)
        self.patch(waiting, "MAX_PER_TUNNEL", 2)
        self.wait("blog")
        self.wait("blog")
        self.assertFalse(self.successResultOf(self.wait("blog")))
        self.wait("shop")
        self.assertFalse(self.successResultOf(self.wait("cafe")))
        self.assertEqual(sorted(self.waiting), ["blog", "shop"])
        self.waiting.wake("blog")
        self.waiting.wake("shop")
        self.assertFalse(self.waiting)
        self.assertNoResult(self.wait("cafe"))

    def test_who_may_be_gone_makes_room(self):
        """In the order in which they came; those who are there stay."""
        self.patch(waiting, "MAX_PER_TUNNEL", 3)
        asking = [Asking(True), Asking(False), Asking(True)]
        waiters = [self.wait("blog", asking=one) for one in asking]
        fourth = self.wait("blog", asking=Asking(False))
        self.assertFalse(self.successResultOf(waiters[0]))
        fifth = self.wait("blog")
        self.assertFalse(self.successResultOf(waiters[2]))
        self.assertFalse(self.successResultOf(self.wait("blog")))
        for one in (waiters[1], fourth, fifth):
            self.assertNoResult(one)
        asking[1].may_be_gone = True
        sixth = self.wait("blog")
        self.assertFalse(self.successResultOf(waiters[1]))
        self.waiting.wake("blog")
        self.assertEqual([self.successResultOf(one) for one in (fourth, fifth, sixth)], [True] * 3)

    def test_room_of_all_is_made_by_who_may_be_gone(self):
        self.patch(waiting, "MAX_WAITING", 2)
        self.wait("blog", asking=Asking(False))
        gone = self.wait("shop", asking=Asking(True))
        there = self.wait("cafe")
        self.assertFalse(self.successResultOf(gone))
        self.assertEqual(sorted(self.waiting), ["blog", "cafe"])
        self.assertFalse(self.successResultOf(self.wait("cafe")))
        self.assertNoResult(there)

    def test_cancelled_gives_its_place_back(self):
        self.patch(waiting, "MAX_PER_TUNNEL", 1)
        waiter = self.wait("blog")
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.assertNoResult(self.wait("blog"))
