"""Tests for L{burrow.certificates.acme.issuer}: bad moments, many names, strange answers of a CA."""

import tempfile
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow import batches
from burrow.certificates.acme import cache, issuer, plans, renewals, turns
from burrow.certificates.acme.authority import Authority
from burrow.certificates.acme.client import ExternalAccount
from burrow.certificates.acme.demand import PAUSE
from burrow.certificates.acme.issuer import AcmeCertificates
from burrow.certificates.acme.limits import DAY, DEMANDED, DEMANDED_PART, HOUR, INFORMED
from burrow.certificates.acme.orders import ISSUE_TIMEOUT
from burrow.certificates.acme.refusals import REFUSED_LIMIT
from burrow.certificates.acme.tidy import KEEP_EXPIRED
from burrow.certificates.sealed import Sealer
from burrow.errors import CertificateFailed, StoreError, Unavailable
from burrow.store.base import Reservation
from burrow.store.memory import MemoryStore
from burrow.store.spaces import ACCOUNTS, CERTIFICATES, ERRORS, LIMITS
from tests.certificates.acme.fake_ca import FakeCA

DOMAIN = "tunnel.example"
BEGIN = 1_790_000_000.0


class WithFakeCA(SynchronousTestCase):
    options = {}
    weekly = 45

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.store = MemoryStore(self.clock.seconds)
        self.names = set()
        self.asked = []
        self.nobodys = set()
        self.folder = Path(tempfile.mkdtemp()) / "kept"
        self.ca = FakeCA(self.clock.seconds, **self.options)
        self.ca.use(self)
        self.certificates = self.make()

    def make(self, authorities=None, **options):
        made = AcmeCertificates(
            self.clock,
            self.store,
            DOMAIN,
            authorities or [Authority("https://ca/dir", weekly=self.weekly)],
            lambda: self.names,
            self.has_owner,
            self.clock.seconds,
            folder=self.folder,
            **options,
        )
        self.addCleanup(lambda: self.successResultOf(made.stop()))
        return made

    def has_owner(self, host):
        self.asked.append(host)
        return succeed(host not in self.nobodys)

    def ready(self, *labels):
        """Open tunnels; each gets its certificate."""
        for label in labels:
            self.successResultOf(self.certificates.ready(f"{label}.{DOMAIN}"))

    def refused(self, label, error=CertificateFailed):
        return str(self.failureResultOf(self.certificates.ready(f"{label}.{DOMAIN}"), error).value)

    def use(self, *labels):
        """Open them, and have them in use from now on."""
        self.ready(*labels)
        self.names.update(f"{label}.{DOMAIN}" for label in labels)

    def start(self):
        """Begin to renew; the base domain has its certificate then."""
        self.certificates.start()
        self.round()

    def round(self, count=1):
        for _ in range(count):
            self.clock.advance(issuer.CHECK_EVERY)
            self.clock.pump([0.0] * 300)

    def note(self, space, key):
        return self.successResultOf(self.store.note(space, key))

    def counts(self):
        """How many orders of each kind are counted."""
        notes = self.successResultOf(self.store.notes(LIMITS))
        return {key.partition(" ")[2]: text.count(".") for key, text in notes.items() if text != "[]"}


class Refusals(WithFakeCA):
    """What the CA refuses, and for whom."""

    def refusing(self, detail, retry_after=10**9, names=None, **fields):
        def refuse(name):
            refused = names is None or name.partition(".")[0] in names
            return ({"detail": detail.replace("NAME", name), **fields}, retry_after) if refused else None

        self.ca.refuse = refuse

    def test_one_name(self):
        """Let's Encrypt's own words, and identifiers as RFC 8555 section 6.7.1 has them."""
        texts = [
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
            'too many failed authorizations (5) for "NAME" in the last 1h0m0s, retry after 2026-01-01',
            "you have asked for NAME too often",
        ]
        for number, text in enumerate(texts):
            self.refusing(text, names={f"busy{number}"})
            self.assertIn("rate limit", self.refused(f"busy{number}"))
            self.ready(f"other{number}")
            asked = self.ca.asked["newOrder"]
            self.assertIn("rate limit", self.refused(f"busy{number}"))
            self.assertEqual(self.ca.asked["newOrder"], asked)
        name = f"sub.{DOMAIN}"
        sub = {"type": "x", "detail": "no", "identifier": {"type": "dns", "value": name}}
        self.refusing("no", names={"sub"}, subproblems=[sub])
        self.refused("sub")
        self.ready("another")

    def test_new_names(self):
        """Those that have a certificate are renewed."""
        self.use("old")
        self.refusing(f'too many certificates (50) already issued for "{DOMAIN}" in the last 168h0m0s')
        self.refused("new")
        self.ca.refuse = lambda name: None
        asked = self.ca.asked["newOrder"]
        self.assertIn("until", self.refused("newer"))
        self.assertEqual(self.ca.asked["newOrder"], asked)
        self.clock.advance(REFUSED_LIMIT - 1)
        self.refused("newer")
        self.certificates.start()
        self.clock.advance(61 * DAY)
        self.round()
        self.assertEqual(self.ca.issued[f"old.{DOMAIN}"], 2)

    def test_everything(self):
        self.use("old")
        self.refusing("slow down", retry_after="Fri, 31 Dec 9999 23:59:59 GMT")
        self.refused("new")
        self.ca.refuse = lambda name: None
        self.refused("newer")

    def test_for_a_few_hours_at_most(self):
        """Whatever the CA says: 31 years, without bound, nonsense, nothing, or now."""
        far = (10**9, "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT")
        for retry_after, seconds in [*((wait, REFUSED_LIMIT) for wait in far), ("soon", HOUR), ("", HOUR)]:
            self.refusing("slow down", retry_after)
            self.refused("new")
            self.ca.refuse = lambda name: None
            self.clock.advance(seconds - 2)
            self.refused("new")
            self.clock.advance(3)
            self.ready("new")
            self.store._notes.clear()
            self.certificates.cache._known.clear()
        self.refusing("slow down", 0)
        self.refused("new")
        self.ca.refuse = lambda name: None
        self.ready("new")


