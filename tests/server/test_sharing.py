"""Tests for L{burrow.server.sharing}, and health checks: who of several agents serves a visitor."""

import json
from types import SimpleNamespace

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import BadOption, ConfigError, NameTaken, TooManyTunnels
from burrow.http.failure import FAILURE_HEADER
from burrow.http.request_head import RequestReader
from burrow.mux.control import decode_visitor_head
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.server import sharing
from burrow.server.health import ANSWER_WITHIN, CHECK_AGAIN, CHECK_EVERY, Health
from burrow.server.nodes.links import Remote
from burrow.server.nodes.records import Lease, Node
from burrow.server.ports import Ports
from burrow.server.sharing import key_of
from burrow.server.tunnel import Owner
from burrow.store.memory import MemoryStore
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair
from tests.server.parts import Parts


class Case(SynchronousTestCase):
    def setUp(self):
        self.clock = MemoryReactorClock()
        self.store = MemoryStore(self.clock.seconds)
        self.ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        self.kinds = {"http": HttpProtocol(), "tcp": TcpProtocol()}
        self.parts = Parts(
            self.clock,
            self.store,
            self.kinds,
            self.ports,
            ready=lambda host, token: succeed(None),
            max_tunnels=9,
        )
        self.routes, self.tunnels, self.cluster = self.parts.routes, self.parts.tunnels, self.parts.cluster
        self.displaced = []

    def listen(self, port, factory, interface, *, shared):
        return self.clock.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def opening(self, kind="http", name="app", token="token1", upstream="3000", pair=None, **options):
        self.pair = pair or SessionPair(agent_factory=Recorders(HalfCloseRecorder), clock=self.clock)
        owner = Owner(
            token, "agent1", self.pair.server, lambda tunnel, by: bool(self.displaced.append(tunnel))
        )
        options = {"share": True} | {key.replace("_", "-"): value for key, value in options.items()}
        return Deferred.fromCoroutine(self.parts.opening.open(owner, kind, upstream, name, options))

    def open(self, *arguments, **options):
        return self.successResultOf(self.opening(*arguments, **options))

    def refused(self, error, words, *arguments, **options):
        failure = self.failureResultOf(self.opening(*arguments, **options), error)
        self.assertIn(words, str(failure.value))

    def close(self, tunnel):
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.close(tunnel)))

    def found(self, cookie=None):
        lines = f"Cookie: a=b; burrow-agent={cookie}\r\n" if cookie else ""
        data = f"GET / HTTP/1.1\r\nHost: app.example.com\r\n{lines}\r\n".encode()
        head, _ = RequestReader().feed(data)
        return self.routes.of_host("app.example.com", SimpleNamespace(request=head, may_be_gone=False))


