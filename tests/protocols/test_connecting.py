"""Tests for L{burrow.protocols.connecting}: which addresses are tried, TLS, and what a failure means."""

import errno
import socket
from pathlib import Path
from tempfile import mkdtemp

from service_identity import VerificationError
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectBindError,
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from burrow.mux.pipe import PipeEnd
from burrow.protocols import connecting as connecting_module
from burrow.protocols.connecting import FIRST_WAIT, LONGEST_WAIT, Connector, SecureEnd
from burrow.protocols.forward import Connectors
from burrow.protocols.upstream import CONNECT_TIMEOUT, Upstream, UpstreamFailed, UpstreamTLS
from burrow.reactor.turns import TURNS
from tests.files import make_certificate
from tests.server.edge.edges import Wire

WEB = ("http", "https")


class Secure(TestCase):
    """An upstream over TLS, on the loopback; the name in its certificate is localhost."""

    timeout = 20

    def setUp(self):
        folder = Path(mkdtemp())
        self.ca_file, key_file = make_certificate(folder, "localhost")
        self.other_ca_file, _ = make_certificate(folder, "localhost", stem="other")
        self.asked = []
        context = DefaultOpenSSLContextFactory(str(key_file), str(self.ca_file))
        context.getContext().set_tlsext_servername_callback(
            lambda connection: self.asked.append(connection.get_servername())
        )

        accepted = self.accepted = []

        class Greeting(Protocol):
            """Speaks first: its bytes may come in one piece with the end of the handshake."""

            def connectionMade(self):
                accepted.append(self)
                self.transport.write(b"hello")

        self.server = Factory.forProtocol(Greeting)
        self.port = self.listening(reactor.listenSSL(0, self.server, context, interface="127.0.0.1"))

    def listening(self, port):
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def connect(self, tls, host="localhost", port=None):
        upstream = Upstream.parse(f"https://{host}:{port or self.port}", WEB).with_tls(tls)
        return Connector(reactor, upstream).connect()

    async def end(self, end):
        gone = Deferred()
        end.connectionLost = lambda reason: gone.callback(None)
        end.transport.abortConnection()
        await gone

    async def test_who_is_believed(self):
        for tls in (UpstreamTLS(), UpstreamTLS(self.ca_file), UpstreamTLS(insecure=True)):
            await self.end(await self.connect(tls))
        with self.assertRaises(UpstreamFailed) as caught:
            await self.connect(UpstreamTLS(self.other_ca_file))  # on the loopback, and yet it counts
        failure = caught.exception
        self.assertEqual((failure.code, failure.public), ("certificate", str(failure)))
        self.assertIn("--upstream-ca", str(failure))

    async def test_another_name(self):
        with self.assertRaises(UpstreamFailed) as caught:
            await self.connect(UpstreamTLS(self.ca_file), "127.0.0.1")
        self.assertEqual(caught.exception.code, "certificate")
        self.assertIn("--upstream-name", str(caught.exception))
        await self.end(await self.connect(UpstreamTLS(self.ca_file, name="localhost"), "127.0.0.1"))
        with self.assertRaises(UpstreamFailed):
            await self.connect(UpstreamTLS(self.ca_file, name="another.example"))
        await self.end(await self.connect(UpstreamTLS(insecure=True, name="inside.example")))
        self.assertEqual(self.asked[-3:], [b"localhost", b"another.example", b"inside.example"])

    def test_a_handshake_that_ends_in_a_refusal_is_none(self):
        """As Twisted 25.5 tells of a certificate with another name."""
        end, wire = SecureEnd(), Wire(None)
        end.makeConnection(wire)
        wire.disconnecting = True
        end.handshakeCompleted()
        self.assertNoResult(end.secured)
        end.connectionLost(Failure(VerificationError([])))
        self.failureResultOf(end.secured, VerificationError)

    async def test_bytes_that_come_with_the_handshake_wait_for_the_other_end(self):
        end = await self.connect(UpstreamTLS())
        visitor = PipeEnd()
        visitor.makeConnection(Wire(None))
        visitor.join(end)
        end.joined()
        while visitor.transport.value() != b"hello":
            await deferLater(reactor, 0.01)
        await self.end(end)

    async def test_service_that_is_cut_off_has_not_ended(self):
        """Its FIN comes without a close_notify: what it sent may be a part of what it was to send."""
        end, lost = await self.connect(UpstreamTLS()), Deferred()
        end.connectionLost = lambda reason: lost.callback([reason])
        end.transport.resumeProducing()
        self.accepted[-1].transport.transport.loseConnection()
        self.assertIsNone((await lost)[0].check(ConnectionDone))
        end, ended = await self.connect(UpstreamTLS()), Deferred()
        end.connectionLost = lambda reason: ended.callback([reason])
        end.transport.resumeProducing()
        self.accepted[-1].transport.loseConnection()
        self.assertIsNotNone((await ended)[0].check(ConnectionDone))

    async def test_connectors_are_made_anew_when_they_were_forgotten(self):
        upstream = Upstream.parse(f"https://localhost:{self.port}", WEB)
        first = Connectors.get(reactor, upstream)
        self.assertIs(Connectors.get(reactor, upstream), first)
        Connectors.forget(reactor)
        self.assertIsNot(Connectors.get(reactor, upstream), first)

    async def test_what_does_not_speak_tls(self):
        plain = self.listening(reactor.listenTCP(0, self.server, interface="127.0.0.1"))
        with self.assertRaises(UpstreamFailed) as caught:
            await self.connect(UpstreamTLS(), port=plain)
        self.assertEqual(caught.exception.code, "failed")
        self.assertIn("Does it speak TLS?", str(caught.exception))

    async def test_what_closes_or_says_nothing(self):
        class Closing(Protocol):
            def dataReceived(self, data):
                self.transport.abortConnection()

        closing = self.listening(reactor.listenTCP(0, Factory.forProtocol(Closing), interface="127.0.0.1"))
        with self.assertRaises(UpstreamFailed) as caught:
            await self.connect(UpstreamTLS(), port=closing)
        self.assertEqual(caught.exception.code, "failed")
        self.patch(connecting_module, "CONNECT_TIMEOUT", 0.1)
        silent = self.listening(reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1"))
        with self.assertRaises(UpstreamFailed) as caught:
            await self.connect(UpstreamTLS(), port=silent)
        self.assertEqual(caught.exception.code, "timeout")
        self.patch(connecting_module, "CONNECT_TIMEOUT", 10)
        connecting = Deferred.fromCoroutine(self.connect(UpstreamTLS(), port=silent))
        await deferLater(reactor, 0.05)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await deferLater(reactor, 0.05)

    async def test_unix_socket(self):
        path = str(Path(mkdtemp()) / "app.sock")
        connector = Connector(reactor, Upstream.parse(f"unix:{path}", WEB))
        with self.assertRaises(UpstreamFailed) as caught:
            await connector.connect()
        self.assertEqual(caught.exception.code, "refused")
        self.assertIn(path, str(caught.exception))
        self.assertNotIn(path, caught.exception.public)
        self.addCleanup(reactor.listenUNIX(path, self.server).stopListening)
        await self.end(await connector.connect())

    async def test_unix_socket_whose_queue_is_full(self):
        path = str(Path(mkdtemp()) / "app.sock")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(0)  # which leaves room for one
            connector = Connector(reactor, Upstream.parse(f"unix:{path}", WEB))
            first = await connector.connect()
            waiting = Deferred.fromCoroutine(connector.connect())
            await deferLater(reactor, 0.05)
            self.assertNoResult(waiting)
            listening.accept()[0].close()
            await self.end(await waiting)
            await self.end(first)


class Turns(MemoryReactorClock):
    """What is asked for in a turn is called in the next one, as by a reactor, which polls in between."""

    def advance(self, seconds):
        self.rightNow += seconds
        due = [call for call in self.getDelayedCalls() if call.getTime() <= self.rightNow]
        for call in due:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Connecting(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.connector = Connector(self.reactor, Upstream.parse("3000", WEB))

    def connect(self):
        return Deferred.fromCoroutine(self.connector.connect())

    def fail_last(self, error):
        self.reactor.connectors[-1].stopConnecting()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(self.reactor.connectors[-1], Failure(error))

    def hosts(self):
        return [client[0] for client in self.reactor.tcpClients]

    def test_other_loopback_is_tried_and_remembered(self):
        connecting = self.connect()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.successResultOf(connecting)
        self.assertEqual(self.hosts(), ["127.0.0.1", "::1"])
        self.connect().addErrback(lambda reason: None)
        self.assertEqual(self.hosts()[-1], "::1")

    def test_full_queue_is_asked_again_before_the_kernel_would(self):
        """It says nothing to an attempt, and the kernel would repeat that a second later."""
        connecting = self.connect()
        wait = FIRST_WAIT
        for attempt in range(1, 5):
            self.assertEqual(self.hosts(), ["127.0.0.1"] * attempt)
            self.assertFalse(self.reactor.connectors[-1].stoppedConnecting)
            self.reactor.advance(wait)
            self.assertTrue(self.reactor.connectors[attempt - 1].stoppedConnecting)
            wait *= 2
        self.reactor.tcpClients[-1][2].buildProtocol(None).makeConnection(StringTransport())
        self.successResultOf(connecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_connection_that_was_made_while_the_agent_was_busy_is_used(self):
        """Its time was over before epoll could be asked."""
        self.reactor = Turns()
        self.connector = Connector(self.reactor, Upstream.parse("3000", WEB))
        connecting = self.connect()
        self.reactor.advance(0.5)
        for _ in range(TURNS - 1):  # our reactor reports a part of what is ready in each
            self.reactor.advance(0)
        self.assertFalse(self.reactor.connectors[-1].stoppedConnecting)
        self.reactor.tcpClients[-1][2].buildProtocol(None).makeConnection(StringTransport())
        self.successResultOf(connecting)
        self.reactor.advance(0)
        self.assertEqual((len(self.hosts()), self.reactor.getDelayedCalls()), (1, []))

    def test_attempt_is_given_up_when_all_that_was_ready_has_been_reported(self):
        self.reactor = Turns()
        self.connector = Connector(self.reactor, Upstream.parse("3000", WEB))
        self.connect()
        self.reactor.pump([0.5, *[0] * TURNS])
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(len(self.hosts()), 2)

    def test_queue_that_stays_full(self):
        connecting = self.connect()
        self.reactor.pump([LONGEST_WAIT] * (2 * int(CONNECT_TIMEOUT / LONGEST_WAIT) + 10))
        failure = self.failureResultOf(connecting, UpstreamFailed).value
        self.assertEqual(failure.code, "timeout")
        self.assertEqual(self.hosts()[-1], "::1")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_visitor_that_leaves_between_attempts(self):
        connecting = self.connect()
        self.reactor.advance(FIRST_WAIT)
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        self.assertEqual((len(self.hosts()), self.reactor.getDelayedCalls()), (2, []))

    def test_service_elsewhere_has_the_kernels_time(self):
        self.connector = Connector(self.reactor, Upstream.parse("http://192.0.2.1:80", WEB))
        connecting = self.connect()
        self.reactor.advance(CONNECT_TIMEOUT / 2)
        self.assertEqual(self.hosts(), ["192.0.2.1"])
        self.assertNoResult(connecting)

    def test_failures_are_explained(self):
        for error, code in (
            (ConnectionRefusedError(), "refused"),
            (TimeoutError(), "timeout"),
            (DNSLookupError(), "unknown-host"),
        ):
            connecting = self.connect()
            for _ in range(2):
                self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(error))
            failure = self.failureResultOf(connecting, UpstreamFailed)
            self.assertEqual(failure.value.code, code)
            self.assertTrue(str(failure.value))

    def fail_for_want_of_descriptors(self, *errors):
        connecting = self.connect()
        for error in errors:
            self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(error))
        failed = self.failureResultOf(connecting, UpstreamFailed).value
        self.assertTrue(failed.told)  # by one line a minute, not by one a visitor
        self.assertEqual(failed.code, "failed")
        self.assertIn("as many connections open as it may have", failed.public)

    def test_no_file_descriptor_is_left(self):
        none_left = ConnectBindError(errno.EMFILE, "Too many open files")
        self.patch(connecting_module, "exhausted", lambda: True)
        self.fail_for_want_of_descriptors(none_left, none_left)
        self.fail_for_want_of_descriptors(ConnectionRefusedError(), none_left)
        self.fail_for_want_of_descriptors(*[OSError(errno.ENFILE, "Too many open files in system")] * 2)
        self.fail_for_want_of_descriptors(DNSLookupError(), DNSLookupError())
