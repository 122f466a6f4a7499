"""Tests for L{burrow.certificates.acme.limits}: what we ask of a CA stays below what it allows."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates.acme.limits import (
    DAY,
    DEMANDED,
    DEMANDED_PART,
    DEMANDED_PART_OF_ONE,
    FAILED,
    FAILED_OF_ONE,
    HOUR,
    INFORMED,
    SAME_NAME,
    Limits,
)
from burrow.certificates.acme.problems import AcmeProblem
from burrow.certificates.acme.refusals import MAX_DOMAINS, REFUSED_LIMIT, Scope, scope_of
from burrow.clock import WEEK
from burrow.errors import CertificateFailed, StoreError
from burrow.store.memory import MemoryStore
from burrow.store.spaces import LIMITS


class Counting(SynchronousTestCase):
    def setUp(self):
        self.now = 1_000_000.0
        self.store = MemoryStore(lambda: self.now)
        self.limits = self.make()

    def make(self, weekly=10, share=0):
        return Limits(self.store, "https://ca.example/dir", weekly, lambda: self.now, share)

    def begin(self, name, *, renewal=False, token=""):
        begun = self.limits.begin(name, renewal=renewal, token=token)
        return self.successResultOf(Deferred.fromCoroutine(begun))

    def refused(self, name, *, renewal=False, token=""):
        asked = Deferred.fromCoroutine(self.limits.begin(name, renewal=renewal, token=token))
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

    def test_one_token_gets_its_share_of_new_names(self):
        self.limits = self.make(share=4)
        for number in range(4):
            self.begin(f"n{number}.greedy.example", token="greedy")
        refused = self.refused("more.greedy.example", token="greedy")
        self.assertIn(
            "limit of 4 certificates for new names of one token a week is reached until 1970-", refused
        )
        self.limits = self.make(share=4)  # a restart forgets nothing
        self.refused("more.greedy.example", token="greedy")
        self.begin("n0.greedy.example", renewal=True, token="greedy")
        for number in range(4):
            self.begin(f"n{number}.example.com", token="modest")
        self.begin("example.com")  # the server's own
        # A refusal leaves nothing counted, and what was not issued neither.
        counted = self.begin("another.example.com", token="third")
        self.assertIn("10 certificates for new names a week", self.refused("more.example.com", token="third"))
        self.do(self.limits.undo(counted))
        self.begin("more.example.com", token="third")
        self.now += WEEK + 1
        self.begin("more.greedy.example", token="greedy")

    def test_a_share_without_a_limit_for_all(self):
        self.limits = self.make(0, share=1)
        self.begin("one.example.com", token="a")
        self.assertIn("1 certificate for new names of one token", self.refused("two.example.com", token="a"))
        self.begin("two.example.com", token="b")

    def test_one_tokens_wildcard_names_leave_hosts_to_others(self):
        self.limits = self.make(60, share=30)
        most = 60 // DEMANDED_PART // DEMANDED_PART_OF_ONE
        for number in range(most):
            self.do(self.limits.demanded(f"n{number // DEMANDED}.example.com", "greedy"))
        asked = Deferred.fromCoroutine(self.limits.demanded("more.example.com", "greedy"))
        text = str(self.failureResultOf(asked, CertificateFailed).value)
        self.assertIn(f"limit of {most} new hosts under one token's wildcard names a week", text)
        for number in range(DEMANDED):  # the refusal has counted none of them
            self.do(self.limits.demanded("more.example.com", f"token{number}"))

    def test_failed_validations_of_one_token_an_hour(self):
        for number in range(FAILED_OF_ONE):
            self.do(self.limits.failed(f"n{number}.bad.example", "bad"))
            self.now += 1
        refused = self.refused("another.bad.example", token="bad")
        self.assertIn(f"the names of this token failed {FAILED_OF_ONE} validations within an hour", refused)
        self.begin("good.example.com", token="good")
        self.now += HOUR - FAILED_OF_ONE + 1
        self.begin("another.bad.example", token="bad")

    def test_what_was_not_issued_does_not_count(self):
        for _ in range(50):
            counted = self.begin("blog.example.com")
            self.do(self.limits.undo(counted))
        self.begin("blog.example.com")

    def test_orders_that_began_at_the_same_time_are_taken_back_one_by_one(self):
        self.limits = self.make(2)
        counted = self.begin("a.example.com")
        self.begin("b.example.com")
        self.do(self.limits.undo(counted))
        self.begin("c.example.com")
        self.refused("d.example.com")

    def failing(self, failures):
        """Have the store fail at some of the next writes: before they are done, or after."""
        swap = self.store.swap_note

        def fails(*arguments):
            how = failures.pop(0) if failures else ""
            if how == "before":
                return fail(StoreError("away"))
            done = swap(*arguments)
            return fail(StoreError("away")) if how == "after" else done

        self.store.swap_note = fails

    def counts(self):
        return self.successResultOf(self.store.notes(LIMITS)).values()

    def test_a_store_that_fails_while_an_order_is_counted(self):
        for how in ("before", "after"):
            self.limits = self.make(share=4)
            self.failing(["", how])
            begun = Deferred.fromCoroutine(self.limits.begin("blog.example.com", renewal=False, token="a"))
            self.failureResultOf(begun, StoreError)
            self.assertEqual(set(self.counts()), {"[]"}, how)

    def test_a_store_that_is_away_when_an_order_fails(self):
        """What was counted is taken back when the store is there again."""
        self.limits = self.make(2, share=2)
        counted = self.begin("blog.example.com", token="a")
        self.failing(["before"])
        self.do(self.limits.undo(counted))
        self.assertNotEqual(set(self.counts()), {"[]"})
        for name in ("a.example.com", "b.example.com"):
            self.begin(name, token="a")
        self.refused("c.example.com", token="b")

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
        self.do(
            self.limits.refusals.add("blog.example.com", AcmeProblem("rateLimited", "no", self.now + 500))
        )
        self.assertIn("rate limit is reached until", self.refused("other.example.com"))
        self.now += 499
        self.refused("other.example.com")
        self.now += 1
        self.begin("other.example.com")
        self.do(self.limits.refusals.add("blog.example.com", AcmeProblem("rateLimited", "no")))
        self.now += HOUR - 1
        self.refused("blog.example.com")
        self.now += 1
        self.begin("blog.example.com")

    def test_what_the_ca_says_is_capped(self):
        far = AcmeProblem("rateLimited", "no", self.now + WEEK)
        self.do(self.limits.refusals.add("blog.example.com", far))
        self.now += REFUSED_LIMIT - 1
        self.refused("blog.example.com")
        self.now += 1
        self.begin("blog.example.com")
        # So is what a release before this one left in the store, or a clock that was set back.
        self.store.put_note(LIMITS, "https://ca.example/dir refused", repr(self.now + WEEK))
        self.begin("other.example.com")

    def test_whom_the_ca_means(self):
        """The first words are those of Let's Encrypt."""
        name = "blog.example.com"
        one, all_of_them = Scope(name, new=False), Scope("", new=False)
        under = Scope("example.com", new=True)
        for text, names, scope in [
            ("too many certificates (5) already issued for this exact set of identifiers in the", (), one),
            ('too many failed authorizations (5) for "blog.example.com" in the last 1h0m0s', (), one),
            ('too many certificates (50) already issued for "example.com" in the last 168h0m0s', (), under),
            ("too many certificates for example.com.", (), under),
            ("too many new orders (300) from this account in the last 3h0m0s", (), Scope("", new=True)),
            ("too many new registrations (10) from this IP address in the last 3h0m0s", (), all_of_them),
            ("busy: see https://example.com/limits, ask help@example.com", (), all_of_them),
            ("too many of com", (), all_of_them),
            ('too many certificates for "other.com"', (), one),
            ("blog.example.com has enough", (), one),
            ("my-blog.example.com has enough, x.blog.example.com, blog.example.com-x", (), all_of_them),
            ("example.com.au has enough", (), all_of_them),
            ("no", (name,), one),
            ("no", (name, "other.example.com"), one),
            ("no", ("other.example.com", "example.com"), Scope("example.com", new=False)),
            ("no", ("other.example.com",), one),
            ("no", ("com",), one),
            ("", (), all_of_them),
        ]:
            problem = AcmeProblem("rateLimited", text, None, frozenset(names))
            self.assertEqual(scope_of(problem, name), scope, text)

    def test_one_users_domain_is_no_others(self):
        for names, renewal in (((), False), (("evil.example",), True)):
            text = "no" if names else 'too many certificates (50) already issued for "evil.example"'
            problem = AcmeProblem("rateLimited", text, self.now + HOUR, frozenset(names))
            self.do(self.limits.refusals.add("x.evil.example", problem))
            for name in ("x.evil.example", "y.evil.example", "a.b.evil.example", "evil.example"):
                self.refused(name, renewal=renewal)
            for name in ("blog.example.com", "app.honest.example", "notevil.example"):
                self.begin(name)
            self.begin("old.example.com", renewal=True)
        self.now += HOUR
        self.begin("x.evil.example")

    def test_renewals_of_a_domain_whose_new_names_are_too_many(self):
        self.do(self.limits.refusals.add("x.evil.example", AcmeProblem("rateLimited", 'for "evil.example"')))
        self.refused("y.evil.example")
        self.begin("y.evil.example", renewal=True)

    def test_so_many_domains_are_remembered(self):
        for number in range(MAX_DOMAINS + 1):
            problem = AcmeProblem("rateLimited", f'for "e{number}.example"', self.now + 600 + number)
            self.do(self.limits.refusals.add(f"x.e{number}.example", problem))
        self.begin("x.e0.example")
        for number in (1, MAX_DOMAINS):
            self.refused(f"x.e{number}.example")

    def test_servers_that_note_refusals_all_the_time(self):
        self.patch(self.store, "swap_note", lambda *args: succeed(False))
        adding = self.limits.refusals.add("x.e.example", AcmeProblem("rateLimited", 'for "e.example"'))
        self.failureResultOf(Deferred.fromCoroutine(adding), StoreError)

    def test_order_that_tells_what_it_replaces(self):
        """No refusal of the CA's holds for it; a limit of ours does."""
        for scope in ("refused", "refused new", "refused blog.example.com"):
            self.store.put_note(LIMITS, f"https://ca.example/dir {scope}", repr(self.now + HOUR))
        self.refused("blog.example.com", renewal=True)
        counted = []
        for _ in range(INFORMED):
            begun = self.limits.begin("blog.example.com", renewal=True, informed=True)
            counted += self.do(begun)
        begun = Deferred.fromCoroutine(self.limits.begin("blog.example.com", renewal=True, informed=True))
        self.failureResultOf(begun, CertificateFailed)
        self.now += 1
        self.do(self.limits.undo(counted))
        for _ in range(INFORMED):
            self.do(self.limits.begin("blog.example.com", renewal=True, informed=True))
        self.now += DAY + 1
        self.do(self.limits.begin("blog.example.com", renewal=True, informed=True))

    def test_count_that_never_stands_still(self):
        """Other servers change it all the time: that ends, too."""
        swaps = []
        self.store.swap_note = lambda *arguments: swaps.append(1) or succeed(False)
        begun = Deferred.fromCoroutine(self.limits.begin("blog.example.com", renewal=False))
        self.failureResultOf(begun, StoreError)
        self.assertTrue(len(swaps) < 1000)

    def test_no_limit_of_ours(self):
        self.limits = self.make(0)
        for number in range(200):
            self.begin(f"n{number % 3}.example.com")
