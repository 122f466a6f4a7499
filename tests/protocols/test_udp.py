"""Tests for the kind "udp": datagrams on streams, visitors of a port, and the agent's socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, MessageLengthError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError, StreamGone
from burrow.protocols.udp import visitors
from burrow.protocols.udp.agent import UdpForward
from burrow.protocols.udp.framing import MAX_DATAGRAM, DatagramReader, framed
from burrow.protocols.udp.kind import UdpProtocol
from burrow.protocols.udp.visitors import UdpVisitors
from burrow.protocols.upstream import Upstream
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair

ANN, BOB = ("192.0.2.1", 1000), ("192.0.2.2", 2000)


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 50)))
def test_datagrams_stay_whole_however_the_stream_is_cut(datagrams, sizes):
    data = b"".join(map(framed, datagrams))
    reader, found = DatagramReader(), []
    for size in sizes:
        found += reader.feed(data[:size])
        data = data[size:]
    assert found + reader.feed(data) == datagrams


@given(st.binary(max_size=5000))
def test_any_bytes_are_datagrams_or_refused(data):
    reader = DatagramReader()
    try:
        assert all(len(each) <= MAX_DATAGRAM for each in reader.feed(data))
    except ValueError as error:
        assert "65507" in str(error)


def test_sizes():
    whole = bytes(MAX_DATAGRAM)
    assert DatagramReader().feed(framed(b"") + framed(whole)) == [b"", whole]
    with pytest.raises(ValueError, match="65508"):
        framed(whole + b"x")
    with pytest.raises(ValueError, match="65508"):
        DatagramReader().feed(b"\xff\xe4")


class Stream:
    """A stream's transport."""

    def __init__(self, protocol):
        self.protocol, self.written, self.ended = protocol, b"", ""

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written += data

    def loseConnection(self):
        assert self.producer is None, "a stream waits for its producer, however long that is"
        self.ended = "closed"

    def abortConnection(self):
        self.ended = "reset"

    @property
    def datagrams(self):
        return DatagramReader().feed(self.written)


class Socket:
    """A UDP port's transport."""

    def __init__(self, clock):
        self.reactor, self.written, self.error = clock, [], None

    def write(self, datagram, address):
        if self.error is not None:
            raise self.error
        self.written.append((datagram, address))


class Tunnel:
    """@ivar streams: those that were opened, by the visitor's address."""

    def __init__(self):
        self.streams, self.finding, self.requests, self.name = {}, None, 0, "dns"

    def found(self):
        return succeed(self) if self.finding is None else self.finding

    def connect(self, protocol, visitor, scheme):
        assert scheme == "udp"
        stream = self.streams[visitor] = Stream(protocol)
        protocol.makeConnection(stream)


