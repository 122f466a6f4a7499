"""Tests for L{burrow.server.waiting}."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server import waiting
from burrow.server.waiting import Waiting


class Waiters(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.waiting = Waiting(self.clock)

    def wait(self, name, seconds=10):
        return Deferred.fromCoroutine(self.waiting.wait(name, seconds))

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
