"""Tests for L{burrow.protocols.loopback}, on real sockets of the loopback."""

import errno
import socket

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from burrow.mux.pipe import PipeEnd
from burrow.protocols.connecting import Connector
from burrow.protocols.loopback import connect_now, is_loopback
from burrow.protocols.upstream import Upstream


class Greeting(Protocol):
    """Says hello, and tells when it is lost."""

    def connectionMade(self):
        self.transport.write(b"hello")

    def connectionLost(self, reason):
        if not self.factory.lost.called:
            self.factory.lost.callback(None)


class Reader(Protocol):
    """Tells what comes first, and its end."""

    def __init__(self):
        self.read, self.lost = Deferred(), Deferred()

    def dataReceived(self, data):
        self.read.callback(data)

    def connectionLost(self, reason):
        self.lost.callback(None)


class ConnectNow(TestCase):
    def listen(self, interface):
        self.greeting = Factory.forProtocol(Greeting)
        self.greeting.lost = Deferred()
        port = reactor.listenTCP(0, self.greeting, interface=interface)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def check(self, interface):
        number = self.listen(interface)
        protocol = connect_now(reactor, interface, number, Factory.forProtocol(Reader))
        if protocol is None:
            self.skipTest("this kernel needs more time for a connection")
        self.assertTrue(protocol.transport.connected)
        self.assertEqual(
            (protocol.transport.getPeer().host, protocol.transport.getPeer().port), (interface, number)
        )
        self.assertEqual(await protocol.read, b"hello")
        protocol.transport.loseConnection()
        await protocol.lost
        await self.greeting.lost

    async def test_connects_within_the_turn(self):
        await self.check("127.0.0.1")

    async def test_connects_by_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 here")
        await self.check("::1")

    def test_refused_is_left_to_the_endpoint(self):
        with socket.socket() as bound:  # it does not listen
            bound.bind(("127.0.0.1", 0))
            self.assertIsNone(connect_now(reactor, "127.0.0.1", bound.getsockname()[1], Factory()))

    def test_no_descriptor_is_left_to_the_endpoint(self):
        def none_left(*arguments):
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(socket, "socket", none_left)
        self.assertIsNone(connect_now(reactor, "127.0.0.1", 1, Factory()))

    def test_reactor_without_sockets_is_left_to_the_endpoint(self):
        self.assertIsNone(connect_now(MemoryReactorClock(), "127.0.0.1", 1, Factory()))

    async def test_connector_remembers_which_loopback_answered(self):
        number = self.listen("127.0.0.1")
        connector = Connector(reactor, Upstream.parse(str(number), ("http",)))
        connector._loopbacks.reverse()
        connector._endpoints.reverse()
        self.assertIsNone(connector.connect_now())  # nothing listens on ::1
        end = await connector.connect()
        again = connector.connect_now()
        self.assertIsInstance(again, PipeEnd)
        lost = []
        for one in (end, again):
            gone = Deferred()
            one.connectionLost = lambda reason, gone=gone: gone.callback(None)
            lost.append(gone)
            one.transport.abortConnection()
        for gone in lost:
            await gone
        self.greeting.lost = Deferred()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("localhost", False)],
)
def test_addresses_of_the_loopback(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "text", ["https://localhost:3000", "unix:/app.sock", "10.0.0.1:3000", "app.internal:3000"]
)
def test_what_is_waited_for(text):
    connector = Connector(reactor, Upstream.parse(text, ("http", "https")))
    assert connector.connect_now() is None
