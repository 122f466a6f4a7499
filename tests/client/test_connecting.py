"""Tests for L{burrow.client.connecting} and L{burrow.client.standard}."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.addresses import ListenAddress
from burrow.client.config import parse_local
from burrow.client.connecting import ANSWER_WITHIN, MAX_CONNECTIONS, SESSION_WITHIN, Connector, Listening
from burrow.client.standard import StandardEnd
from burrow.errors import NoSuchTunnel, ServerUnreachable, Unavailable, WireError
from burrow.link.linked import Linked
from burrow.mux.control import ConnectAnswer, ConnectHead, decode_connect_head, encode_box
from burrow.mux.pipe import PipeEnd
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair

OK = ConnectAnswer("OK", "").encode()


class Socket(StringTransport):
    """A program's connection: what L{PipeEnd} needs of one."""

    aborted = half_closed = False
    connected = True

    def __init__(self, protocol):
        super().__init__()
        self.protocol = protocol
        protocol.makeConnection(self)

    def unregisterProducer(self):
        self.producer = None

    def setTcpNoDelay(self, enabled):
        pass

    def loseWriteConnection(self):
        self.half_closed = True

    def abortConnection(self):
        self.aborted = True
        self.connected = False
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Agent:
    """What a connector needs of its agent."""

    server = "https://example.com"

    def __init__(self, reactor, linked):
        self.reactor = reactor
        self.linked = linked


class Case(SynchronousTestCase):
    def setUp(self):
        self.clock = MemoryReactorClock()
        self.pair = SessionPair(server_factory=Recorders(HalfCloseRecorder), clock=self.clock)
        self.agent = Agent(self.clock, Linked(self.pair.agent, None, "session"))
        self.connector = Connector(self.agent)
        self.failures = []
        self.listening = Listening(self.connector, "box", self.failures.append)

    def visit(self):
        """A program connects to the local port: its connection."""
        local = self.listening.buildProtocol(None)
        socket = Socket(local)
        self.pair.pump()
        return socket

    @property
    def server(self):
        """The server's end of the newest stream."""
        return self.pair.server.factory.built[-1]

    def refusal(self, error):
        (failure,) = self.failures
        self.assertTrue(failure.check(error), failure)
        return failure.getErrorMessage()


