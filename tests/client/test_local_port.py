"""Tests for L{burrow.client.local_port}: TCP or UDP, as the server says; datagrams of local programs."""

import errno

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.addresses import ListenAddress
from burrow.client.connecting import MAX_CONNECTIONS, Asking, Connector
from burrow.client.local_port import ASK_AGAIN, MAX_SOURCES, REFUSED_FOR, TELL_EVERY, LocalPort
from burrow.errors import ConfigError, NoSuchTunnel, Unavailable
from burrow.link.linked import Linked
from burrow.mux.control import BYTES, DATAGRAMS, QUESTION, ConnectAnswer, ConnectHead, decode_connect_head
from burrow.protocols.udp.framing import DatagramReader, framed
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair
from tests.client.test_connecting import OK, Agent

ANN, BOB = ("127.0.0.1", 1000), ("127.0.0.1", 2000)


class UdpPort:
    """A UDP port of the reactor's."""

    def __init__(self, reactor, number, protocol):
        self.reactor, self.number, self.protocol = reactor, number, protocol
        self.written, self.open = [], True
        protocol.transport = self
        protocol.startProtocol()

    def getHost(self):
        return ListenAddress("127.0.0.1", self.number or 5353)

    def write(self, datagram, address):
        self.written.append((datagram, address))

    def stopListening(self):
        self.open = False
        self.protocol.stopProtocol()


class Reactor(MemoryReactorClock):
    """With UDP ports. @ivar udp: those that were opened. @ivar busy: whether none can be opened."""

    def __init__(self):
        super().__init__()
        self.udp, self.busy = [], False

    def listenUDP(self, port, protocol, interface, maxPacketSize):
        if self.busy:
            raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "Address already in use"))
        self.udp.append(UdpPort(self, port, protocol))
        return self.udp[-1]


class Case(SynchronousTestCase):
    def setUp(self):
        self.reactor = Reactor()
        self.pair = SessionPair(server_factory=Recorders(HalfCloseRecorder), clock=self.reactor)
        self.agent = Agent(self.reactor, Linked(self.pair.agent, None, "session"))
        self.connector = Connector(self.agent)
        self.failures = []
        self.port = self.make()

    def make(self, port=5353):
        made = LocalPort(self.connector, "dns", ListenAddress("127.0.0.1", port), self.failures.append)
        made.open()
        return made

    @property
    def streams(self):
        """The server's ends of the streams that the agent opened."""
        return self.pair.server.factory.built

    def settle(self):
        settling = Deferred.fromCoroutine(self.port.settle())
        self.pair.pump()
        return settling

    def answer(self, answer, more=b""):
        """The server's answer on the newest stream."""
        self.streams[-1].transport.write(answer.encode() + more)
        self.pair.pump()

    def told(self):
        texts = [failure.getErrorMessage() for failure in self.failures]
        self.failures.clear()
        return texts


class Which(Case):
    def test_connections(self):
        settling = self.settle()
        self.assertEqual(decode_connect_head(self.streams[0].received)[0], ConnectHead("dns", QUESTION))
        self.assertNoResult(settling)
        self.answer(ConnectAnswer("OK", "", BYTES))
        self.successResultOf(settling)
        self.assertEqual((self.port.scheme, self.reactor.udp), ("tcp", []))
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_datagrams(self):
        settling = self.settle()
        self.answer(ConnectAnswer("OK", "", DATAGRAMS))
        self.successResultOf(settling)
        (udp,) = self.reactor.udp
        self.assertEqual((self.port.scheme, udp.number), ("udp", 5353))
        self.assertEqual(self.connector.count, 0)

    def test_any_port_may_be_another_for_udp(self):
        self.port = self.make(0)
        settling = self.settle()
        self.answer(ConnectAnswer("OK", "", DATAGRAMS))
        self.successResultOf(settling)
        self.assertEqual(self.reactor.udp[0].number, 0)
        self.assertEqual(self.port.address.port, 5353)

    def test_the_udp_port_is_busy(self):
        self.reactor.busy = True
        settling = self.settle()
        self.answer(ConnectAnswer("OK", "", DATAGRAMS))
        text = self.failureResultOf(settling, ConfigError).getErrorMessage()
        self.assertEqual(
            text, "cannot listen on 127.0.0.1:5353: Address already in use; choose another with --listen"
        )

    def test_a_tunnel_that_is_opened_later(self):
        settling = self.settle()
        for text, told in (("no tunnel", ["no tunnel"]), ("no tunnel", []), ("away", ["away"])):
            self.answer(ConnectAnswer.refusing(Unavailable(text)))
            self.assertEqual(self.told(), [f"{text}; asking again every 5 s" for text in told])
            self.reactor.advance(ASK_AGAIN)
            self.pair.pump()
        self.assertNoResult(settling)
        self.answer(ConnectAnswer("OK", "", DATAGRAMS))
        self.successResultOf(settling)
        self.assertEqual(len(self.streams), 4)