class Visitors(SynchronousTestCase):
    def setUp(self):
        self.clock, self.tunnel = Clock(), Tunnel()
        self.port = UdpVisitors(self.tunnel, 60)
        self.port.transport = self.socket = Socket(self.clock)
        self.port.startProtocol()

    def stream(self, address):
        return self.tunnel.streams[f"{address[0]}:{address[1]}"]

    def test_each_address_has_a_stream(self):
        for datagram, address in ((b"a", ANN), (b"b", BOB), (b"", ANN)):
            self.port.datagramReceived(datagram, address)
        self.assertEqual(self.stream(ANN).datagrams, [b"a", b""])
        self.assertEqual(self.stream(BOB).datagrams, [b"b"])
        self.stream(BOB).protocol.dataReceived(framed(b"to bob")[:3])
        self.stream(BOB).protocol.dataReceived(framed(b"to bob")[3:] + framed(b""))
        self.assertEqual(self.socket.written, [(b"to bob", BOB), (b"", BOB)])
        self.assertEqual(self.tunnel.requests, 2)

    def test_what_is_late_is_dropped(self):
        self.port.datagramReceived(b"1", ANN)
        visitor = self.stream(ANN).protocol
        visitor.pauseProducing()
        self.port.datagramReceived(b"2", ANN)
        visitor.resumeProducing()
        self.port.datagramReceived(b"3", ANN)
        self.assertEqual(self.stream(ANN).datagrams, [b"1", b"3"])
        self.assertEqual(visitor.dropped, 1)

    def test_silent_addresses_are_forgotten(self):
        self.port.datagramReceived(b"1", ANN)
        self.clock.advance(40)
        self.port.datagramReceived(b"2", BOB)
        self.clock.advance(19)
        self.assertEqual(self.stream(ANN).ended, "")
        self.stream(ANN).protocol.dataReceived(framed(b"late"))  # an answer counts, too
        self.clock.advance(41)
        self.assertEqual((self.stream(ANN).ended, self.stream(BOB).ended), ("", "closed"))
        self.clock.advance(19)
        self.assertEqual(self.stream(ANN).ended, "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.port.datagramReceived(b"3", ANN)
        self.assertEqual(self.stream(ANN).datagrams, [b"3"])

    def test_who_was_answered_is_kept_when_there_are_too_many(self):
        self.port._most = 3
        self.port.datagramReceived(b"1", ANN)
        self.stream(ANN).protocol.dataReceived(framed(b"answer"))
        for number in range(10):
            self.port.datagramReceived(b"x", ("192.0.2.9", number))
        self.assertEqual(self.stream(ANN).ended, "")
        self.assertEqual(len(self.port._visitors), 3)
        self.assertEqual(sum(stream.ended == "closed" for stream in self.tunnel.streams.values()), 8)

    def test_datagrams_wait_while_the_tunnel_is_looked_for(self):
        self.tunnel.finding = Deferred()
        for number in range(visitors.MAX_EARLY + 5):
            self.port.datagramReceived(b"%d" % number, ANN)
        self.tunnel.finding.callback(self.tunnel)
        stream = self.stream(ANN)
        self.assertEqual(stream.datagrams, [b"%d" % number for number in range(visitors.MAX_EARLY)])
        self.assertEqual(stream.protocol.dropped, 5)
        self.assertEqual(self.port.counts, {"dropped": 5})

    def test_no_agent_costs_nothing(self):
        self.tunnel.finding = fail(StreamGone("away"))
        self.port.datagramReceived(b"1", ANN)
        self.assertEqual(len(self.port._visitors), 0)

    def test_the_port_closes_while_the_tunnel_is_looked_for(self):
        self.tunnel.finding = Deferred(lambda finding: None)
        self.port.datagramReceived(b"1", ANN)
        self.port.stopProtocol()
        self.assertEqual(len(self.port._visitors), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.tunnel.streams, {})

    def test_the_stream_ends_and_the_next_datagram_opens_another(self):
        ends = []
        self.port.began = lambda visitor, address: setattr(visitor, "on_end", lambda: ends.append(address))
        self.port.datagramReceived(b"1", ANN)
        self.stream(ANN).protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(ends, ["192.0.2.1:1000"])
        self.port.datagramReceived(b"2", ANN)
        self.assertEqual(self.stream(ANN).datagrams, [b"2"])

    def test_what_the_network_refuses_is_counted(self):
        self.port.datagramReceived(b"1", ANN)
        for self.socket.error in (OSError(90, "too long"), MessageLengthError("too long")):
            self.stream(ANN).protocol.dataReceived(framed(b"answer"))
        self.assertEqual(self.port.dropped, 2)
        self.assertEqual(self.port.counts, {"dropped": 2})

    def test_a_stream_that_is_none_is_reset(self):
        self.port.datagramReceived(b"1", ANN)
        self.stream(ANN).protocol.dataReceived(b"\xff\xff")
        self.assertEqual(self.stream(ANN).ended, "reset")


class RealStreams(SynchronousTestCase):
    def test_the_stream_of_a_silent_address_ends_at_the_agent(self):
        clock, tunnel = Clock(), Tunnel()
        pair = SessionPair(agent_factory=Recorders(HalfCloseRecorder), clock=clock)
        tunnel.connect = lambda protocol, visitor, scheme: pair.server.open_stream(protocol)
        port = UdpVisitors(tunnel, 60)
        port.transport = Socket(clock)
        port.startProtocol()
        port.datagramReceived(b"x", ANN)
        pair.pump()
        clock.advance(60)
        pair.pump()
        (end,) = pair.agent.factory.built
        self.assertEqual(end.received, framed(b"x"))
        self.assertTrue(end.read_lost)


class Opened:
    """A reactor with UDP ports."""

    def __init__(self):
        self.sockets, self.names = [], {}

    def resolve(self, name, timeout):
        return self.names[name]

    def listenUDP(self, port, protocol, interface, maxPacketSize):
        assert (port, maxPacketSize) == (0, MAX_DATAGRAM)
        protocol.transport = UpstreamSocket(interface)
        self.sockets.append(protocol)
        protocol.startProtocol()


class UpstreamSocket:
    def __init__(self, interface):
        self.interface, self.written, self.error, self.closed = interface, [], None, False

    def connect(self, host, port):
        self.to = host, port

    def write(self, datagram):
        if self.error is not None:
            raise self.error
        self.written.append(datagram)

    def stopListening(self):
        self.closed = True


class Agents(SynchronousTestCase):
    def forward(self, upstream, reactor=None):
        self.reactor = reactor or Opened()
        forward = UdpForward(self.reactor, Upstream.parse(upstream, ("udp",)))
        self.stream = Stream(forward)
        forward.makeConnection(self.stream)
        return forward

    def test_both_ways(self):
        forward = self.forward("53")
        forward.dataReceived(framed(b"question") + framed(b""))
        (socket,) = self.reactor.sockets
        self.assertEqual(
            (socket.transport.to, socket.transport.written), (("127.0.0.1", 53), [b"question", b""])
        )
        socket.datagramReceived(b"answer", ("127.0.0.1", 53))
        self.assertEqual(self.stream.datagrams, [b"answer"])
        forward.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(socket.transport.closed)

    def test_ipv6(self):
        self.forward("udp://[::1]:53")
        self.assertEqual(self.reactor.sockets[0].transport.interface, "::")

    def test_errors_of_the_network_are_survived(self):
        forward = self.forward("53")
        (socket,) = self.reactor.sockets
        socket.connectionRefused()
        for socket.transport.error in (OSError(111, "refused"), MessageLengthError("long")):
            forward.dataReceived(framed(b"x"))
        self.assertEqual(forward.dropped, 3)
        self.assertEqual(self.stream.ended, "")
        socket.transport.error = None
        forward.dataReceived(framed(b"y"))
        self.assertEqual(socket.transport.written, [b"y"])

    def test_socket_that_the_reactor_closes_is_opened_again(self):
        """As Twisted's own reactor on epoll does when ICMP tells that nothing listens."""
        forward = self.forward("53")
        (first,) = self.reactor.sockets
        first.doStart()
        first.doStop()
        self.assertEqual((forward.dropped, self.stream.ended), (1, ""))
        forward.dataReceived(framed(b"x"))
        (_, second) = self.reactor.sockets
        self.assertEqual(second.transport.written, [b"x"])
        second.doStart()
        forward.connectionLost(Failure(ConnectionDone()))
        second.doStop()
        self.assertEqual((forward.dropped, len(self.reactor.sockets)), (1, 2))

    def test_late_answers_are_dropped(self):
        forward = self.forward("53")
        forward.pauseProducing()
        self.reactor.sockets[0].datagramReceived(b"answer", ("127.0.0.1", 53))
        self.assertEqual((self.stream.datagrams, forward.dropped), ([], 1))

    def test_names_are_resolved(self):
        reactor = Opened()
        reactor.names["dns.example"] = Deferred()
        forward = self.forward("dns.example:53", reactor)
        forward.dataReceived(framed(b"x") * 20)
        reactor.names["dns.example"].callback("192.0.2.53")
        self.assertEqual(reactor.sockets[0].transport.to, ("192.0.2.53", 53))
        self.assertEqual(len(reactor.sockets[0].transport.written), 16)

    def test_names_that_are_none(self):
        reactor = Opened()
        reactor.names["dns.example"] = fail(OSError("no such name"))
        self.forward("dns.example:53", reactor)
        self.assertEqual(self.stream.ended, "reset")

    def test_a_visitor_that_leaves_meanwhile(self):
        reactor = Opened()
        reactor.names["dns.example"] = Deferred()
        self.forward("dns.example:53", reactor).connectionLost(Failure(ConnectionDone()))
        self.assertEqual(reactor.sockets, [])


def test_upstreams():
    kind = UdpProtocol()
    assert str(kind.parse_upstream("53")) == "udp://localhost:53"
    with pytest.raises(ConfigError, match="has no UDP port"):
        kind.parse_upstream("unix:/run/dns.sock")