class Informed(WithFakeCA):
    """A CA that says when to renew (RFC 9773)."""

    options = {"informs": True}

    def window(self, start, end, retry_after=None):
        self.ca.window = {"suggestedWindow": {"start": start, "end": end}}, retry_after

    def test_renewals_are_exempt_from_the_cas_limits(self):
        self.use("old")
        self.start()
        self.ca.refuse = lambda name: ({"detail": "slow down"}, 10**9) if name.startswith("new") else None
        self.refused("new")
        self.window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        self.clock.advance(7 * HOUR)
        self.refused("newer")
        self.round(2)
        self.assertEqual(self.ca.issued[f"old.{DOMAIN}"], 1 + INFORMED)
        self.assertIn("replaces", self.ca.orders[-1])

    def test_window_that_is_always_in_the_past(self):
        """It is renewed at once, as the CA wants; and not again and again."""
        self.window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", 60)
        self.use("old")
        self.start()
        self.round(200)
        self.assertEqual(self.ca.issued[f"old.{DOMAIN}"], 1 + INFORMED)
        self.assertEqual(self.ca.issued[DOMAIN], 1 + INFORMED)
        self.clock.advance(DAY)
        self.round(50)
        self.assertEqual(self.ca.issued[f"old.{DOMAIN}"], 1 + 2 * INFORMED)

    def test_windows_that_make_no_sense(self):
        """RFC 9773 section 4.2: as if nothing was said: at two thirds of the lifetime."""
        self.use("old")
        plan = self.certificates.renewals._plans.get(f"old.{DOMAIN}")
        for start, end in [
            ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00", "2026-01-02T00:00:00"),
            ("9999-01-01T00:00:00Z", "9999-12-31T00:00:00Z"),
            ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"),
            ("yesterday", "2026-01-02T00:00:00Z"),
            (None, None),
            (1, 2),
        ]:
            plan.renew_at = 0.0
            self.window(start, end)
            self.successResultOf(Deferred.fromCoroutine(self.certificates.renewals.ask_when(f"old.{DOMAIN}")))
            self.assertEqual(plan.renew_at, plan.usually, start)
        for odd in ({}, {"suggestedWindow": 3}, [], "x"):
            self.ca.window = odd, None
            self.successResultOf(Deferred.fromCoroutine(self.certificates.renewals.ask_when(f"old.{DOMAIN}")))
            self.assertEqual(plan.renew_at, plan.usually)

    def test_window_that_ends_after_the_certificate(self):
        self.use("old")
        plan = self.certificates.renewals._plans.get(f"old.{DOMAIN}")
        self.window("2026-10-01T00:00:00Z", "9999-12-31T00:00:00Z")
        for _ in range(20):
            self.successResultOf(Deferred.fromCoroutine(self.certificates.renewals.ask_when(f"old.{DOMAIN}")))
            self.assertTrue(plan.renew_at < plan.expires - 4 * DAY)

    def test_when_to_ask_again(self):
        """RFC 9773 section 4.3.2: not before a minute, not after a day."""
        self.use("old")
        plan = self.certificates.renewals._plans.get(f"old.{DOMAIN}")
        for said, seconds in [
            *((0, 60.0), (59, 60.0), (61, 61.0), (86_401, 86_400.0), (10**30, 86_400.0)),
            *((None, 6 * HOUR), ("\u00b2", 6 * HOUR), ("-5", 6 * HOUR)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ]:
            self.window("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z", said)
            self.successResultOf(Deferred.fromCoroutine(self.certificates.renewals.ask_when(f"old.{DOMAIN}")))
            self.assertEqual(plan.ask_at - self.clock.seconds(), seconds, said)

    def test_more_names_than_contexts(self):
        """Each is asked about as often as the CA says, so many at once, and nothing is loaded again."""
        self.patch(cache, "MAX_CONTEXTS", 20)
        self.window("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", 6 * 3600)
        self.use(*(f"n{number}" for number in range(44)))
        self.certificates.start()
        asked = [self.ca.asked["renewal"]]
        for _ in range(4):
            self.round()
            asked.append(self.ca.asked["renewal"])
        self.assertEqual(asked, [plans.ASK_AT_ONCE, 40, 45, 45, 45])  # with the base domain, 45
        loads, note = [], self.store.note
        self.store.note = lambda *key: loads.append(key) or note(*key)
        self.round(20)
        self.assertEqual(loads, [])
        self.assertEqual(self.ca.asked["renewal"], 45)
        self.assertEqual(len(self.certificates.cache), 20)


class AtOnce(WithFakeCA):
    weekly = 0

    def test_what_is_due_together_is_renewed_a_few_at_a_time(self):
        """The most urgent first."""
        self.certificates.start()
        self.use("urgent")
        self.ca.lifetime += 3600
        self.use(*(f"n{number}" for number in range(24)))
        self.ca.held["newOrder"] = waiting = []
        self.clock.advance(85 * DAY)
        self.round()
        self.assertEqual(len(waiting), renewals.RENEW_AT_ONCE)
        self.assertIn(f"urgent.{DOMAIN}", self.certificates.renewals._renewing)
        for _ in range(30):
            while waiting:
                waiting.pop().callback(None)
            self.round()
            self.assertTrue(len(waiting) <= renewals.RENEW_AT_ONCE)
        self.assertEqual(set(self.ca.issued.values()), {2})

    def test_tunnels_that_open_together_order_a_few_at_a_time(self):
        names = [f"n{number}.{DOMAIN}" for number in range(turns.ORDERS_AT_ONCE + 1)]
        self.ca.held["newOrder"] = waiting = []
        opening = [self.certificates.ready(name) for name in names]
        self.assertEqual(len(waiting), turns.ORDERS_AT_ONCE)
        waiting.pop(0).callback(None)
        self.successResultOf(opening[0])
        self.assertEqual(len(waiting), turns.ORDERS_AT_ONCE)
        self.clock.advance(ISSUE_TIMEOUT)
        for each in opening[1:]:
            self.failureResultOf(each, CertificateFailed)

    def test_one_tokens_orders_leave_room_for_others(self):
        self.ca.held["newOrder"] = waiting = []
        most = turns.AT_ONCE_OF_ONE
        greedy = [
            self.certificates.ready(f"n{number}.greedy.example", "greedy") for number in range(most + 2)
        ]
        self.assertEqual(len(waiting), most)
        self.certificates.ready(f"modest.{DOMAIN}", "modest").addErrback(lambda reason: None)
        self.assertEqual(len(waiting), most + 1)
        waiting.pop(0).callback(None)
        self.successResultOf(greedy[0])
        self.assertEqual(len(waiting), most + 1)
        self.clock.advance(ISSUE_TIMEOUT)
        for each in greedy[1:-1]:
            self.failureResultOf(each, CertificateFailed)
        self.assertEqual(list(self.certificates._turns._of_token), ["greedy"])
        self.clock.advance(ISSUE_TIMEOUT)
        self.failureResultOf(greedy[-1], CertificateFailed)
        self.assertEqual(self.certificates._turns._of_token, {})

    def test_turn_of_a_tokens_own_that_does_not_come(self):
        self.ca.held["newOrder"] = waiting = []
        self.certificates._turns._of_token["greedy"] = own = DeferredSemaphore(1)
        own.acquire()
        waits = self.certificates.ready("n.greedy.example", "greedy")
        self.clock.advance(ISSUE_TIMEOUT)
        text = str(self.failureResultOf(waits, Unavailable).value)
        self.assertIn("other certificates of this token; the agent tries again", text)
        self.assertEqual(waiting, [])

    def test_a_tokens_turns_end_with_the_rooms(self):
        """It waits for both together no longer than for one."""
        self.ca.held["newOrder"] = []
        self.certificates._turns._room.tokens = 0
        waits = self.certificates.ready(f"late.{DOMAIN}", "late")
        self.clock.advance(ISSUE_TIMEOUT)
        self.assertIn("many certificates", str(self.failureResultOf(waits, Unavailable).value))
        self.assertEqual(self.certificates._turns._of_token, {})

    def test_turn_that_does_not_come(self):
        """The agent is told to come again, and not that its certificate failed."""
        self.ca.held["newOrder"] = waiting = []
        self.ca.held["finalize"] = []
        opening = [self.certificates.ready(f"n{number}.{DOMAIN}") for number in range(turns.ORDERS_AT_ONCE)]
        self.clock.advance(1)
        late = self.certificates.ready(f"late.{DOMAIN}")
        self.clock.advance(ISSUE_TIMEOUT - 1)
        for each in opening:
            self.failureResultOf(each, CertificateFailed)
        self.assertEqual(len(waiting), turns.ORDERS_AT_ONCE + 1)
        self.clock.advance(ISSUE_TIMEOUT)
        self.failureResultOf(late, CertificateFailed)
        self.certificates._turns._room.tokens = 0
        again = self.certificates.ready(f"late.{DOMAIN}")
        self.clock.advance(ISSUE_TIMEOUT)
        self.failureResultOf(again, Unavailable)


class Outcomes(WithFakeCA):
    """What counts, and what is kept, when something goes wrong in the middle."""

    def test_order_that_takes_too_long_before_it_is_final(self):
        self.ca.pending.add(f"slow.{DOMAIN}")
        opening = self.certificates.ready(f"slow.{DOMAIN}")
        self.clock.pump([1] * int(ISSUE_TIMEOUT))
        self.assertIn("within 50 seconds", str(self.failureResultOf(opening).value))
        self.assertEqual(self.counts(), {})

    def test_order_that_takes_too_long_after_it_is_final(self):
        """The CA may have issued: it counts; and what it issues late is taken, not ordered again."""
        self.ca.held["finalize"] = []
        name = f"slow.{DOMAIN}"
        opening = self.certificates.ready(name)
        self.clock.pump([1] * 29)
        del self.ca.held["finalize"]
        self.clock.pump([1] * 21)
        self.failureResultOf(opening, CertificateFailed)
        self.assertEqual(self.counts(), {"new": 1, f"name {name}": 1})

    def test_why_an_order_failed_is_told_though_the_store_is_away_by_then(self):
        """And what was counted for it is taken back when the store is there again."""
        swap, put = self.store.swap_note, self.store.put_note

        def mend():
            self.store.swap_note, self.store.put_note = swap, put

        def refuse(name):
            self.store.swap_note = self.store.put_note = lambda *note: fail(StoreError("away"))
            return {"detail": "slow down"}, 60

        self.ca.refuse = refuse
        self.assertIn("slow down", self.refused("blog"))
        self.assertEqual(self.counts()["new"], 1)
        self.clock.advance(10)  # the lock is over
        mend()
        self.ca.refuse = lambda name: None
        self.ready("blog")
        self.assertEqual(self.counts(), {"new": 1, f"name blog.{DOMAIN}": 1})

    def test_certificate_that_comes_late(self):
        self.ca.held["finalize"] = []
        name = f"slow.{DOMAIN}"
        opening = self.certificates.ready(name)
        self.clock.pump([1] * 25)
        self.ca.held["certificate"] = late = []
        self.ca.held.pop("finalize")[0].callback(None)
        self.clock.pump([1] * 25)
        self.assertIn("within 50 seconds", str(self.failureResultOf(opening).value))
        again = self.certificates.ready(name)
        self.clock.advance(1)
        self.assertNoResult(again)  # it waits for the one that goes on
        late[0].callback(None)
        self.clock.advance(1)
        self.successResultOf(again)
        self.assertEqual(self.ca.issued, {name: 1})
        self.assertEqual(self.counts(), {"new": 1, f"name {name}": 1})
        self.assertEqual(self.successResultOf(self.store.notes("acme-locks")), {})

    def test_ca_that_says_no_at_the_end(self):
        """Nothing was issued, for certain: it does not count."""
        self.ca._finalize = lambda number, payload: (403, {"type": "x:unauthorized", "detail": "no"}, {})
        self.refused("no")
        self.ca._finalize = lambda number, payload: (200, {"status": "invalid"}, {})
        self.refused("no")
        self.assertEqual(self.counts(), {})
        self.ca._finalize = lambda number, payload: (
            *(500, {"type": "urn:ietf:params:acme:error:serverInternal"}),
            {},
        )
        self.refused("perhaps")
        self.assertEqual(self.counts(), {"new": 1, f"name perhaps.{DOMAIN}": 1})

    def break_store(self):
        put, swap = self.store.put_note, self.store.swap_note

        def away(space, *arguments, **options):
            if space == CERTIFICATES:
                return fail(StoreError("the disk is full"))
            return (put if len(arguments) == 2 else swap)(space, *arguments, **options)

        self.store.put_note = lambda space, key, text, ttl=None: (
            fail(StoreError("the disk is full")) if space == CERTIFICATES else put(space, key, text, ttl)
        )
        self.store.swap_note = lambda space, *arguments: (
            fail(StoreError("the disk is full")) if space == CERTIFICATES else swap(space, *arguments)
        )

        def mend():
            self.store.put_note, self.store.swap_note = put, swap

        return mend

    def test_store_that_fails_when_the_certificate_comes(self):
        """The tunnel opens with it; it is written once the store can."""
        name = f"kept.{DOMAIN}"
        mend = self.break_store()
        self.ready("kept")
        self.assertIsNotNone(self.successResultOf(self.certificates.context(name)))
        self.assertIsNone(self.note(CERTIFICATES, name))
        (file,) = self.folder.glob("*")
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.certificates.start()
        self.clock.advance(issuer.RELOAD_EVERY + 1)
        self.assertIsNotNone(self.successResultOf(self.certificates.context(name)))
        mend()
        self.round()
        self.assertIn("PRIVATE KEY", self.note(CERTIFICATES, name))
        self.assertEqual(list(self.folder.glob("*")), [])
        self.assertEqual(self.ca.issued[name], 1)

    def test_restart_before_the_store_is_back(self):
        name = f"kept.{DOMAIN}"
        mend = self.break_store()
        self.ready("kept")
        leaf = self.certificates.cache.leaf(name)
        self.successResultOf(self.certificates.stop())
        self.certificates = self.make()
        self.start()
        self.ready("kept")
        self.assertEqual(self.certificates.cache.leaf(name), leaf)
        self.assertEqual(self.ca.issued[name], 1)
        mend()
        self.round()
        self.assertIn("PRIVATE KEY", self.note(CERTIFICATES, name))
        self.assertEqual(list(self.folder.glob("*")), [])

    def test_what_was_kept_does_not_replace_what_is_newer(self):
        name = f"kept.{DOMAIN}"
        mend = self.break_store()
        self.ready("kept")
        mend()
        self.clock.advance(100)
        other = self.make()
        other._unwritten._folder = None
        self.successResultOf(other.ready(name))
        self.certificates.start()
        self.round()
        self.successResultOf(Deferred.fromCoroutine(self.certificates.cache.load(name)))
        self.assertEqual(self.certificates.cache.get(name).text, other.cache.get(name).text)
        self.assertEqual(self.note(CERTIFICATES, name), other.cache.get(name).text)
        self.assertEqual(list(self.folder.glob("*")), [])

    def test_file_that_is_none(self):
        self.folder.mkdir()
        (self.folder / f"broken.{DOMAIN}.pem").write_text("nonsense")
        self.start()
        self.assertEqual(self.ca.issued, {DOMAIN: 1})


class TwoCAs(WithFakeCA):
    """A second CA, for when the first does not issue."""

    def setUp(self):
        super().setUp()
        self.second = FakeCA(self.clock.seconds, eab=True, profiles={"short": "x"})
        self.ca.use(self, self.second)
        self.certificates = self.make(
            [
                Authority("https://ca/dir", weekly=1),
                Authority("https://ca2/dir", external=ExternalAccount("kid2", "c2VjcmV0"), profile="short"),
            ]
        )

    def test_its_own_account_and_profile(self):
        self.ready("one", "two")
        self.assertEqual(self.ca.issued, {f"one.{DOMAIN}": 1})
        self.assertEqual(self.second.issued, {f"two.{DOMAIN}": 1})
        self.assertIn("externalAccountBinding", self.second.accounts[0])
        self.assertEqual(self.second.orders[0]["profile"], "short")
        self.assertNotIn("profile", self.ca.orders[0])
        self.assertNotIn("externalAccountBinding", self.ca.accounts[0])

    def test_renewal_when_the_first_may_not_be_asked(self):
        self.use("one")
        self.certificates.start()
        for key in ("refused", f"refused one.{DOMAIN}"):
            soon = repr(self.clock.seconds() + 61 * DAY + HOUR)
            self.store.put_note(LIMITS, f"https://ca/dir {key}", soon)
            before = self.second.issued[f"one.{DOMAIN}"]
            self.clock.advance(61 * DAY)
            self.round(2)
            self.assertEqual(self.second.issued[f"one.{DOMAIN}"], before + 1)
        self.assertEqual(self.ca.issued[f"one.{DOMAIN}"], 1)
        self.assertEqual(self.successResultOf(self.store.notes("acme-locks")), {})

    def test_both_refuse(self):
        self.use("one")
        for ca in (self.ca, self.second):
            ca.refuse = lambda name: ({"detail": "slow down"}, 60)
        self.assertIn("; then", self.refused("two"))


class Profiles(WithFakeCA):
    options = {"profiles": {"classic": "x", "shortlived": "y"}, "lifetime": 160 * HOUR}

    def test_profile(self):
        self.certificates = self.make([Authority("https://ca/dir", profile="shortlived", weekly=45)])
        self.use("one")
        self.assertEqual([order["profile"] for order in self.ca.orders], ["shortlived"])
        self.start()
        self.clock.advance(107 * HOUR)
        self.round(2)
        self.assertEqual(self.ca.issued[f"one.{DOMAIN}"], 2)

    def test_profile_that_the_ca_has_not(self):
        self.certificates = self.make([Authority("https://ca/dir", profile="other")])
        self.assertIn("classic, shortlived", self.refused("one"))
        self.assertEqual(self.ca.orders, [])

    def test_ca_without_profiles(self):
        self.ca._directory["meta"] = "nonsense"
        self.certificates = self.make([Authority("https://ca/dir", profile="other")])
        self.assertIn("it has no profiles", self.refused("one"))
        self.certificates = self.make()
        self.ca._directory["meta"] = {}
        self.ready("one")
        self.assertNotIn("profile", self.ca.orders[0])


class Shown(WithFakeCA):
    """What handshakes are shown."""

    def context(self, name):
        asked = self.certificates.context(name)
        if not asked.called:  # asked together with others
            self.clock.advance(batches.PAUSE)
        return self.successResultOf(asked)

    def test_names_without_an_owner(self):
        """They cost a question together with others', and none of the store's by themselves."""
        self.use("blog")
        self.start()
        under = {f"n{number}.{DOMAIN}" for number in range(100)} | {f"a.b.{DOMAIN}"}
        outside = {"elsewhere.example", "xtunnel.example"}
        self.nobodys = under | outside
        asked, note = [], self.store.note
        self.store.note = lambda *key: asked.append(key) or note(*key)
        for name in (*under, f"a.b.c.{DOMAIN}"):
            self.assertIsNone(self.context(name))
        self.assertEqual(set(self.asked), under)
        own = self.context(DOMAIN)
        for name in (None, "elsewhere.example", "xtunnel.example", ""):
            self.assertIs(self.context(name), own)
        self.assertEqual(set(self.asked), self.nobodys)
        self.assertIsNot(self.context(f"blog.{DOMAIN}"), own)
        self.assertIsNone(self.successResultOf(self.certificates.challenge(f"blog.{DOMAIN}")))
        for name in (None, "elsewhere.example", f"a.b.{DOMAIN}", f"a.b.c.{DOMAIN}"):
            self.assertIsNone(self.successResultOf(self.certificates.challenge(name)))
        self.assertEqual([key for key in asked if key[0] == CERTIFICATES], [])

    def test_a_domain_of_a_users_own(self):
        """It gets a certificate when its tunnel opens, as a name under the base domain does."""
        self.use("blog")
        self.start()
        self.assertIsNone(self.context("app.example.org"), "it has an owner, and none yet")
        self.successResultOf(self.certificates.ready("app.example.org"))
        self.assertIn("app.example.org", self.ca.issued)
        self.assertIsNotNone(self.context("app.example.org"))
        self.assertIsNot(self.context("app.example.org"), self.context(DOMAIN))

    def test_hosts_of_a_wildcard_are_ordered_when_they_are_asked_for(self):
        self.names = {f"*.blog.{DOMAIN}"}
        self.successResultOf(self.certificates.ready(f"*.blog.{DOMAIN}"))
        self.start()
        self.assertEqual(set(self.ca.issued), {DOMAIN})
        self.nobodys = {f"x.other.{DOMAIN}"}
        self.assertIsNone(self.context(f"x.other.{DOMAIN}"))
        context = self.context(f"x.blog.{DOMAIN}")
        self.assertIsNotNone(context)
        self.assertIs(self.context(f"x.blog.{DOMAIN}"), context)
        self.assertEqual(self.ca.issued[f"x.blog.{DOMAIN}"], 1)
        for name in (f"-.blog.{DOMAIN}", f"a_b.blog.{DOMAIN}", f"a.x.blog.{DOMAIN}"):
            self.assertIsNone(self.context(name))

    def test_a_stranger_who_asks_for_hosts_gets_few(self):
        for number in range(3 * DEMANDED):
            self.assertEqual(self.context(f"n{number}.blog.{DOMAIN}") is not None, number < DEMANDED)
        self.assertEqual(sum(self.ca.issued.values()), DEMANDED)
        self.assertIsNotNone(self.context(f"n0.blog.{DOMAIN}"))
        self.assertIsNotNone(self.context(f"x.shop.{DOMAIN}"), "another name has its own")
        self.clock.advance(DAY + 1)
        self.assertIsNotNone(self.context(f"n{DEMANDED}.blog.{DOMAIN}"))

    def test_all_strangers_together_leave_most_to_names(self):
        most = self.weekly // DEMANDED_PART
        for number in range(self.weekly):
            self.context(f"x.n{number}.{DOMAIN}")
        self.assertEqual(sum(self.ca.issued.values()), most)
        self.ready("blog")

    def test_hosts_of_a_wildcard_count_for_its_owner(self):
        self.certificates = self.make([Authority("https://ca/dir", weekly=self.weekly, share=2)])
        for name in ("blog", "*.blog", "*.shop"):
            token = "modest" if "shop" in name else "greedy"
            wanted = Reservation(name, "http", token, "agent", "http://localhost", None, False, BEGIN, BEGIN)
            self.successResultOf(self.store.reserve(wanted))
        self.successResultOf(self.certificates.ready(f"blog.{DOMAIN}", "greedy"))
        self.assertIsNotNone(self.context(f"a.blog.{DOMAIN}"))
        self.assertIsNone(self.context(f"b.blog.{DOMAIN}"))
        self.assertIsNotNone(self.context(f"a.shop.{DOMAIN}"))

    def test_first_certificate_that_is_refused_is_shown(self):
        told = []
        authorities = [Authority("https://ca/dir", share=1)]
        self.certificates = self.make(authorities, tell=lambda kind, text: told.append((kind, text)))
        self.successResultOf(self.certificates.ready("one.example.org", "greedy"))
        for _ in range(2):  # an agent asks again and again
            refused = self.certificates.ready("two.example.org", "greedy")
            error = self.failureResultOf(refused, CertificateFailed).value
        self.assertIn("of one token a week is reached until", str(error))
        self.assertEqual(self.note(ERRORS, "two.example.org"), str(error))
        failed = [text for kind, text in told if kind == "certificate-failed"]
        self.assertEqual(failed, [f"no new certificate for two.example.org: {error}"])
        self.clock.advance(7 * DAY + 1)
        self.successResultOf(self.certificates.ready("two.example.org", "greedy"))
        self.assertIsNone(self.note(ERRORS, "two.example.org"))

    def test_after_a_refusal_nothing_is_asked_for_a_while(self):
        order = self.certificates._demand._order
        asked = []
        self.certificates._demand._order = lambda name, token: (
            asked.append(name) or fail(CertificateFailed("no"))
        )
        for label in "abc":
            self.assertIsNone(self.context(f"{label}.blog.{DOMAIN}"))
        self.assertEqual(asked, [f"a.blog.{DOMAIN}"])
        self.certificates._demand._order = order
        self.clock.advance(PAUSE + 1)
        self.assertIsNotNone(self.context(f"b.blog.{DOMAIN}"))

    def test_strangers_keep_no_host_from_the_certificate_that_it_has(self):
        """In that while and out of it: the store is asked about any number of hosts with few questions."""
        self.assertIsNotNone(self.context(f"x.blog.{DOMAIN}"))
        self.certificates.cache._known.clear()  # as after a restart
        self.certificates._demand._order = lambda name, token: fail(CertificateFailed("no"))
        self.context(f"a.blog.{DOMAIN}")
        questions, find = [], self.store.find_notes
        self.patch(self.store, "find_notes", lambda space, keys: questions.append(keys) or find(space, keys))
        self.patch(self.store, "note", lambda *key: self.fail("it was asked about one alone"))
        strangers = [self.certificates.context(f"r{number}.blog.{DOMAIN}") for number in range(3000)]
        found = self.certificates.context(f"x.blog.{DOMAIN}")
        rounds = 0
        while not found.called:
            self.clock.advance(batches.PAUSE)
            rounds += 1
        context = self.successResultOf(found)
        self.assertIsNotNone(context)
        self.assertLessEqual(rounds, 3001 / batches.AT_ONCE + 1)
        self.assertLessEqual(len(questions), rounds + 1)
        self.assertEqual({self.successResultOf(each) for each in strangers}, {None})
        self.assertIs(self.context(f"x.blog.{DOMAIN}"), context, "what is in memory is shown")
        before = len(questions)
        for host in (f"no_host.blog.{DOMAIN}", f"-.blog.{DOMAIN}"):
            self.assertIsNone(self.context(host))
        self.assertEqual(len(questions), before)

    def test_a_host_is_found_though_another_was_issued_meanwhile(self):
        """A question that was asked before knows nothing of it, and does not bring back what was there."""
        host = f"x.blog.{DOMAIN}"
        self.context(host)
        old = self.note(CERTIFICATES, host)
        self.certificates.cache._known.clear()
        answers, find = [], self.store.find_notes
        self.patch(self.store, "find_notes", lambda space, keys: answers.append(Deferred()) or answers[-1])
        asked = self.certificates.context(host)
        self.clock.advance(batches.PAUSE)
        self.store.find_notes = find
        self.ready("other")
        new = self.note(CERTIFICATES, f"other.{DOMAIN}")
        self.successResultOf(Deferred.fromCoroutine(self.certificates.cache.save(host, new)))
        answers.pop().callback({host: old})
        self.assertIsNotNone(self.successResultOf(asked))
        self.assertEqual(self.certificates.cache.get(host).text, new)

    def test_many_hosts_at_once_are_a_few_orders_at_once(self):
        """The others ask the store for nothing: no count, and no owner."""
        asked = {}
        self.certificates._demand._owner = lambda host: asked.setdefault(host, Deferred())
        handshakes = [self.certificates.context(f"r{number}.blog.{DOMAIN}") for number in range(200)]
        again = self.certificates.context(f"r0.blog.{DOMAIN}")
        other = self.certificates.context(f"x.shop.{DOMAIN}")
        self.clock.pump([batches.PAUSE] * 3)
        ordered = [f"r{number}.blog.{DOMAIN}" for number in range(DEMANDED)]
        self.assertEqual(list(asked), [*ordered, f"x.shop.{DOMAIN}"])
        waiting = [*handshakes[:DEMANDED], again, other]
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual({self.successResultOf(each) for each in handshakes[DEMANDED:]}, {None})
        for answer in asked.values():
            answer.errback(StoreError("away"))
        self.assertEqual({self.successResultOf(each) for each in waiting}, {None})

    def test_what_is_not_issued_counts_for_no_wildcard(self):
        """As when the CA is away for a while, and hosts of several names are asked for."""
        self.patch(self.ca, "_newOrder", lambda number, payload: (503, {"detail": "down"}, {}))
        for minute in range(DEMANDED + 1):
            for label in "abcd":
                self.assertIsNone(self.context(f"h{minute}.{label}.{DOMAIN}"))
            self.clock.advance(PAUSE + 1)
        self.assertEqual(self.counts(), {})
        del self.ca._newOrder
        for number in range(DEMANDED):
            self.assertIsNotNone(self.context(f"n{number}.a.{DOMAIN}"))
        self.assertIsNone(self.context(f"more.a.{DOMAIN}"))
        self.assertIsNotNone(self.context(f"shop.other.{DOMAIN}"))
        self.assertEqual(self.counts()["demanded"], DEMANDED + 1)

    def test_what_may_have_been_issued_counts_for_its_wildcard(self):
        self.ca.held["finalize"] = []
        asked = self.certificates.context(f"x.blog.{DOMAIN}")
        self.clock.pump([1.0] * int(ISSUE_TIMEOUT + 2))
        self.assertIsNone(self.successResultOf(asked))
        self.assertEqual(self.counts()["demanded"], 1)

    def test_what_another_node_ordered_does_not_count_twice(self):
        host = f"x.blog.{DOMAIN}"
        other = self.make()
        self.ca.held["finalize"] = []
        first = self.certificates.context(host)
        second = other.context(host)
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.counts()["demanded"], 2)
        self.ca.held.pop("finalize")[0].callback(None)
        self.clock.pump([0.1] * 10)
        for asked in (first, second):
            self.assertIsNotNone(self.successResultOf(asked))
        self.assertEqual((self.ca.issued[host], self.counts()["demanded"]), (1, 1))

    def test_a_visitor_who_leaves_ends_no_order(self):
        """Neither its host's, nor that of others who wait for it; and what is issued counts."""
        host = f"x.blog.{DOMAIN}"
        self.ca.held["finalize"] = []
        left, stays = self.certificates.context(host), self.certificates.context(host)
        self.clock.pump([0.1] * 10)
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.assertEqual(self.counts()["demanded"], 1)
        self.ca.held.pop("finalize")[0].callback(None)
        self.clock.pump([0.1] * 10)
        self.assertIsNotNone(self.successResultOf(stays))
        self.assertEqual(
            self.counts(), {"demanded": 1, f"demanded blog.{DOMAIN}": 1, "new": 1, f"name {host}": 1}
        )
        self.assertEqual(self.successResultOf(self.store.notes("acme-locks")), {})

    def test_hosts_of_a_wildcard_are_renewed_while_it_is_in_use(self):
        self.names = {f"*.blog.{DOMAIN}"}
        self.start()
        self.context(f"x.blog.{DOMAIN}")
        issued = self.ca.issued[f"x.blog.{DOMAIN}"]
        for _ in range(80):
            self.clock.advance(DAY)
            self.clock.pump([1] * 30)
        self.assertGreater(self.ca.issued[f"x.blog.{DOMAIN}"], issued)
        self.assertNotIn(f"*.blog.{DOMAIN}", self.ca.issued)

    def test_name_with_an_owner_and_no_certificate(self):
        self.assertIsNone(self.context(f"blog.{DOMAIN}"))
        self.assertEqual(self.ca.issued, {})

    def test_key_that_cannot_be_read(self):
        self.certificates = self.make(sealer=Sealer([b"first" * 8]))
        self.ready("blog")
        self.certificates = self.make()
        self.assertIsNone(self.context(f"blog.{DOMAIN}"))
        self.names.add(f"blog.{DOMAIN}")
        self.start()
        self.assertEqual(self.ca.issued[f"blog.{DOMAIN}"], 1)
        self.assertIn("--store-key", self.note("certificate-errors", f"blog.{DOMAIN}"))

    def test_one_name_whose_renewal_breaks_down(self):
        """The others are renewed."""
        self.use("bad", "good")
        self.certificates.start()
        begin = self.certificates._authorities[0].limits.begin

        def broken(name, **options):
            if name.startswith("bad"):
                raise KeyError(name)
            return begin(name, **options)

        self.certificates._authorities[0].limits.begin = broken
        self.clock.advance(61 * DAY)
        self.round(2)
        self.assertEqual(self.ca.issued[f"good.{DOMAIN}"], 2)
        self.assertTrue(self.flushLoggedErrors(KeyError))
        self.assertEqual(self.successResultOf(self.store.notes("acme-locks")), {})


