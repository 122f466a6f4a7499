"""
Tests for L{burrow.server.nodes.links} and L{burrow.server.nodes.arrivals}: who may link, and what a link
carries; over TLS, as between machines.
"""

from types import SimpleNamespace

import attr
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from burrow.errors import StreamGone
from burrow.link import dial
from burrow.link.dial import Dialer
from burrow.mux.control import encode_box
from burrow.server.edge.pages import AGENT_AWAY
from burrow.server.nodes import link
from burrow.server.nodes.announce import Announcer
from burrow.server.nodes.arrivals import Arrivals
from burrow.server.nodes.asking import Questions
from burrow.server.nodes.link import make_certificate, node_context
from burrow.server.nodes.links import Links
from burrow.server.nodes.records import Lease, Node, to_text


class Collect(Protocol):
    """Keeps what comes; C{lost} fires when the stream ends."""

    def __init__(self):
        self.data = b""
        self.lost = Deferred()

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.lost.callback(None)


LEASE = Lease("blog", "two", "http", None, 1.0)


class OverTLS(TestCase):
    """Node one links to node two."""

    def setUp(self):
        self.asked = []
        self.up = Deferred()
        self.find = self.found
        self.one = Links(reactor, "one", {})
        self.one.on_up.append(lambda: None if self.up.called else self.up.callback(None))
        self.questions_of_two = Questions(reactor, "two", lambda node: None, list)
        self.two = Arrivals(
            reactor,
            "two",
            "secret-two",
            lambda name, hops, asking, to: self.find(name, hops, asking),
            self.refreshed,
            Factory.forProtocol(Collect),
            self.questions_of_two.asked,
        )
        identity, certificate = make_certificate("127.0.0.1")
        self.listening = reactor.listenSSL(
            0, self.two.factory, node_context(*identity), interface="127.0.0.1"
        )
        port = self.listening.getHost().port
        self.node = Node("two", "127.0.0.1", port, "secret-two", certificate, "0", 0.0)
        self.addCleanup(lambda: deferLater(reactor, 0.1))  # sockets say good-bye
        self.addCleanup(self.listening.stopListening)
        self.addCleanup(self.two.stop)
        self.addCleanup(self.one.stop)

    async def found(self, tunnel, hops, asking):
        self.asked.append((tunnel, hops))

    async def refreshed(self, lease):
        self.asked.append(("refresh", lease))

    async def test_visitor_whose_tunnel_is_gone_is_told_so(self):
        self.one.update({"two": self.node})
        await self.up
        tunnel = self.one.route(LEASE)
        self.assertIs(self.one.route(LEASE), tunnel)
        self.assertTrue(tunnel.alive)
        visitor = Collect()
        tunnel.connect(visitor, "192.0.2.1:5", "https")
        await visitor.lost
        self.assertIn(f"Burrow-Error: {AGENT_AWAY}".encode(), visitor.data)
        self.assertEqual(self.asked, [("blog", 1)])

    async def test_other_streams_are_reset(self):
        self.one.update({"two": self.node})
        await self.up
        session = self.one._links["two"].session
        for box in ({"what": "visitor", "tunnel": "x", "scheme": "tcp"}, {"what": "nonsense"}):
            stream = Collect()
            session.open_stream(stream, encode_box(box))
            await stream.lost
            self.assertEqual(stream.data, b"")
        stream = Collect()
        session.open_stream(stream, b"\xff" * 100)
        await stream.lost

    async def test_a_relayed_agents_address_travels_along(self):
        seen = []

        class Agent(Collect):
            def connectionMade(self):
                seen.append(self.transport.getPeer())
                self.transport.loseConnection()

        self.two._streams.agents = Factory.forProtocol(Agent)
        self.one.update({"two": self.node})
        await self.up
        for peer in (IPv4Address("TCP", "192.0.2.7", 4711), IPv6Address("TCP", "2001:db8::7", 4711)):
            agent = self.one.agent_factory("two").buildProtocol(None)
            lost = Deferred()
            transport = StringTransport(peerAddress=peer)
            transport.unregisterProducer = lambda: None
            transport.loseConnection = transport.loseWriteConnection = lambda lost=lost: (
                lost.called or lost.callback(None)
            )
            agent.makeConnection(transport)
            await lost
            self.assertEqual(seen.pop(), peer)

    async def test_node_that_is_asked_to_refresh(self):
        self.one.update({"two": self.node})
        await self.up
        announcer = Announcer(reactor, lambda: self.one.sessions)
        await announcer.announce()
        await announcer.announce(LEASE)
        self.assertEqual(self.asked, [("refresh", ""), ("refresh", to_text(LEASE))])

    async def test_nobody_links_without_the_secret_or_to_another_certificate(self):
        _, other = make_certificate("127.0.0.1")
        for wrong in (attr.evolve(self.node, secret="x"), attr.evolve(self.node, certificate=other)):
            self.one.update({"two": wrong})
            await deferLater(reactor, 0.3)
            self.assertIsNone(self.one.route(LEASE))
            self.one.update({})
        self.one.update({"two": self.node})
        await self.up
        self.assertIsNotNone(self.one.route(LEASE))

    async def test_tunnels_that_nobody_holds_are_forgotten(self):
        self.one.update({"two": self.node})
        await self.up
        leases = [attr.evolve(LEASE, name=f"name{number}") for number in range(50)]
        for lease in leases:
            self.one.route(lease)
        kept = self.one.route(leases[7])
        self.one.forget([lease.name for lease in (*leases[:5], *leases[10:])])
        self.assertEqual(len(self.one._routes), 5)
        self.assertIs(self.one.route(leases[7]), kept)
        self.assertTrue(self.one.linked("two"))
        self.assertFalse(self.one.linked("three"))

    async def test_link_goes_on_after_an_exception(self):
        dial = Dialer.dial
        failing = []

        async def fail(dialer, linked):
            failing.append(dialer)
            if len(failing) < 3:
                raise ZeroDivisionError
            return await dial(dialer, linked)

        self.patch(Dialer, "dial", fail)
        self.patch(link, "_DIAL_EVERY", 0.01)
        self.one.update({"two": self.node})
        await self.up
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertTrue(self.one.linked("two"))

    async def test_link_that_is_stopped_while_it_dials(self):
        connecting = Deferred(lambda cancelled: cancelled.errback(ConnectingCancelledError(None)))
        self.patch(
            dial, "server_endpoint", lambda *arguments: SimpleNamespace(connect=lambda factory: connecting)
        )
        self.one.update({"two": self.node})
        self.one.stop()
        self.assertTrue(connecting.called)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_dial_that_takes_too_long_is_no_fault_of_ours(self):
        connecting = Deferred(lambda cancelled: cancelled.errback(ConnectingCancelledError(None)))
        self.patch(
            dial, "server_endpoint", lambda *arguments: SimpleNamespace(connect=lambda factory: connecting)
        )
        self.patch(link, "REDIAL_TIMEOUT", 0.01)
        self.one.update({"two": self.node})
        while not self.one._links["two"].unreachable:
            await deferLater(reactor, 0.01)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_node_that_is_gone_takes_its_streams_with_it(self):
        self.one.update({"two": self.node})
        await self.up
        tunnel = self.one.route(LEASE)
        self.find = lambda name, hops, asking: Deferred()
        visitor = Collect()
        tunnel.connect(visitor, "192.0.2.1:5", "https")
        self.one.update({})  # its note is gone, and the link still works
        await deferLater(reactor, 0.1)
        self.assertFalse(visitor.lost.called)
        self.two.stop()
        await visitor.lost
        self.assertFalse(tunnel.alive)
        with self.assertRaises(StreamGone):
            tunnel.connect(Collect(), "192.0.2.1:5", "https")
