"""Tests for L{burrow.server.counting}: at the limit, one over, and that all is given back."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from burrow.addresses import parse_network
from burrow.errors import ConfigError
from burrow.options import load
from burrow.server.config import LOOPBACK, ServerConfig
from burrow.server.counting import MAX_TOLD, TELL_EVERY, AddressLimit, counted, stop_counting

MOST = 3


class Socket(StringTransport):
    """A transport that is lost as a socket is: the reactor calls C{connectionLost} on it."""

    def __init__(self):
        super().__init__()
        self.reset = False

    def connectionLost(self, reason):
        self.protocol.connectionLost(reason)

    def abortConnection(self):
        self.reset = True


class Listening:
    """What accepts connections, as Twisted's port does, for a factory behind a limit."""

    def __init__(self, most=MOST, uncounted=LOOPBACK, protocol=Protocol):
        self.clock = Clock()
        self.limit = AddressLimit(self.clock, most, map(parse_network, uncounted))
        self.factory = self.limit.guard(Factory.forProtocol(protocol))

    def connect(self, host):
        address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, 4711)
        return self._accept(address)

    def _accept(self, address):
        socket = Socket()
        protocol = self.factory.buildProtocol(address)
        if protocol is not None:
            socket.protocol = protocol
            protocol.makeConnection(socket)
        return socket

    @staticmethod
    def close(socket):
        socket.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def told():
    """The lines that were logged of addresses."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [event["address"] for event in events if "address" in event]
    globalLogPublisher.removeObserver(events.append)


def test_at_the_limit_and_one_over():
    listening = Listening()
    kept = [listening.connect("203.0.113.1") for _ in range(MOST)]
    assert not any(socket.reset for socket in kept)
    assert listening.connect("203.0.113.1").reset
    assert not listening.connect("203.0.113.2").reset
    assert listening.connect("203.0.113.1").reset  # what was refused is not counted, nor is it given back
    listening.close(kept[0])
    assert not listening.connect("203.0.113.1").reset
    assert listening.connect("203.0.113.1").reset


def test_all_that_is_closed_is_forgotten():
    listening = Listening()
    sockets = [listening.connect(f"2001:db8:{number:x}::1") for number in range(1000)]
    sockets += [listening.connect("192.0.2.1") for _ in range(MOST + 1)][:MOST]
    for socket in sockets:
        listening.close(socket)
        assert "connectionLost" not in vars(socket)
    assert listening.limit._open == {}


@pytest.mark.parametrize(
    ("hosts", "together"),
    [
        (("192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"), True),
        (("2001:db8:0:1::1", "2001:db8:0:1:ffff::", "2001:db8:0:1:2:3:4:5"), True),
        (("fe80::1%eth0", "fe80::1%eth1", "fe80::2"), True),
        (("2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"), False),
        (("192.0.2.1", "192.0.2.2", "192.0.2.3"), False),
        (("::ffff:192.0.2.1", "::ffff:192.0.2.2", "::ffff:192.0.2.3"), False),
    ],
)
def test_what_counts_as_one_address(hosts, together):
    listening = Listening(most=1)
    assert [listening.connect(host).reset for host in hosts] == [False, together, together]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "2001:db8::7"]
)
def test_loopback_and_proxies_are_not_counted(host):
    listening = Listening(most=1, uncounted=(*LOOPBACK, "10.0.0.0/8", "2001:db8::7/128"))
    assert not any(listening.connect(host).reset for _ in range(5))
    assert listening.limit._open == {}


def test_neighbour_of_an_uncounted_address_is_counted():
    listening = Listening(most=1, uncounted=("2001:db8::7/128",))
    assert [listening.connect("2001:db8::8").reset for _ in range(2)] == [False, True]


def test_sockets_without_an_address_are_not_counted():
    listening = Listening(most=1)
    assert not any(listening._accept(UNIXAddress("/x")).reset for _ in range(3))


def test_without_a_limit_nothing_stands_before_the_factory():
    factory = Factory.forProtocol(Protocol)
    assert AddressLimit(Clock(), 0).guard(factory) is factory


def test_agent_that_has_shown_its_token_counts_no_more():
    class Above:
        """TLS on the socket."""

    listening = Listening()
    agents = [listening.connect("203.0.113.1") for _ in range(MOST)]
    for agent in agents:
        above = Above()
        above.transport = agent
        stop_counting(above)
        stop_counting(above)
    assert listening.limit._open == {}
    visitors = [listening.connect("203.0.113.1") for _ in range(MOST)]
    assert not any(socket.reset for socket in visitors)
    for agent in agents:
        listening.close(agent)
    assert listening.connect("203.0.113.1").reset
    stop_counting(Socket())  # one that never counted


def test_what_a_connection_has_beyond_itself_counts_as_more_of_them(told):
    listening = Listening()
    first, second = (listening.connect("203.0.113.1") for _ in range(2))
    assert counted(first).more()
    assert not counted(first).more()
    assert not counted(second).more()
    assert listening.connect("203.0.113.1").reset
    assert told() == ["203.0.113.1"]
    counted(first).less()
    assert counted(second).more()
    assert not listening.connect("203.0.113.2").reset
    kept = counted(second)
    listening.close(second)
    kept.less()  # what ends with its connection
    assert kept.more()
    assert [counted(first).more() for _ in range(3)] == [True, True, False]
    stop_counting(first)
    assert list(map(str, listening.limit._open)) == ["203.0.113.2"]
    assert counted(Socket()) is None


def test_protocol_that_is_replaced_gives_back_all_the_same():
    """As TLS replaces what read the ClientHello."""
    listening = Listening(most=1)
    first = listening.connect("203.0.113.1")
    first.protocol = Protocol()
    listening.close(first)
    assert not listening.connect("203.0.113.1").reset


@pytest.mark.parametrize("wrong", ["none", "error"])
def test_connection_that_nobody_takes_is_not_counted(wrong):
    listening = Listening(most=1)

    class Refusing(Factory):
        def buildProtocol(self, addr):
            if wrong == "error":
                raise ValueError

    listening.factory = listening.limit.guard(Refusing())
    for _ in range(3):
        try:
            assert not listening.connect("203.0.113.1").reset
        except ValueError:
            assert wrong == "error"
    assert listening.limit._open == {}


def test_told_once_a_minute_of_an_address(told):
    listening = Listening(most=1)
    for _ in range(5):
        listening.connect("203.0.113.1")
        listening.connect("2001:db8::1")
    assert told() == ["203.0.113.1", "2001:db8::/64"]
    listening.clock.advance(TELL_EVERY - 1)
    listening.connect("203.0.113.1")
    assert len(told()) == 2
    listening.clock.advance(1)
    listening.connect("203.0.113.1")
    assert told()[2:] == ["203.0.113.1"]


def test_what_was_told_has_a_bound(told):
    listening = Listening(most=1)
    for number in range(MAX_TOLD + 50):
        for _ in range(2):
            listening.connect(f"192.0.{number // 256}.{number % 256}")
    assert len(told()) == len(listening.limit._told) == MAX_TOLD
    listening.clock.advance(TELL_EVERY)
    listening.connect(f"192.0.{MAX_TOLD // 256}.{MAX_TOLD % 256}")
    assert len(told()) == MAX_TOLD + 1
    assert len(listening.limit._told) == 1


def test_option():
    assert load(ServerConfig, {}, {}).max_connections_per_address == 1000
    assert load(ServerConfig, {"max_connections_per_address": "0"}, {}).max_connections_per_address == 0
    assert load(ServerConfig, {}, {}, {"max-connections-per-address": 7}).max_connections_per_address == 7
    for wrong in ("-1", "many", "1.5", ""):
        with pytest.raises(ConfigError, match="whole number, or 0 for no limit"):
            load(ServerConfig, {}, {}, {"max-connections-per-address": wrong})