class Connecting(Case):
    def test_joined_when_the_server_agrees(self):
        socket = self.visit()
        self.assertEqual(decode_connect_head(self.server.received), (ConnectHead("box"), b""))
        self.assertEqual(socket.producerState, "paused")  # nothing is read that nobody would take
        self.server.received = b""
        for piece in (OK[:3], OK[3:] + b"hel", b"lo"):
            self.server.transport.write(piece)
            self.pair.pump()
        self.assertEqual(socket.value(), b"hello")
        self.assertEqual(socket.producerState, "producing")
        socket.protocol.dataReceived(b"question")
        socket.protocol.readConnectionLost()
        self.pair.pump()
        self.assertEqual(self.server.received, b"question")
        self.assertTrue(self.server.read_lost)
        self.assertEqual(self.connector.count, 1)
        self.server.transport.loseConnection()
        self.pair.pump()
        self.assertTrue(socket.half_closed)
        self.assertEqual(self.connector.count, 0)
        self.assertEqual(self.failures, [])

    def test_refused(self):
        socket = self.visit()
        self.server.transport.write(ConnectAnswer.refusing(NoSuchTunnel("there is no box")).encode())
        self.server.transport.loseConnection()
        self.pair.pump()
        self.assertEqual(self.refusal(NoSuchTunnel), "there is no box")
        self.assertTrue(socket.aborted)
        self.assertEqual(socket.value(), b"")
        self.assertEqual(self.connector.count, 0)

    def test_a_refusal_of_a_newer_release(self):
        self.visit()
        self.server.transport.write(encode_box({"code": "TOO_LATE", "text": "come tomorrow"}))
        self.pair.pump()
        (failure,) = self.failures
        self.assertEqual(failure.getErrorMessage(), "come tomorrow")
        self.assertEqual(failure.value.exit_code, 77)

    def test_an_answer_that_is_none(self):
        for answer in (b"SSH-2.0-OpenSSH", encode_box({"text": "no code"})):
            socket = self.visit()
            self.server.transport.write(answer + b"x" * 300)
            self.pair.pump()
            self.refusal(WireError)
            self.assertTrue(socket.aborted)
            self.failures.clear()

    def test_a_server_of_an_older_release_resets_the_stream(self):
        socket = self.visit()
        self.server.transport.abortConnection()
        self.pair.pump()
        self.assertIn("older release", self.refusal(Unavailable))
        self.assertTrue(socket.aborted)

    def test_a_server_that_does_not_answer(self):
        socket = self.visit()
        self.clock.advance(ANSWER_WITHIN)
        self.pair.pump()
        self.assertIn("did not answer", self.refusal(Unavailable))
        self.assertTrue(socket.aborted)
        self.assertIsNotNone(self.server.lost)

    def test_a_program_that_leaves_before_the_answer(self):
        socket = self.visit()
        socket.connected = False
        socket.protocol.connectionLost(Failure(ConnectionDone()))
        self.pair.pump()
        self.assertIsNotNone(self.server.lost)
        self.assertEqual(self.failures, [])
        self.assertEqual(self.connector.count, 0)

    def test_broken_off_is_no_end(self):
        end = PipeEnd()
        Socket(end)
        remote = Deferred.fromCoroutine(self.connector.connect("box", end))
        self.pair.pump()
        self.server.transport.write(OK)
        self.pair.pump()
        remote = self.successResultOf(remote)
        self.server.transport.abortConnection()
        self.pair.pump()
        self.assertEqual(self.successResultOf(remote.closed), "the connection was broken off")

    def test_no_more_than_a_server_takes(self):
        for _ in range(MAX_CONNECTIONS):
            self.visit()
        streams = len(self.pair.server.factory.built)
        self.assertEqual(streams, MAX_CONNECTIONS)
        self.assertTrue(self.visit().aborted)
        self.assertIn("which is the limit", self.refusal(Unavailable))
        self.assertEqual(len(self.pair.server.factory.built), streams)

    def test_without_a_session_it_waits(self):
        linked, self.agent.linked = self.agent.linked, None
        self.visit()
        self.assertEqual(self.pair.server.factory.built, [])
        self.agent.linked = linked
        self.clock.advance(1)
        self.pair.pump()
        self.assertEqual(len(self.pair.server.factory.built), 1)

    def test_without_a_session_for_too_long(self):
        self.agent.linked.leaving = True  # the next one has not come
        socket = self.visit()
        self.clock.pump([1] * int(SESSION_WITHIN + 1))
        self.refusal(ServerUnreachable)
        self.assertTrue(socket.aborted)
        self.assertEqual(self.connector.count, 0)

    def test_cancelled(self):
        connecting = Deferred.fromCoroutine(self.connector.connect("box", PipeEnd()))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.pair.pump()
        self.assertEqual(self.connector.count, 0)


class Standard(Case):
    def joined(self):
        self.end = StandardEnd()
        Socket(self.end)
        connecting = Deferred.fromCoroutine(self.connector.connect("box", self.end))
        self.pair.pump()
        self.server.transport.write(OK)
        self.pair.pump()
        return self.successResultOf(connecting)

    def test_who_reads_standard_output_leaves(self):
        remote = self.joined()
        self.end.writeConnectionLost()
        self.pair.pump()
        self.assertIsNotNone(self.server.lost)
        self.assertIsNotNone(self.successResultOf(remote.closed))

    def test_standard_output_is_closed_after_the_tunnels_half(self):
        remote = self.joined()
        self.server.transport.loseWriteConnection()
        self.pair.pump()
        self.end.writeConnectionLost()
        self.end.dataReceived(b"still sent")
        self.pair.pump()
        self.assertTrue(self.server.received.endswith(b"still sent"))
        self.assertNoResult(remote.closed)


class Options(SynchronousTestCase):
    def test_where_it_listens(self):
        self.assertEqual(parse_local("2222"), ListenAddress("127.0.0.1", 2222))
        self.assertEqual(parse_local("0"), ListenAddress("127.0.0.1", 0))
        self.assertEqual(parse_local(":2222"), ListenAddress("", 2222))
        self.assertEqual(parse_local("[::1]:2222"), ListenAddress("::1", 2222))
        for wrong in ("box", "70000", "off", "1.2.3.4", ""):
            self.assertRaises(ValueError, parse_local, wrong)
