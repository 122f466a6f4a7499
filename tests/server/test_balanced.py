"""Tests for L{burrow.server.balanced}: who a visitor is behind a balancer that speaks the PROXY protocol."""

import ipaddress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs

from burrow.protocols.proxy_header import SIGNATURE, proxy_header
from burrow.server.balanced import (
    HEADER_WITHIN,
    MAX_V2,
    TELL_EVERY,
    Balanced,
    WrongHeader,
    handed_over,
    read_header,
)
from burrow.server.counting import AddressLimit
from burrow.testing import Recorder

VISITORS = [
    ("192.0.2.7:4711", IPv4Address("TCP", "192.0.2.7", 4711)),
    ("[2001:db8::7]:4711", IPv6Address("TCP", "2001:db8::7", 4711)),
    ("nobody", None),
]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(("visitor", "address"), VISITORS)
def test_what_we_write_is_read_in_pieces_of_any_size(version, visitor, address):
    data = proxy_header(version, visitor, 443)
    for size in range(len(data)):
        assert read_header(data[:size]) is None
    assert read_header(data + b"\x16\r\nrest") == (address, b"\x16\r\nrest")


def test_connections_of_the_balancers_own():
    local = SIGNATURE + pack("!BBH", 0x20, 0, 3) + b"xyz"
    assert read_header(local + b"rest") == (None, b"rest")
    unix = SIGNATURE + pack("!BBH", 0x21, 0x31, 216) + bytes(216)
    assert read_header(unix) == (None, b"")
    assert read_header(b"PROXY UNKNOWN ffff:: 1 2 3\r\nrest") == (None, b"rest")
    more = SIGNATURE + pack("!BBH", 0x21, 0x11, 20) + bytes([192, 0, 2, 7] * 2) + pack("!HH", 1, 2) + bytes(8)
    assert read_header(more + b"rest") == (IPv4Address("TCP", "192.0.2.7", 1), b"rest")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"PROXY\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 1\r\n",
        b"PROXY TCP4 2001:db8::7 192.0.2.8 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.999 192.0.2.8 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 65536 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 -1 2\r\n",
        b"PROXY UDP4 192.0.2.7 192.0.2.8 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + pack("!BBH", 0x11, 0x11, 12) + bytes(12),
        SIGNATURE + pack("!BBH", 0x22, 0x11, 12) + bytes(12),
        SIGNATURE + pack("!BBH", 0x21, 0x11, 11) + bytes(11),
        SIGNATURE + pack("!BBH", 0x21, 0x21, MAX_V2 + 1),
    ],
)
def test_what_is_no_header(data):
    with pytest.raises(WrongHeader):
        read_header(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    try:
        read_header(data)
    except WrongHeader:
        pass


class Socket(StringTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True

    def connectionLost(self, reason):
        """As of Twisted's own sockets."""


class Served:
    """Connections from C{host} to a server with a balancer at 10.0.0.0/24."""

    def __init__(self, most=2):
        self.clock = Clock()
        self.limit = AddressLimit(self.clock, most, [ipaddress.ip_network("10.0.0.0/24")])
        self.balanced = Balanced(self.clock, [ipaddress.ip_network("10.0.0.0/24")], self.limit)
        self.built = []
        self.factory = self.limit.guard(self.balanced.wrap(Factory.forProtocol(self.build)))

    def build(self):
        self.built.append(Recorder())
        return self.built[-1]

    def visit(self, host, data=b""):
        address = IPv4Address("TCP", host, 1)
        socket = Socket(peerAddress=address)
        socket.protocol = self.factory.buildProtocol(address)
        socket.protocol.makeConnection(socket)
        if data:
            socket.protocol.dataReceived(data)
        return socket


def test_the_balancer_is_believed_and_nobody_else():
    served = Served()
    header = proxy_header("v2", "192.0.2.7:4711", 443)
    socket = served.visit("10.0.0.1", header + b"hello")
    assert socket.getPeer() == IPv4Address("TCP", "192.0.2.7", 4711)
    assert served.built[0].received == b"hello"
    assert served.clock.getDelayedCalls() == []
    socket = served.visit("10.0.1.1", header)
    assert socket.getPeer().host == "10.0.1.1"
    assert served.built[1].received == header


def test_a_header_that_is_wrong_or_late_is_told_now_and_then():
    served = Served()
    with capturedLogs() as logs:
        assert served.visit("10.0.0.1", b"GET / HTTP/1.1\r\n").aborted
        assert served.visit("10.0.0.2", b"\x16\x03").aborted
        served.clock.advance(TELL_EVERY)
        late = served.visit("10.0.0.3", b"PROXY TC")
        served.clock.advance(HEADER_WITHIN)
    assert late.aborted
    assert [event["host"] for event in logs] == ["10.0.0.1", "10.0.0.3"]
    gone = served.visit("10.0.0.3")
    gone.protocol.connectionLost()
    assert (served.clock.getDelayedCalls(), served.built) == ([], [])


def test_visitors_are_counted_by_their_own_address():
    served = Served(most=2)
    header = proxy_header("v1", "192.0.2.7:4711", 443)
    sockets = [served.visit(f"10.0.0.{number}", header) for number in range(3)]
    assert [socket.aborted for socket in sockets] == [False, False, True]
    assert not served.visit("10.0.0.9", proxy_header("v1", "192.0.2.8:1", 443)).aborted
    assert len(served.built) == 3


def test_without_balancers_nothing_is_wrapped():
    clock = Clock()
    factory = Factory.forProtocol(Recorder)
    assert Balanced(clock, [], AddressLimit(clock, 1)).wrap(factory) is factory


def test_what_another_process_read_of_a_visitor_is_kept():
    seen = []

    class Seeing(Recorder):
        def connectionMade(self):
            seen.append(self.transport.getPeer())

    factory = handed_over(Factory.forProtocol(Seeing), "2001:db8::7", 4711)
    protocol = factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1))
    protocol.makeConnection(Socket())
    assert seen == [IPv6Address("TCP", "2001:db8::7", 4711)]
    assert protocol.transport.balanced == seen[0]