class Kept(WithFakeCA):
    """What is in the store."""

    def test_certificates_of_names_that_are_not_in_use(self):
        self.use("used", "closed")
        self.names.discard(f"closed.{DOMAIN}")
        self.start()
        closed = self.certificates.cache.leaf(f"closed.{DOMAIN}").not_valid_after_utc.timestamp()
        self.store.put_note(CERTIFICATES, "strange", "no certificate at all")
        self.clock.advance(closed + KEEP_EXPIRED - 10 - self.clock.seconds())
        self.round(1)
        everything = {DOMAIN, f"used.{DOMAIN}", f"closed.{DOMAIN}", "strange"}
        self.assertEqual(set(self.successResultOf(self.store.notes(CERTIFICATES))), everything)
        self.clock.advance(6 * HOUR + 1)
        self.round(2)
        everything.discard(f"closed.{DOMAIN}")
        self.assertEqual(set(self.successResultOf(self.store.notes(CERTIFICATES))), everything)
        self.ready("closed")  # should its owner come back

    def test_a_store_that_had_nothing_is_cleaned_later(self):
        """The first run ends at once."""
        self.start()
        self.assertEqual(len(self.successResultOf(self.store.notes(CERTIFICATES))), 1)
        self.ready("closed")
        closed = self.certificates.cache.leaf(f"closed.{DOMAIN}").not_valid_after_utc.timestamp()
        self.clock.advance(closed + KEEP_EXPIRED + 10 - self.clock.seconds())
        self.round(2)
        self.assertNotIn(f"closed.{DOMAIN}", self.successResultOf(self.store.notes(CERTIFICATES)))

    def test_server_that_stops_while_it_tidies_up(self):
        self.use(*(f"n{number}" for number in range(30)))
        self.certificates.start()
        self.assertIsNotNone(self.certificates._tidy._running)
        self.successResultOf(self.certificates.stop())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_is_remembered_of_names_goes_with_them(self):
        self.ca.refuse = lambda name: ({"detail": "slow down"}, 60)
        self.names = {f"n{number}.{DOMAIN}" for number in range(8)}
        self.start()
        self.assertEqual(len(self.certificates.renewals._retry), 9)
        self.names.clear()
        self.round()
        self.assertEqual(set(self.certificates.renewals._retry), {DOMAIN})

    def test_keys_are_encrypted(self):
        one, two = Sealer([b"first" * 8]), Sealer([b"second" * 8, b"first" * 8])
        self.certificates = self.make(sealer=one)
        self.use("blog")
        self.start()
        texts = [
            *self.successResultOf(self.store.notes(CERTIFICATES)).values(),
            *self.successResultOf(self.store.notes(ACCOUNTS)).values(),
        ]
        self.assertEqual(len(texts), 3)
        for text in texts:
            self.assertIn("ENCRYPTED PRIVATE KEY", text)
            self.assertEqual(text.count("PRIVATE KEY"), 2)
        # Another node with the secret has it; one without says so, and orders nothing.
        other = self.make(sealer=two)
        self.successResultOf(other.ready(f"blog.{DOMAIN}"))
        self.assertIsNotNone(self.successResultOf(other.context(f"blog.{DOMAIN}")))
        for sealer in (Sealer(), Sealer([b"wrong" * 8])):
            without = self.make(sealer=sealer)
            error = self.failureResultOf(without.ready(f"blog.{DOMAIN}"), CertificateFailed).value
            self.assertIn("--store-key", str(error))
            error = self.failureResultOf(without.ready(f"new.{DOMAIN}"), CertificateFailed).value
            self.assertIn("--store-key", str(error))
        self.assertEqual(self.ca.issued, {DOMAIN: 1, f"blog.{DOMAIN}": 1})
        self.assertEqual(len(self.ca.accounts), 1)

    def test_keys_that_are_there_are_encrypted_and_encrypted_anew(self):
        self.use("blog")
        self.start()
        leaf = self.certificates.cache.leaf(f"blog.{DOMAIN}")
        self.assertNotIn("ENCRYPTED", self.note(CERTIFICATES, f"blog.{DOMAIN}"))
        secrets = [b"first" * 8, b"second" * 8]
        for known in (secrets[:1], secrets[::-1], secrets[1:]):
            self.certificates = self.make(sealer=Sealer(known))
            self.start()
            for space, key in ((CERTIFICATES, f"blog.{DOMAIN}"), (ACCOUNTS, "https://ca/dir")):
                Sealer(known[:1]).key(self.note(space, key))
                self.assertIn("ENCRYPTED", self.note(space, key))
            self.ready("blog")
            self.assertEqual(self.certificates.cache.leaf(f"blog.{DOMAIN}"), leaf)
        self.assertEqual(self.ca.issued[f"blog.{DOMAIN}"], 1)
