"""Tests for L{burrow.server.opening}, tunnels and routes: how tunnels are opened, and refused."""

import errno
import random
from dataclasses import replace

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import (
    BadOption,
    CertificateFailed,
    NameTaken,
    StoreError,
    StreamGone,
    TooManyTunnels,
    Unavailable,
    UnknownProtocol,
)
from burrow.limits import UNLIMITED, Limits
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.server.expected import EXPECT_FOR
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import LEASES, Lease, to_text
from burrow.server.ports import Ports
from burrow.server.tunnel import Owner
from burrow.store.memory import MemoryStore
from burrow.testing import SessionPair
from tests.server.parts import Parts


class Opening(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.store = MemoryStore(self.reactor.seconds)
        self.ready = lambda host: succeed(None)
        self.ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        parts = Parts(
            self.reactor,
            self.store,
            {"http": HttpProtocol(), "tcp": TcpProtocol()},
            self.ports,
            ready=lambda host, token: self.ready(host),
            announce=self.announce,
            reserved={"ours"},
            now=lambda: 1000.0 + self.reactor.seconds(),
        )
        self.opener, self.routes, self.tunnels = parts.opening, parts.routes, parts.tunnels
        self.quotas = parts.quotas
        self.displaced = []
        self.announced, self.told, self.telling = 0, None, None
        self.cluster = parts.cluster

    async def announce(self, lease):
        self.announced += 1
        self.told = lease
        if self.telling is not None:
            await self.telling

    # The sockets of the ports.

    def listen(self, port, factory, interface, *, shared):
        return self.reactor.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def owner(self, token="token1", agent="agent1"):
        session = SessionPair().server
        return Owner(token, agent, session, lambda tunnel, by: bool(self.displaced.append(tunnel)))

    def opening(
        self, owner, kind="http", upstream="http://localhost:3000", name=None, limits=UNLIMITED, **options
    ):
        return Deferred.fromCoroutine(self.opener.open(owner, kind, upstream, name, options, limits))

    def open(self, *arguments, **options):
        return self.successResultOf(self.opening(*arguments, **options))

    def refused(self, error, *arguments, **options):
        self.failureResultOf(self.opening(*arguments, **options), error)

    def test_all_visitors_who_wait_go_on_when_the_agent_arrives(self):
        self.open(self.owner(), name="blog")
        first = self.tunnels.by_name("blog")
        first.owner.session.abort()
        waiting = [Deferred.fromCoroutine(self.routes.wait_for("blog")) for _ in range(5)]
        for one in waiting:
            self.assertNoResult(one)
        second = self.open(self.owner(), name="blog")
        self.assertEqual([self.successResultOf(one) for one in waiting], [second] * 5)

    def test_visitor_waits_while_the_store_cannot_tell_what_it_had(self):
        attached = Deferred.fromCoroutine(self.routes.wait_for("blog"))
        self.assertIsNone(self.successResultOf(attached))
        self.store.whole = False
        waiting = Deferred.fromCoroutine(self.routes.wait_for("blog"))
        self.assertNoResult(waiting)
        tunnel = self.open(self.owner(), name="blog")
        self.assertIs(self.successResultOf(waiting), tunnel)

    def test_visitor_waits_for_a_tunnel_that_is_being_opened(self):
        self.reactor.advance(EXPECT_FOR)
        certificate = Deferred()
        self.ready = lambda host: certificate
        opening = self.opening(self.owner(), name="blog")
        waiting = Deferred.fromCoroutine(self.routes.wait_for("blog"))
        self.assertNoResult(waiting)
        certificate.callback(None)
        self.assertIs(self.successResultOf(waiting), self.successResultOf(opening))
        self.ready = lambda host: fail(CertificateFailed("no"))
        self.refused(CertificateFailed, self.owner(), name="shop")
        attached = Deferred.fromCoroutine(self.routes.wait_for("shop"))
        self.assertIsNone(self.successResultOf(attached))

    def test_open_and_close(self):
        tunnel = self.open(self.owner(), name="blog")
        self.assertEqual((tunnel.host, tunnel.url), ("blog.example.com", "https://blog.example.com"))
        self.assertIs(self.tunnels.by_name("blog"), tunnel)
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(tunnel)))
        self.assertIsNone(self.tunnels.by_name("blog"))
        owned = Deferred.fromCoroutine(self.routes.owned("blog"))
        self.assertTrue(self.successResultOf(owned))

    def test_assigned_name_is_remembered_by_token_agent_kind_and_upstream(self):
        first = self.open(self.owner())
        self.assertEqual(self.open(self.owner()).name, first.name)
        others = [
            self.open(self.owner("token2")),
            self.open(self.owner(agent="agent2")),
            self.open(self.owner(), upstream="http://localhost:4000"),
            self.open(self.owner(), kind="tcp"),
        ]
        self.assertEqual(len({tunnel.name for tunnel in [first, *others]}), 5)

    def test_newer_session_takes_over_and_the_older_is_told(self):
        first = self.open(self.owner(), name="blog")
        second = self.open(self.owner(), name="blog")
        self.assertEqual(self.displaced, [first])
        self.assertIs(self.tunnels.by_name("blog"), second)
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(first)))
        self.assertIs(self.tunnels.by_name("blog"), second)

    def test_another_token_that_owns_the_name_by_now_takes_over(self):
        owner, released = self.owner(), []
        owner = replace(owner, released=lambda tunnel, why: released.append((tunnel, why)))
        before = self.open(owner, name="blog")
        self.successResultOf(self.store.release("blog"))
        after = self.open(self.owner("token2"), name="blog")
        self.assertIs(self.tunnels.by_name("blog"), after)
        why = "https://blog.example.com is closed: its name belongs to another token now"
        self.assertEqual((released, self.displaced), ([(before, why)], []))

    def test_other_nodes_know_a_port_before_the_agent_does(self):
        self.open(self.owner())
        self.assertEqual(self.announced, 0)
        self.open(self.owner(), kind="tcp")
        self.assertEqual(self.announced, 1)

    def test_other_nodes_know_whom_to_let_in_before_the_agent_is_told(self):
        self.telling = Deferred()
        opening = self.opening(self.owner(), name="blog", allow=["192.0.2.0/24"])
        self.assertNoResult(opening)
        self.assertEqual(
            self.told.options, '{"host-header": "auto=http://localhost:3000", "allow": ["192.0.2.0/24"]}'
        )
        self.assertEqual(self.told, self.cluster.leases.held["blog"])
        self.telling.callback(None)
        self.assertIs(self.successResultOf(opening), self.tunnels.by_name("blog"))

    def test_port_passes_to_the_newer_session(self):
        first = self.open(self.owner(), kind="tcp", name="db")
        second = self.open(self.owner(), kind="tcp", name="db")
        self.assertEqual(first.url, second.url)
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(first)))
        port, factory, *_ = self.reactor.tcpServers[0]
        self.assertIn(port, range(20_000, 20_003))
        self.assertIs(factory.inner, second.factory)

    def test_port_is_closed_when_its_name_becomes_another_kind(self):
        owner = self.owner()
        self.open(owner, kind="tcp", name="db")
        self.open(owner, kind="http", name="db")
        self.assertEqual(self.ports._open, {})
        self.open(owner, kind="tcp", name="db")
        self.open(self.owner(), kind="http", name="db")
        self.assertEqual(self.ports._open, {})

    def test_refusals(self):
        owner = self.owner()
        self.open(owner, name="blog")
        self.refused(NameTaken, self.owner("token2"), name="blog")
        self.refused(UnknownProtocol, owner, kind="carrier-pigeon")
        self.refused(UnknownProtocol, owner, kind="gopher")
        self.refused(BadOption, owner, name="-")
        self.refused(BadOption, owner, upstream="")
        self.refused(BadOption, owner, upstream="x" * 301)
        self.refused(BadOption, owner, speed="fast")
        self.refused(BadOption, owner, kind="tcp", port="20000")
        self.refused(BadOption, owner, kind="tcp", port=True)
        self.refused(BadOption, owner, kind="tcp", port=19_999)
        self.open(owner, name="two")
        self.open(owner, name="three")
        self.refused(TooManyTunnels, owner, name="four")

    def test_names_of_the_servers_owner(self):
        for name in ("ours", "Ours", "postmaster", "wpad"):
            self.refused(BadOption, self.owner(), name=name)
        for name in ("app", "api", "docs", "dashboard", "admin", "blog-admin", "mail", "static"):
            self.open(self.owner(name), name=name)

    def test_names_and_ports_up_to_the_tokens_quota_and_one_more(self):
        limits = Limits(names=3, ports=1)
        self.open(self.owner(), name="one", limits=limits)
        self.open(self.owner(), kind="tcp", upstream="localhost:1", port=20_001, limits=limits)
        for name, options in (("two", {}), ("three", {"port": 20_000})):
            self.refused(TooManyTunnels, self.owner(), kind="tcp", name=name, limits=limits, **options)
        self.assertEqual(len(self.reactor.tcpServers) - len(self.closed_ports()), 1)
        self.refused(TooManyTunnels, self.owner(), limits=limits)
        self.open(self.owner(), name="one", limits=limits)
        self.open(self.owner("token2"), name="four", limits=limits)
        names = [known.name for known in self.successResultOf(self.store.reservations())]
        self.assertEqual(len(names), 4)

    def closed_ports(self):
        open_now = self.ports._open
        return [server for server in self.reactor.tcpServers if server[0] not in open_now]

    def test_tunnels_up_to_the_tokens_quota_and_one_more(self):
        """Those of all its agents together; an agent that comes back has its own again."""
        limits = Limits(tunnels=2)
        first, second = self.owner(), self.owner(agent="agent2")
        one = self.open(first, name="one", limits=limits)
        two = self.open(second, name="two", limits=limits)
        self.refused(TooManyTunnels, first, name="three", limits=limits)
        self.refused(TooManyTunnels, first, limits=limits)
        self.open(self.owner("token2"), name="theirs", limits=limits)
        again = self.open(self.owner(), name="one", limits=limits)
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(one)))
        self.refused(TooManyTunnels, first, name="three", limits=limits)
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(again)))
        self.ready = lambda host: fail(CertificateFailed("no"))
        self.refused(CertificateFailed, first, name="three", limits=limits)
        waiting = Deferred()
        self.ready = lambda host: waiting
        opening = self.opening(first, name="three", limits=limits)
        self.refused(TooManyTunnels, first, name="four", limits=limits)
        waiting.callback(None)
        for tunnel in (self.successResultOf(opening), two):
            self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(tunnel)))
        self.assertEqual(list(self.quotas._of_token), ["token2"])

    def test_tunnels_on_other_nodes_count(self):
        limits = Limits(tunnels=2)
        elsewhere = {"token1": ["there"]}
        self.patch(Cluster, "names_elsewhere", lambda cluster, token: elsewhere.get(token, ()))
        self.open(self.owner(), name="one", limits=limits)
        self.refused(TooManyTunnels, self.owner(), name="two", limits=limits)
        self.open(self.owner(), name="there", limits=limits)
        self.open(self.owner("token2"), name="two", limits=limits)

    def test_what_is_kept_of_a_tunnel(self):
        self.open(self.owner(), name="asked")
        given = self.open(self.owner(), kind="tcp", port=20_002).name
        self.open(self.owner(), kind="tcp", name="db")
        self.reactor.advance(5)
        self.open(self.owner(), upstream="other", name="other")
        kept = {known.name: known for known in self.successResultOf(self.store.reservations())}
        self.assertEqual((kept["asked"].asked, kept["asked"].used), (True, 1000.0))
        self.assertEqual((kept["db"].asked, kept["db"].port_assigned), (True, True))
        self.assertEqual(
            (kept[given].asked, kept[given].port_assigned, kept[given].port), (False, False, 20_002)
        )
        self.assertEqual(kept["other"].used, 1005.0)

    def test_names_without_an_owner_cost_no_lease_and_one_question(self):
        self.reactor.advance(EXPECT_FOR)
        asked = []
        find, note = self.store.find_reservations, self.store.note
        self.store.find_reservations = lambda names: asked.append("names") or find(names)
        self.store.note = lambda space, key: asked.append(space) or note(space, key)
        waiting = [Deferred.fromCoroutine(self.routes.wait_for(f"name{n}")) for n in range(100)]
        self.reactor.advance(1)
        self.assertEqual([self.successResultOf(one) for one in waiting], [None] * 100)
        self.assertEqual(asked, ["names", "names"])

    def test_name_of_an_open_tunnel_has_an_owner_though_the_store_cannot_tell(self):
        """After a loss, on a node that has not seen yet that the tunnel opened on another."""
        self.store.find_reservations = lambda names: fail(StoreError("not sure"))
        leases = {"blog": Lease("blog", "node2", "http", None, 1.0, "token1")}

        async def ask(cluster, name):
            return leases.get(name)

        self.patch(Cluster, "ask", ask)
        serves = self.routes.serves("blog.example.com")
        self.assertTrue(self.successResultOf(serves))
        self.reactor.advance(1)
        serves = self.routes.serves("other.example.com")
        self.failureResultOf(serves, StoreError)
        for host in ("example.com", "a.b.c.example.com", "localhost", "192.0.2.1", ""):
            self.assertFalse(self.successResultOf(self.routes.serves(host)))

    def test_a_new_port_reads_no_reservations(self):
        """Only those that come into question are asked for, a bounded number at once."""
        self.ports._allowed = range(10_000, 30_000)
        asked, free = [], self.store.free_ports
        self.store.reservations = lambda: self.fail("all reservations are read")
        self.store.free_ports = lambda ports: asked.append(len(ports)) or free(ports)
        first = self.open(self.owner(), kind="tcp", name="one")
        self.assertEqual(asked, [100])
        self.ports._allowed = range(first.reservation.port, first.reservation.port + 2)
        self.store.free_ports = free
        second = self.open(self.owner(), kind="tcp", name="two")
        self.assertEqual(second.reservation.port, first.reservation.port + 1)
        self.refused(TooManyTunnels, self.owner(), kind="tcp", name="three")

    def test_new_ports_at_the_same_time_are_different_ones(self):
        """Both find the same ports free. Whoever comes second would have the other's port closed."""
        self.patch(random, "shuffle", lambda ports: None)
        waiting, free_ports, reserve = [], self.store.free_ports, self.store.reserve

        def later(ask, *arguments):
            answer = Deferred()
            waiting.append(lambda: ask(*arguments).chainDeferred(answer))
            return answer

        self.store.free_ports = lambda ports: later(free_ports, ports)
        self.store.reserve = lambda *wanted: (later if wanted[0].port else lambda ask, *given: ask(*given))(
            reserve, *wanted
        )
        opening = [self.opening(self.owner(), kind="tcp", name=name) for name in ("one", "two")]
        while waiting:
            now, waiting[:] = waiting[:], []
            for each in now:
                each()
        opened = [self.successResultOf(each) for each in opening]
        self.assertEqual([tunnel.reservation.port for tunnel in opened], [20_000, 20_001])
        for tunnel in opened:
            self.assertIs(self.ports._open[tunnel.reservation.port][1].inner, tunnel.factory)

    def test_reopening_a_tunnel_counts_once(self):
        owner = self.owner()
        for _ in range(10):
            self.open(owner, name="blog")
        self.open(owner, name="two")
        self.open(owner, name="three")

    def test_without_a_certificate_nothing_is_open(self):
        self.ready = lambda host: fail(CertificateFailed("DNS"))
        owner = self.owner()
        for _ in range(5):
            self.refused(CertificateFailed, owner, name="blog")
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.ready = lambda host: succeed(None)
        self.open(owner, name="blog")

    def test_store_that_is_away(self):
        self.store.reserve = lambda reservation, limits: fail(StoreError("away"))
        self.refused(Unavailable, self.owner(), name="blog")

    def test_agent_that_went_meanwhile(self):
        waiting = Deferred()
        self.ready = lambda host: waiting
        owner = self.owner()
        opening = self.opening(owner, name="blog")
        owner.session.abort()
        waiting.callback(None)
        self.failureResultOf(opening, StreamGone)
        self.assertIsNone(self.tunnels.by_name("blog"))

    def test_agent_that_went_when_it_had_the_lease_leaves_the_tunnel_that_was_there(self):
        """Of another session, with its lease and its port, which are given back."""
        before = self.open(self.owner(), kind="tcp", name="db", port=20_000, allow=("10.0.0.0/8",))
        lease = self.cluster.leases.held["db"]
        owner, put = self.owner(), self.store.put_note

        def leaves(*note):
            self.store.put_note = put
            owner.session.abort()
            return put(*note)

        for port in (20_000, 20_001):
            owner, self.store.put_note = self.owner(), leaves
            self.refused(StreamGone, owner, kind="tcp", name="db", port=port)
            self.assertIs(self.tunnels.by_name("db"), before)
            held = self.cluster.leases.held["db"]
            self.assertEqual((held.options, held.port), (lease.options, 20_000))
            self.assertEqual(self.successResultOf(self.store.note(LEASES, "db")), to_text(held))
            self.assertIs(self.ports._open[20_000][1].inner, before.factory)
            self.assertEqual(list(self.ports._open), [20_000])
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(before)))
        self.assertEqual((self.ports._open, self.cluster.leases.held), ({}, {}))

    def test_all_ports_taken(self):
        for number in range(3):
            self.open(self.owner(), kind="tcp", name=f"db{number}")
        self.refused(TooManyTunnels, self.owner(), kind="tcp", name="one-more")

    def test_port_that_another_program_has(self):
        listen = self.reactor.listenTCP

        def busy(port, factory, **options):
            if port == 20_000:
                raise CannotListenError("127.0.0.1", port, OSError("in use"))
            return listen(port, factory, **options)

        self.reactor.listenTCP = busy
        self.refused(Unavailable, self.owner(), kind="tcp", name="asked", port=20_000)
        urls = {self.open(self.owner(), kind="tcp", name=f"db{number}").url for number in range(2)}
        self.assertEqual(urls, {"tcp://example.com:20001", "tcp://example.com:20002"})

    def test_port_that_is_busy_stays_its_owners(self):
        first = self.open(self.owner(), kind="tcp", name="db", port=20_000)
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(first)))
        listen = self.reactor.listenTCP

        def busy(port, factory, **options):
            raise CannotListenError("127.0.0.1", port, OSError(errno.EADDRINUSE, "in use"))

        self.reactor.listenTCP = busy
        opening = self.opening(self.owner(), kind="tcp", name="db")
        self.assertIn("port 20000: another program", str(self.failureResultOf(opening, Unavailable).value))
        self.refused(Unavailable, self.owner("token2"), kind="tcp", name="any")  # all are busy, not taken
        self.reactor.listenTCP = listen
        self.refused(NameTaken, self.owner("token2"), kind="tcp", name="thief", port=20_000)
        others = {self.open(self.owner("token2"), kind="tcp", name=f"other{n}").url for n in range(2)}
        self.assertNotIn("tcp://example.com:20000", others)
        self.assertEqual(self.open(self.owner(), kind="tcp", name="db").url, "tcp://example.com:20000")
