"""Tests for L{burrow.certificates.limits}: what we ask of a CA stays below what it allows."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates.limits import FAILED, HOUR, SAME_NAME, Limits
from burrow.mux.control import CertificateFailed
from burrow.store.memory import MemoryStore
from burrow.store.spaces import WEEK


class Counting(SynchronousTestCase):
    def setUp(self):
        self.now = 1_000_000.0
        self.store = MemoryStore(lambda: self.now)
        self.limits = self.make()

    def make(self, weekly=10):
        return Limits(self.store, "https://ca.example/dir", weekly, lambda: self.now)

    def begin(self, name, *, renewal=False):
        return self.successResultOf(Deferred.fromCoroutine(self.limits.begin(name, renewal=renewal)))

    def refused(self, name, *, renewal=False):
        asked = Deferred.fromCoroutine(self.limits.begin(name, renewal=renewal))
        return str(self.failureResultOf(asked, CertificateFailed).value)

    def do(self, coroutine):
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_new_names_a_week(self):
        for number in range(10):
            self.begin(f"n{number}.example.com")
            self.now += 60
        self.assertIn("10 certificates for new names a week", self.refused("more.example.com"))
        self.limits = self.make()  # a restart forgets nothing
        self.refused("more.example.com")
        self.begin("n1.example.com", renewal=True)
        self.now = 1_000_000.0 + WEEK + 1
        self.begin("more.example.com")
        self.refused("another.example.com")

    def test_what_was_not_issued_does_not_count(self):
        for _ in range(50):
            counted = self.begin("blog.example.com")
            self.do(self.limits.undo(counted))
        self.begin("blog.example.com")

    def test_one_name_a_week(self):
        for _ in range(SAME_NAME):
            self.begin("blog.example.com", renewal=True)
        self.assertIn(f"{SAME_NAME} certificates for blog.example.com", self.refused("blog.example.com"))
        # A refusal by one rule leaves nothing counted by another.
        for number in range(10):
            self.begin(f"n{number}.example.com")

    def test_failed_validations_an_hour(self):
        for _ in range(FAILED):
            self.begin("blog.example.com", renewal=True)
            self.do(self.limits.failed("blog.example.com"))
        self.assertIn("within an hour", self.refused("blog.example.com"))
        self.begin("other.example.com")
        self.now += HOUR + 1
        self.limits = self.make(0)
        self.begin("blog.example.com")

    def test_what_the_ca_says(self):
        self.do(self.limits.refused(self.now + 500))
        self.assertIn("rate limit is reached until", self.refused("blog.example.com"))
        self.now += 501
        self.begin("blog.example.com")
        self.do(self.limits.refused(None))
        self.now += HOUR - 1
        self.refused("blog.example.com")

    def test_no_limit_of_ours(self):
        self.limits = self.make(0)
        for number in range(200):
            self.begin(f"n{number % 3}.example.com")
