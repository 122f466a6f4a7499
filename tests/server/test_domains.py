"""Domains of users' own: who gets one, who does not, and who reaches it."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import BadOption, NameTaken, NotAllowed, TooManyTunnels, Unavailable
from burrow.limits import UNLIMITED, Limits
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.tls import TlsProtocol
from burrow.server import domains
from burrow.server.dns import DnsFailed, Leads
from burrow.server.domains import Domains
from burrow.server.greeting import Greeting
from burrow.server.hosts import Hosts
from burrow.server.ports import Ports
from burrow.server.route import NoRoute, Why
from burrow.server.tunnel import Owner
from burrow.store.base import Reservation
from burrow.store.memory import MemoryStore
from burrow.testing import SessionPair
from tests.server.parts import Parts

APP = "app.example.org"
HERE = Leads({"example.com"}, {"192.0.2.1"})


class Dns:
    """@ivar records: where names lead, and their texts. @ivar waits: fires before each answer."""

    def __init__(self):
        self.led, self.told, self.asked, self.waits = {}, {}, [], None

    async def leads(self, name):
        return (await self._answer(name, self.led)) or Leads(set(), set())

    async def texts(self, name):
        return (await self._answer(name, self.told)) or []

    async def _answer(self, name, records):
        self.asked.append(name)
        if self.waits is not None:
            await self.waits
        found = records.get(name)
        if isinstance(found, Exception):
            raise found
        return found


class Proofs(SynchronousTestCase):
    def setUp(self):
        self.dns = Dns()
        self.domains = Domains("example.com", self.dns, ["192.0.2.1", "2001:db8::1"])
        self.dns.told[f"_burrow.{APP}"] = ["v=spf1 -all", self.domains.proof(APP, "t1")]

    def check(self, domain=APP, token="t1"):
        return Deferred.fromCoroutine(self.domains.check(domain, token))

    def test_where_it_may_lead(self):
        self.dns.led["example.com"] = Leads(set(), {"192.0.2.7"})
        for leads in (
            HERE,
            Leads({"cdn.example.net", "shop.example.com"}, set()),
            Leads(set(), {"192.0.2.1"}),
            Leads(set(), {"192.0.2.1", "2001:db8::1"}),
            Leads(set(), {"192.0.2.7", "192.0.2.1"}),
        ):
            self.dns.led[APP] = leads
            self.successResultOf(self.check())
        hidden = " it does not lead here"
        for leads, now in (
            (Leads({"badexample.com"}, {"8.8.8.9"}), ": badexample.com, 8.8.8.9"),
            (Leads({"a\nline\x1b[31m.example.net"}, {"8.8.8.9"}), r": a\nline\x1b[31m.example.net, 8.8.8.9"),
            (Leads(set(), {"8.8.8.8", "2001:4860::1"}), ": 2001:4860::1, 8.8.8.8"),
            # What may be internal is not told, nor whether there is any.
            (Leads(set(), set()), hidden),
            (Leads({"db.corp.example"}, set()), hidden),
            (Leads({"db.corp.example"}, {"10.0.0.7"}), hidden),
            (Leads({"db.corp.example"}, {"8.8.8.8", "10.0.0.7"}), hidden),
            (Leads(set(), {"fd00::7"}), hidden),
            (Leads(set(), {"::ffff:10.0.0.7"}), hidden),
        ):
            self.dns.led[APP] = leads
            why = str(self.failureResultOf(self.check(), NotAllowed).value)
            self.assertIn(f"the CNAME record {APP} to example.com", why)
            self.assertIn(f"(now{now})", why)
            self.assertNotIn("TXT", why)

    def test_a_record_that_leads_here_is_not_enough(self):
        """As of a domain whose former user let it lead here: no other token gets it."""
        self.dns.led[APP] = HERE
        why = str(self.failureResultOf(self.check(token="t2"), NotAllowed).value)
        self.assertIn(f'the TXT record _burrow.{APP} to "{self.domains.proof(APP, "t2")}"', why)
        self.assertNotIn("CNAME", why)
        self.assertNotIn(self.domains.proof(APP, "t1"), why)

    def test_a_proof_is_one_tokens_and_one_domains_and_one_servers(self):
        other = Domains("example.net", self.dns)
        proofs = {self.domains.proof(*each) for each in ((APP, "t1"), (APP, "t2"), ("b.example.org", "t1"))}
        self.assertEqual(len(proofs | {other.proof(APP, "t1")}), 4)

    def test_dns_that_does_not_answer(self):
        for records in (self.dns.led, self.dns.told):
            self.dns.led[APP] = HERE
            name = APP if records is self.dns.led else f"_burrow.{APP}"
            records[name] = DnsFailed("no answer")
            self.failureResultOf(self.check(), Unavailable)

    def test_so_many_at_once(self):
        self.dns.led[APP], self.dns.waits = HERE, Deferred()
        for number in range(domains.AT_ONCE):
            token = f"t{number}"
            self.dns.told[f"_burrow.{token}.{APP}"] = [self.domains.proof(f"{token}.{APP}", token)]
            self.dns.led[f"{token}.{APP}"] = HERE
        tokens = [f"t{number}" for number in range(domains.AT_ONCE)]
        waiting = [self.check(f"{token}.{APP}", token) for token in tokens]
        self.failureResultOf(self.check(token="another"), Unavailable)
        self.assertEqual(len(self.dns.asked), domains.AT_ONCE)
        waits, self.dns.waits = self.dns.waits, None
        waits.callback(None)
        for each in waiting:
            self.successResultOf(each)
        self.successResultOf(self.check())

    def test_so_many_at_once_of_one_token(self):
        self.dns.led[APP], self.dns.waits = HERE, Deferred()
        waiting = [self.check() for _ in range(domains.AT_ONCE_OF_ONE)]
        self.failureResultOf(self.check(), Unavailable)
        self.assertEqual(len(self.dns.asked), domains.AT_ONCE_OF_ONE)
        other = self.check(token="t2")
        waits, self.dns.waits = self.dns.waits, None
        waits.callback(None)
        for each in waiting:
            self.successResultOf(each)
        self.failureResultOf(other, NotAllowed)
        self.assertFalse(self.domains._asking, "nothing is kept of tokens that are answered")
        self.successResultOf(self.check())


class Tunnels(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.store = MemoryStore(self.reactor.seconds)
        self.dns = Dns()
        self.readied = []
        kinds = {"http": HttpProtocol(), "tcp": TcpProtocol(), "tls": TlsProtocol()}
        self.parts = Parts(
            self.reactor,
            self.store,
            kinds,
            Ports(None, "", range(1)),
            ready=lambda host, token: succeed(self.readied.append(host)),
            dns=self.dns,
        )
        self.greeting = Greeting(self.parts.routes, self.parts.cluster, Hosts("example.com"), kinds)
        self.dns.led[APP] = HERE
        self.prove("token1")

    def prove(self, token):
        proof = Domains("example.com", self.dns).proof(APP, token)
        self.dns.told[f"_burrow.{APP}"] = [proof]

    def opening(self, name=APP, kind="http", token="token1", limits=UNLIMITED, **options):
        owner = Owner(token, "agent", SessionPair().server, lambda tunnel, by: False)
        opening = self.parts.opening.open(owner, kind, "http://localhost:3000", name, options, limits)
        return Deferred.fromCoroutine(opening)

    def test_it_opens_and_is_found_by_its_host_alone(self):
        tunnel = self.successResultOf(self.opening("App.Example.ORG"))
        self.assertEqual((tunnel.name, tunnel.host, tunnel.url), (APP, APP, f"https://{APP}"))
        self.assertEqual(self.readied, [APP])
        self.assertEqual(self.parts.tunnels.hosts, [APP])
        self.assertIs(self.parts.routes.of_host(APP, None), tunnel)
        self.assertTrue(self.successResultOf(self.parts.routes.serves(APP)))
        for host in (f"{APP}.example.com", "example.org", f"x.{APP}"):
            self.failureResultOf(self.parts.routes.of_host(host, None), NoRoute)
            self.reactor.advance(1)

    def test_it_is_asked_once_and_stays_its_tokens(self):
        self.successResultOf(self.opening())
        self.dns.asked.clear()
        self.dns.told.clear()
        self.dns.led.clear()
        self.successResultOf(self.opening())
        self.assertEqual(self.dns.asked, [], "its agents come back, whatever DNS says then")
        self.prove("token2")
        self.dns.led[APP] = HERE
        self.failureResultOf(self.opening(token="token2"), NameTaken)
        self.successResultOf(self.store.release(APP))
        self.successResultOf(self.opening(token="token2"))

    def test_it_is_proved_anew_if_it_was_released_since_it_was_looked_up(self):
        self.successResultOf(self.opening())
        self.dns.told.clear()
        reserve = self.store.reserve

        def late(wanted, limits):
            self.store.reserve = reserve
            self.successResultOf(self.store.release(APP))
            return reserve(wanted, limits)

        self.store.reserve = late
        refused = self.failureResultOf(self.opening(), Unavailable)
        self.assertIn("was released while it was being opened", str(refused.value))
        self.assertIsNone(self.successResultOf(self.store.reservation(APP)))
        self.failureResultOf(self.opening(), NotAllowed)

    def test_who_does_not_prove_it_reserves_nothing(self):
        refused = self.failureResultOf(self.opening(token="token2"), NotAllowed)
        self.assertIn("under example.com is written without a dot, as in --name app", str(refused.value))
        self.assertIsNone(self.successResultOf(self.store.reservation(APP)))
        self.assertEqual(self.readied, [])

    def test_kinds_whose_visitors_do_not_come_by_host(self):
        for kind, options in (("tcp", {}), ("http", {"private": True})):
            refused = self.failureResultOf(self.opening(kind=kind, **options), BadOption)
            self.assertIn("write --name app", str(refused.value))
        self.assertEqual(self.dns.asked, [])

    def test_a_wildcard(self):
        wild = self.successResultOf(self.opening("*.blog"))
        self.assertEqual((wild.host, wild.url), ("*.blog.example.com", "https://*.blog.example.com"))
        for host in ("x.blog.example.com", "y.blog.example.com"):
            self.assertIs(self.parts.routes.of_host(host, None), wild)
            self.assertTrue(self.successResultOf(self.parts.routes.serves(host)))
        for host in ("a.x.blog.example.com", "x.shop.example.com"):
            self.failureResultOf(self.parts.routes.of_host(host, None), NoRoute)
            self.reactor.advance(1)
        finding = self.parts.routes.of_host("blog.example.com", None)
        self.reactor.pump([0.1] * 3)  # it asks the store twice
        self.assertIs(self.failureResultOf(finding, NoRoute).value.why, Why.UNKNOWN)
        self.assertTrue(self.successResultOf(self.parts.routes.serves("blog.example.com")))
        exact = self.successResultOf(self.opening("blog"))
        self.assertIs(self.parts.routes.of_host("blog.example.com", None), exact)
        self.assertIs(self.parts.routes.of_host("x.blog.example.com", None), wild)
        self.successResultOf(Deferred.fromCoroutine(self.parts.tunnels.close(exact)))
        finding = self.parts.routes.of_host("blog.example.com", None)
        self.reactor.pump([0.1] * 3)
        self.assertIs(self.failureResultOf(finding, NoRoute).value.why, Why.LEFT)

    def test_who_owns_a_name_owns_what_is_under_it(self):
        self.successResultOf(self.opening("blog"))
        self.failureResultOf(self.opening("*.blog", token="token2"), NameTaken)
        self.successResultOf(self.opening("*.blog"))
        self.successResultOf(self.opening("*.shop", token="token2"))
        for name in ("shop", "*.shop"):
            self.failureResultOf(self.opening(name), NameTaken)
        self.successResultOf(self.store.release("shop"))
        for name in ("shop", "*.shop"):
            self.successResultOf(self.opening(name))

    def test_a_name_that_changes_hands_while_its_wildcard_is_opened(self):
        """Its token is looked up last when it is reserved: nothing that was seen before counts then."""
        self.successResultOf(self.opening("blog"))
        reserve = self.store.reserve

        def late(wanted, limits):
            self.store.reserve = reserve
            self.successResultOf(self.store.release("blog"))
            self.successResultOf(self.opening("blog", token="token2"))
            return reserve(wanted, limits)

        self.store.reserve = late
        self.failureResultOf(self.opening("*.blog"), NameTaken)
        self.assertIsNone(self.successResultOf(self.store.reservation("*.blog")))
        self.successResultOf(self.opening("*.blog", token="token2"))

    def test_a_label_opens_with_one_question(self):
        """As an agent's that comes back while the store is away, and is known here alone."""
        self.successResultOf(self.opening("blog"))
        for ask in ("reservation", "find_reservations", "remembered"):
            self.patch(self.store, ask, lambda *key: self.fail("it was asked"))
        self.successResultOf(self.opening("blog"))

    def test_the_name_that_a_wildcard_is_under_is_not_freed(self):
        given = Reservation("given", "http", "token1", "agent", "u", None, True, 1.0, used=1.0)
        self.successResultOf(self.store.reserve(given))
        self.successResultOf(self.opening("*.given"))
        self.assertEqual(self.successResultOf(self.store.free_unused(1e9, 1e9)), [])
        kept = self.successResultOf(self.store.reservation("given"))
        self.assertEqual((kept.token, kept.upstream, kept.assigned), ("token1", "u", True))

    def test_both_names_count(self):
        limits = Limits(names=1)
        self.failureResultOf(self.opening("*.blog", limits=limits), TooManyTunnels)
        for name in ("blog", "*.blog"):
            self.assertIsNone(self.successResultOf(self.store.reservation(name)))
        self.successResultOf(self.opening("*.blog", limits=Limits(names=2)))

    def test_wildcards_of_kinds_whose_visitors_do_not_come_by_host(self):
        for kind, options in (("tcp", {}), ("http", {"private": True})):
            refused = self.failureResultOf(self.opening("*.blog", kind=kind, **options), BadOption)
            self.assertIn("write --name blog", str(refused.value))
        self.assertIsNone(self.successResultOf(self.store.reservation("blog")))

    def test_by_its_server_name(self):
        tunnel = self.successResultOf(self.opening(kind="tls"))
        self.assertEqual(tunnel.url, f"tls://{APP}")
        found = Deferred.fromCoroutine(self.greeting.of_sni(APP))
        self.assertIs(self.successResultOf(found), tunnel)
        self.assertIs(self.greeting.reach_of(APP), tunnel.reach)
        # A request inside TLS of ours came by a connection for another name.
        finding = self.parts.routes.of_host(APP, None)
        self.assertIs(self.failureResultOf(finding, NoRoute).value.why, Why.PASSED_ON)
        self.assertIsNone(self.greeting.reach_of("example.com"))
