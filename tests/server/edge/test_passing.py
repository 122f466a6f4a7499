"""Tests for L{burrow.server.edge.passing}, and for how the TLS port decides whose TLS a connection is."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StoreError
from burrow.protocols.base import Reach
from burrow.server.edge.passing import MAX_EARLY, Passing
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import HANDSHAKE_TIMEOUT, TLSFrontFactory
from burrow.server.ports import Ports
from burrow.server.route import NoRoute, Why
from burrow.testing import Recorder
from tests.server.edge.test_hello import alpn, message, records, server_name
from tests.server.edge.test_tls import INTERNAL, NO_NAME, NO_PROTOCOL, Visit, greeting

HELLO = records(message(server_name(b"db.example.com"), alpn(b"h2")))


class Nothing:
    """Certificates of no name. @ivar asked: the names that one was asked for."""

    def __init__(self):
        self.asked = []

    def context(self, name):
        self.asked.append(name)
        return succeed(None)

    challenge = context


class Served(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.addCleanup(self.sweep.stop)
        self.built = []
        self.reach, self.handed = Reach.SNI, []
        self.ports = Ports(None, "", range(1))
        self.route = SimpleNamespace(
            name="db",
            kind=SimpleNamespace(name="tls"),
            factory=Factory.forProtocol(self.build),
            options={},
        )
        self.found = succeed(self.route)
        self.certificates = Nothing()
        self.factory = TLSFrontFactory(
            self.certificates,
            None,
            self.sweep,
            75,
            lambda host, transport, data: self.handed.append(host),
            Passing(greeting(lambda host: self.reach, lambda host: self.found), self.ports),
        )

    def build(self):
        self.built.append(Recorder())
        return self.built[-1]

    def visit(self, *pieces):
        visit = Visit(self.factory)
        for piece in pieces or (HELLO,):
            visit.send(piece)
        return visit

    def lose(self, visit):
        visit.transport.protocol.connectionLost(Failure(ConnectionDone()))

    def test_bytes_go_on_as_they_came(self):
        visit = self.visit(HELLO[:5], HELLO[5:50], HELLO[50:] + b"more")
        visit.send(b" and more")
        (passed,) = self.built
        self.assertEqual(passed.received, HELLO + b"more and more")
        self.assertEqual(visit.transport.producerState, "producing")
        self.assertEqual((visit.alert, self.certificates.asked), (None, []))
        self.assertEqual(self.ports.visitors, {passed})
        self.clock.advance(HANDSHAKE_TIMEOUT * 2)
        self.assertFalse(visit.transport.disconnecting)
        self.lose(visit)
        self.assertEqual((self.ports.visitors, sum(self.ports.counts.times)), (set(), 1))

    def test_a_challenge_is_the_upstreams(self):
        wire = records(message(server_name(b"db.example.com"), alpn(b"acme-tls/1")))
        self.visit(wire)
        self.assertEqual(self.built[0].received, wire)

    def test_names_that_are_reached_otherwise(self):
        for reach in (Reach.HOST, Reach.TCP_PORT, None):
            self.reach = reach
            self.assertEqual(self.visit().alert, NO_PROTOCOL)
        self.assertEqual(self.visit(records(message(server_name(b"a.b")))).alert, NO_NAME)
        self.reach = Reach.SNI
        self.assertEqual(self.visit(records(message())).alert, NO_NAME)
        self.assertEqual((self.certificates.asked, self.built), (["a.b", None], []))

    def test_store_is_asked(self):
        self.reach = Deferred()
        visit = self.visit()
        self.assertEqual(visit.transport.producerState, "paused")
        self.reach.callback(Reach.SNI)
        self.assertEqual(self.built[0].received, HELLO)

    def test_store_that_does_not_answer(self):
        """The time for the hello bounds it, and an answer after that changes nothing."""
        self.reach = Deferred()
        visit = self.visit()
        self.clock.advance(HANDSHAKE_TIMEOUT + 1)
        self.assertTrue(visit.transport.disconnecting)
        self.lose(visit)
        self.reach.callback(Reach.SNI)
        self.assertEqual(self.built, [])

    def test_store_that_cannot_tell(self):
        self.reach = fail(StoreError("away"))
        self.assertEqual(self.visit(records(message(server_name(b"a.b")))).alert, NO_NAME)
        self.assertEqual(self.certificates.asked, ["a.b"])

    def test_no_route(self):
        for why in Why:
            self.found = fail(NoRoute(why))
            self.assertEqual(self.visit().alert, NO_NAME)
        self.found = fail(StoreError("away"))
        self.assertEqual(self.visit().alert, INTERNAL)
        self.assertEqual(self.ports.visitors, set())

    def test_visitor_waits_for_the_agent(self):
        self.found = Deferred()
        visit = self.visit()
        self.assertEqual(self.ports.visitors, {visit.front})  # a server that stops waits for it, too
        self.clock.advance(HANDSHAKE_TIMEOUT + 1)
        self.assertFalse(visit.transport.disconnecting)
        self.found.callback(self.route)
        self.assertEqual(self.built[0].received, HELLO)
        self.assertEqual(self.ports.visitors, {self.built[0]})

    def test_visitor_that_leaves_waits_no_more(self):
        left = []
        self.found = Deferred(left.append)
        visit = self.visit()
        self.assertEqual(visit.transport.producerState, "producing")  # or it would not be noticed
        self.lose(visit)
        self.assertEqual((left, self.ports.visitors), ([self.found], set()))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_visitor_that_sends_on_while_it_waits(self):
        self.found = Deferred()
        visit = self.visit()
        visit.send(bytes(MAX_EARLY - len(HELLO)))
        self.assertEqual(visit.transport.producerState, "producing")
        visit.send(b"x")
        self.assertEqual(visit.transport.producerState, "paused")
        self.found.callback(self.route)
        self.assertEqual(self.built[0].received, HELLO + bytes(MAX_EARLY - len(HELLO)) + b"x")

    def test_another_process_takes_it(self):
        self.factory.hand_over = lambda host, transport, data: self.handed.append((host, bytes(data))) or True
        self.visit()
        self.assertEqual((self.handed, self.built), ([("db.example.com", HELLO)], []))

    def test_visitor_that_the_tunnel_refuses(self):
        self.route.factory = SimpleNamespace(buildProtocol=lambda addr: None)
        self.assertTrue(self.visit().transport.disconnecting)
        self.assertEqual((self.ports.counts.refused, self.ports.visitors), (1, set()))

    def test_kind_that_fails(self):
        self.route.factory = SimpleNamespace(buildProtocol=lambda addr: 1 // 0)
        self.assertTrue(self.visit().transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @given(st.binary(max_size=40), st.integers(0, len(HELLO)), st.integers(1, len(HELLO)))
    def test_damaged_hellos_are_passed_on_whole_or_refused(self, noise, position, size):
        """Whatever is sent in whatever pieces, the upstream gets exactly that, or nothing."""
        self.built.clear()
        wire = HELLO[:position] + noise + HELLO[position + len(noise) :]
        self.visit(*(wire[start : start + size] for start in range(0, len(wire), size)))
        for passed in self.built:
            self.assertEqual(passed.received, wire)
