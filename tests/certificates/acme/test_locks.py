"""Tests for L{burrow.certificates.acme.locks}."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates.acme.locks import RENEW_EVERY, TTL, Locks
from burrow.errors import StoreError
from burrow.store.memory import MemoryStore


class Locking(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = MemoryStore(self.clock.seconds)
        self.one, self.two = Locks(self.clock, self.store), Locks(self.clock, self.store)

    def do(self, coroutine):
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_one_has_it_as_long_as_it_takes(self):
        self.assertTrue(self.do(self.one.take("blog")))
        self.clock.pump([RENEW_EVERY] * 20)
        self.assertFalse(self.do(self.two.take("blog")))
        self.assertTrue(self.do(self.two.take("shop")))
        self.do(self.one.release("blog"))
        self.assertTrue(self.do(self.two.take("blog")))
        self.do(self.one.release("blog"))
        self.assertFalse(self.do(self.one.take("blog")))

    def test_holder_that_died_leaves_it_soon(self):
        self.do(self.one.take("blog"))
        self.one.stop()
        self.clock.advance(TTL - 1)
        self.assertFalse(self.do(self.two.take("blog")))
        self.clock.advance(1)
        self.assertTrue(self.do(self.two.take("blog")))

    def test_lock_that_the_store_lost(self):
        """It is taken again, unless another node has it; then it stays that one's."""
        for other in (False, True):
            self.do(self.one.take("blog"))
            self.store._notes.clear()
            if other:
                self.do(self.two.take("blog"))
            self.clock.advance(RENEW_EVERY)
            self.assertEqual(self.do(self.two.take("blog")), False)
            self.do(self.one.release("blog"))
            self.assertEqual(self.do(self.two.take("blog")), not other)
            self.do(self.two.release("blog"))

    def test_store_that_breaks(self):
        """Renewing goes on."""
        self.do(self.one.take("blog"))
        swap, self.store.swap_note = self.store.swap_note, lambda *arguments: fail(KeyError("broken"))
        self.clock.advance(RENEW_EVERY)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.store.swap_note = swap
        self.clock.pump([RENEW_EVERY] * 4)
        self.assertFalse(self.do(self.two.take("blog")))

    def test_store_that_is_away(self):
        self.do(self.one.take("blog"))
        swap, self.store.swap_note = self.store.swap_note, lambda *arguments: fail(StoreError("away"))
        self.clock.advance(RENEW_EVERY)
        self.store.swap_note = swap
        self.clock.pump([RENEW_EVERY] * 4)
        self.assertFalse(self.do(self.two.take("blog")))
        self.store.swap_note = lambda *arguments: fail(StoreError("away"))
        self.do(self.one.release("blog"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