class Sharing(Case):
    def test_the_one_with_the_fewest_open_requests_else_in_turn(self):
        one, two, three = (self.open(upstream=str(port)) for port in (1, 2, 3))
        self.assertEqual([self.found() for _ in range(6)], [one, two, three, one, two, three])
        one.share.load = two.share.load = 2
        three.share.load = 1
        self.assertEqual([self.found() for _ in range(3)], [three] * 3)
        three.share.load = 3
        self.assertEqual([self.found() for _ in range(4)], [one, two, one, two])
        self.assertEqual(self.displaced, [])

    def test_who_has_no_connection_is_skipped_at_once(self):
        one, two = self.open(), self.open()
        two.owner.session.connected = False
        self.assertEqual({self.found() for _ in range(3)}, {one})
        two.owner.session.connected = True
        self.assertEqual({self.found() for _ in range(3)}, {one, two})
        two.owner.session.abort()
        self.assertEqual({self.found() for _ in range(3)}, {one})
        one.owner.session.abort()
        waiting = self.found()
        self.assertNoResult(waiting)
        three = self.open()
        self.assertIs(self.successResultOf(waiting), three)

    def test_each_closes_alone(self):
        one, two = self.open(), self.open()
        self.close(two)
        self.assertIs(self.tunnels.by_name("app"), one)
        self.assertIs(self.found(), one)
        self.assertFalse(self.routes.holds(two))
        self.assertTrue(self.routes.holds(one))
        self.assertIn("app", self.cluster.leases.held)
        self.close(one)
        self.close(one)
        self.assertIsNone(self.tunnels.by_name("app"))
        self.assertNotIn("app", self.cluster.leases.held)
        self.assertEqual(self.routes.shared.names, set())
        self.assertEqual(self.cluster.members.shares, {})
        self.assertFalse(self.parts.quotas._of_token)
        self.assertFalse(self.parts.quotas._of_session)

    def test_who_does_not_share_takes_the_name_as_ever(self):
        one, two = self.open(), self.open()
        alone = self.open(share=False)
        self.assertEqual(self.displaced, [one, two])
        self.assertIs(self.found(), alone)
        self.assertEqual(self.routes.shared.names, set())
        shares = self.open()
        self.assertEqual(self.displaced, [one, two, alone])
        self.assertIs(self.found(), shares)

    def test_one_session_replaces_its_own(self):
        one = self.open()
        other, pair = self.open(upstream="1"), self.pair
        again = self.open(upstream="2", pair=pair)
        self.assertEqual(self.routes.shared.members("app"), (one, again))
        self.assertEqual(self.displaced, [])
        self.close(other)
        self.assertEqual(self.routes.shared.members("app"), (one, again))

    def test_refusals(self):
        self.refused(BadOption, "give --name NAME", name=None)
        self.open()
        self.refused(NameTaken, "", token="token2")
        self.refused(BadOption, "another value of --health-path", health_path="/ok")
        self.refused(BadOption, "another value of --max-body", max_body="1M")
        self.refused(BadOption, "as a tunnel of kind http", kind="tcp")
        self.patch(sharing, "MAX_SHARED", 1)
        self.refused(TooManyTunnels, "without --share")
        for options, words in (
            ({"sticky": True}, "add --share"),
            ({"health-path": "/"}, "add --share"),
            ({"share": True, "sticky": True, "private": True}, "has not: leave it out"),
        ):
            with self.assertRaises(ConfigError) as caught:
                HttpProtocol().check_options(options)
            self.assertIn(words, str(caught.exception))

    def test_other_options_are_possible_when_the_others_are_away(self):
        before = self.open()
        before.owner.session.abort()
        after = self.open(sticky=True)
        self.assertIs(self.found(), after)

    def test_a_port_is_served_until_the_last_one_leaves(self):
        one, two = self.open("tcp"), self.open("tcp")
        self.assertEqual(one.url, two.url)
        (port,) = self.ports._open
        factory = self.ports._open[port][1].inner
        agents = []
        for _ in range(4):
            visitor = factory.buildProtocol(SimpleNamespace(host="192.0.2.1", port=1))
            found = self.successResultOf(Deferred.fromCoroutine(visitor._tunnel.found()))
            protocol = Protocol()
            found.connect(protocol, "192.0.2.1:1", "tcp")
            agents.append(found)
        self.assertEqual(sorted(map(id, agents)), sorted(map(id, [one, one, two, two])))
        self.assertEqual((one.share.load, two.share.load), (2, 2))
        protocol.connectionLost(None)
        self.assertEqual(one.share.load + two.share.load, 3)
        self.close(two)
        self.assertIn(port, self.ports._open)
        self.close(one)
        self.assertEqual(self.ports._open, {})

    def test_a_visitor_comes_back_by_its_cookie(self):
        one, two = self.open(sticky=True, upstream="1"), self.open(sticky=True, upstream="2")
        two.share.load = 5
        self.assertEqual({self.found(key_of(two)) for _ in range(3)}, {two})
        self.assertIs(self.found("nobodys"), one)
        self.assertIs(self.found(), one)
        two.owner.session.abort()
        self.assertIs(self.found(key_of(two)), one)

    def test_who_failed_rests_while_there_is_another(self):
        one, two = self.open(), self.open()
        one.share.rests_until = self.clock.seconds() + 5
        self.assertEqual({self.found() for _ in range(3)}, {two})
        two.share.fit = False
        self.assertEqual({self.found() for _ in range(3)}, {one, two})
        two.share.fit = True
        self.clock.advance(5)
        self.assertEqual({self.found() for _ in range(3)}, {one, two})

    def test_the_servers_owner_closes_all(self):
        one, two = self.open(), self.open()
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.take_away(two, "closed")))
        self.assertIsNone(self.tunnels.by_name("app"))
        self.assertEqual(self.routes.shared.members("app"), ())
        self.assertNotIn(one, self.tunnels.all)