class Datagrams(Case):
    def setUp(self):
        super().setUp()
        settling = self.settle()
        self.answer(ConnectAnswer("OK", "", DATAGRAMS))
        self.successResultOf(settling)
        (self.udp,) = self.reactor.udp
        self.streams.clear()

    def send(self, datagram, source=ANN):
        self.udp.protocol.datagramReceived(datagram, source)
        self.pair.pump()

    def sent(self, number):
        """What was sent on a stream, behind its head."""
        head, rest = decode_connect_head(self.streams[number].received)
        self.assertEqual(head, ConnectHead("dns", DATAGRAMS))
        return DatagramReader().feed(rest)

    def test_each_source_has_a_stream(self):
        for datagram, source in ((b"a", ANN), (b"b", BOB), (b"", ANN)):
            self.send(datagram, source)
        self.assertEqual([self.sent(0), self.sent(1)], [[], []])  # nothing before the answer
        for stream, answer in zip(self.streams, (framed(b"to ann"), b""), strict=True):
            stream.transport.write(OK + answer)
        self.pair.pump()
        self.assertEqual([self.sent(0), self.sent(1)], [[b"a", b""], [b"b"]])
        self.streams[1].transport.write(framed(b"to bob") + framed(b""))
        self.pair.pump()
        self.assertEqual(self.udp.written, [(b"to ann", ANN), (b"to bob", BOB), (b"", BOB)])
        self.assertEqual(self.connector.count, 2)

    def test_the_server_forgets_a_source(self):
        self.send(b"a")
        self.streams[0].transport.write(OK)
        self.pair.pump()
        self.streams[0].transport.loseConnection()
        self.pair.pump()
        self.assertEqual(self.connector.count, 0)
        self.send(b"b")
        self.streams[1].transport.write(OK)
        self.pair.pump()
        self.assertEqual(self.sent(1), [b"b"])

    def test_refused(self):
        """It is told, and not asked for again with each datagram."""
        for _ in range(3):
            self.send(b"a")
        self.answer(ConnectAnswer.refusing(NoSuchTunnel("there is no dns")))
        self.assertEqual(self.told(), ["there is no dns"])
        self.send(b"a")
        self.assertEqual(len(self.streams), 1)
        self.reactor.advance(REFUSED_FOR)
        self.send(b"b")
        self.assertEqual(len(self.streams), 2)
        self.answer(ConnectAnswer.refusing(NoSuchTunnel("there is no dns")))
        self.assertEqual(self.told(), [])
        self.reactor.advance(TELL_EVERY)
        self.send(b"c")
        self.answer(ConnectAnswer.refusing(NoSuchTunnel("there is no dns")))
        self.assertEqual(self.told(), ["there is no dns"])
        self.assertEqual(self.connector.count, 0)

    def test_no_more_sources_than_streams(self):
        for number in range(MAX_SOURCES + 10):
            self.send(b"x", ("127.0.0.1", number + 1))
            self.streams[-1].transport.write(OK)
            self.pair.pump()
        self.assertEqual(self.connector.count, MAX_SOURCES)
        self.assertEqual(sum(stream.read_lost for stream in self.streams), 10)

    def test_sources_wait_for_streams_that_have_not_ended(self):
        self.connector.count = MAX_CONNECTIONS
        self.send(b"a")
        self.assertEqual(self.streams, [])
        self.connector.count = 0
        self.reactor.advance(1)
        self.pair.pump()
        self.assertEqual(len(self.streams), 1)

    def test_what_waits_for_a_stream_is_bounded(self):
        for number in range(30):
            self.send(b"%d" % number)
        self.answer(ConnectAnswer("OK", ""))
        self.assertEqual(self.sent(0), [b"%d" % number for number in range(16)])
        self.assertEqual(self.successResultOf(self.close()), 14)

    def test_late_datagrams_are_dropped_and_counted(self):
        self.send(b"a")
        self.answer(ConnectAnswer("OK", ""))
        self.streams[0].transport.pauseProducing()
        for _ in range(40):
            self.send(bytes(60_000))
        self.send(b"late")
        self.streams[0].transport.resumeProducing()
        self.pair.pump()
        got = self.sent(0)
        self.assertNotIn(b"late", got)
        self.assertLess(len(got), 20)
        self.assertEqual(self.successResultOf(self.close()), 42 - len(got))

    def close(self):
        return Deferred.fromCoroutine(self.port.close())

    def test_closed(self):
        self.send(b"a", ANN)
        self.answer(ConnectAnswer("OK", ""))
        self.send(b"b", BOB)  # is not answered yet
        self.assertEqual(self.successResultOf(self.close()), 0)
        self.pair.pump()
        self.assertFalse(self.udp.open)
        self.assertTrue(self.streams[0].read_lost)
        self.assertIsNotNone(self.streams[1].lost)
        self.assertEqual(self.connector.count, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class Questions(Case):
    def test_more_than_one_answer_is_ignored(self):
        asking = Deferred.fromCoroutine(self.connector.ask(Asking(ConnectHead("dns", QUESTION))))
        self.pair.pump()
        self.answer(ConnectAnswer("OK", "", BYTES), ConnectAnswer("OK", "", DATAGRAMS).encode())
        self.assertEqual(self.successResultOf(asking).carries, BYTES)