class Elsewhere(Case):
    """Another node has agents that share the name, too."""

    def setUp(self):
        super().setUp()
        self.node = Node("node2", "127.0.0.1", 1, "s", "", "0", 0.0)
        self.linked = {"node2"}
        self.opened = []
        self.known = {}
        self.parts.links.route = self.route
        self.lease = Lease("app", "node2", "http", None, 2e10, "token1", '{"share": true}')

    def route(self, lease, hops=1, to=""):
        if lease.node not in self.linked:
            return None
        key = lease, hops, to
        if key not in self.known:
            self.known[key] = Remote(lease, self.kinds[lease.kind], None, None, hops, to)
        return self.known[key]

    def tell(self, *keys, lease=True, **changes):
        """What is read of the other node now."""
        shares = {"app": list(keys)} if keys else {}
        note = Node("node2", "127.0.0.1", 1, "s", "", "0", 0.0, shares=shares, **changes)
        members, leases = self.cluster.members, self.cluster.leases
        members.others = {"node2": note}
        if lease:
            leases._take_over(self.lease)
            leases.held.pop("app", None)
        else:
            leases._forget("app")
        for listener in self.cluster.on_leases:
            listener(sorted({"app", *members.read_shares()}))

    def test_all_agents_of_all_nodes_take_turns(self):
        one = self.open()
        self.tell("k1", "k2")
        found = [self.found() for _ in range(6)]
        self.assertEqual(found[:3], found[3:])
        self.assertIs(found[0], one)
        self.assertEqual([(route._to, route._hops) for route in found[1:3]], [("k1", 1), ("k2", 1)])
        found[1].share.load = one.share.load = 1
        self.assertEqual({self.found() for _ in range(3)}, {found[2]})

    def test_a_visitor_that_was_passed_on_is_not_passed_on_again(self):
        one, two = self.open(upstream="1"), self.open(upstream="2")
        self.tell("k1")
        for to, expected in ((key_of(two), {two}), (key_of(one), {one}), ("left", {one, two})):
            found = {
                self.successResultOf(Deferred.fromCoroutine(self.routes.of_node("app", 1, None, to)))
                for _ in range(4)
            }
            self.assertEqual(found, expected)

    def test_a_node_without_agents_of_its_own(self):
        self.tell("k1")
        self.assertEqual(self.found()._to, "k1")
        self.linked.clear()
        self.assertNoResult(self.found())
        self.tell(lease=False)
        self.assertEqual(self.routes.shared.names, set())

    def test_the_lease_of_another_node_leaves_ours_alone_and_is_taken_when_it_leaves(self):
        one = self.open()
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.taken(self.lease)))
        self.tell("k1")
        self.assertEqual(self.displaced, [])
        self.assertIs(self.tunnels.by_name("app"), one)
        self.assertNotIn("app", self.cluster.leases.held)
        self.tell(lease=False)
        self.assertTrue(json.loads(self.cluster.leases.held["app"].options)["share"])

    def test_who_does_not_share_takes_the_name_from_another_node(self):
        one, two = self.open(), self.open()
        alone = Lease("app", "node2", "http", None, 2e10, "token1")
        self.successResultOf(Deferred.fromCoroutine(self.tunnels.taken(alone)))
        self.assertEqual(self.displaced, [one, two])
        self.assertIsNone(self.tunnels.by_name("app"))

    def test_a_node_that_ends_is_no_candidate(self):
        one = self.open()
        self.tell("k1", draining=True)
        self.assertEqual({self.found() for _ in range(3)}, {one})
        self.assertFalse(self.routes.shared.elsewhere("app"))

    def test_a_note_of_another_release(self):
        self.tell("k1")
        self.cluster.members.others["node2"].shares["app"] = [1]
        self.cluster.members.read_shares()
        self.assertFalse(self.routes.shared.elsewhere("app"))


class Checks(Case):
    def setUp(self):
        super().setUp()
        self.health = Health(self.clock, self.routes.shared)
        self.addCleanup(self.health.stop)

    def check(self, pair, answer=None):
        """The checks that came to an agent since, each answered."""
        self.clock.advance(0)
        pair.pump()
        asked = []
        for recorder in pair.agent.protocols:
            head, request = decode_visitor_head(recorder.received)
            asked.append((head.tunnel, head.scheme, request.split(b"\r\n")[0]))
            if answer is not None:
                recorder.transport.write(answer)
        pair.pump()
        return asked

    def test_visitors_come_once_the_service_is_well(self):
        ready = self.open(health_path="/ok?x=1")
        first = self.pair
        late = self.open(health_path="/ok?x=1")
        second = self.pair
        self.assertEqual(
            self.check(first, b"HTTP/1.1 204 No Content\r\n\r\n"), [("app", "http", b"GET /ok?x=1 HTTP/1.1")]
        )
        self.check(second, b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual({self.found() for _ in range(3)}, {ready})
        self.clock.advance(CHECK_AGAIN)
        self.check(second, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\n\r\n")
        self.assertEqual({self.found() for _ in range(3)}, {ready, late})
        self.assertEqual(self.check(second), [])

    def test_what_is_not_well(self):
        tunnel, pair = self.open(health_path="/"), self.pair
        for answer in (
            b"HTTP/1.1 404 Not Found\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n%b: refused\r\n\r\n" % FAILURE_HEADER,
            b"SSH-2.0\r\n\r\n",
        ):
            tunnel.share.fit = True
            self.assertEqual(len(self.check(pair, answer)), 1)
            self.assertFalse(tunnel.share.fit)
            self.clock.advance(CHECK_AGAIN)
        self.check(pair, b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(tunnel.share.fit)
        self.clock.advance(CHECK_EVERY)
        self.assertEqual(len(self.check(pair)), 1)
        self.clock.advance(ANSWER_WITHIN)
        self.assertFalse(tunnel.share.fit)
        self.close(tunnel)
        self.clock.advance(CHECK_AGAIN)
        self.clock.advance(CHECK_AGAIN)
        self.assertFalse(self.health._loop.running)
