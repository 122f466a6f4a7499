"""Tests for L{burrow.protocols.proxy_header}, read as haproxy's proxy-protocol.txt tells receivers to."""

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from burrow.addresses import authority
from burrow.errors import ConfigError
from burrow.mux.control import VisitorHead
from burrow.mux.pipe import PipeEnd
from burrow.protocols.base import AgentTunnel
from burrow.protocols.forward import Connectors
from burrow.protocols.proxy_header import proxy_header
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.upstream import Upstream

ADDRESSES = st.ip_addresses()
PORTS = st.integers(0, 65535)


def read_v1(header):
    """Section 2.1: "PROXY", the family, both addresses, both ports, one space between, CRLF; 107 bytes."""
    assert len(header) <= 107
    assert header.endswith(b"\r\n")
    assert header.count(b"\r\n") == 1
    words = header[:-2].decode("ascii").split(" ")
    assert words[0] == "PROXY"
    if words[1] == "UNKNOWN":
        return None
    assert len(words) == 6
    source, destination = map(ipaddress.ip_address, words[2:4])
    assert {"TCP4": 4, "TCP6": 6}[words[1]] == source.version == destination.version
    for port in words[4:]:
        assert str(int(port)) == port, "no leading zeroes"
    return source, destination, *map(int, words[4:])


def read_v2(header):
    """Section 2.2: 12 bytes of signature, version and command, family and protocol, the length, addresses."""
    assert header[:12] == b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
    version, family, length = struct.unpack("!BBH", header[12:16])
    assert version == 0x21
    rest = header[16:]
    assert len(rest) == length
    if family == 0:
        return None
    size = {0x11: 4, 0x21: 16}[family]
    assert length == 2 * size + 4
    source, destination = (ipaddress.ip_address(rest[at * size : (at + 1) * size]) for at in (0, 1))
    return source, destination, *struct.unpack("!HH", rest[2 * size :])


@given(ADDRESSES, PORTS, PORTS)
def test_both_versions_say_the_same(address, port, public):
    visitor = authority(str(address), port)
    read = read_v1(proxy_header("v1", visitor, public))
    assert read == read_v2(proxy_header("v2", visitor, public))
    source, destination, *ports = read
    assert (source, ports) == (address, [port, public])
    assert destination.is_unspecified
    assert destination.version == address.version


@given(st.text())
@example("")
@example("host:1")
@example("192.0.2.1:70000")
@example("192.0.2.1 x:1\r\n")
def test_a_visitor_without_an_address_is_unknown(visitor):
    assert read_v1(proxy_header("v1", visitor, 1)) == read_v2(proxy_header("v2", visitor, 1))


def test_examples_of_the_specification():
    assert proxy_header("v1", "255.255.255.255:65535", 65535) == (
        b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 65535\r\n"
    )
    assert proxy_header("v1", "nothing", 1) == b"PROXY UNKNOWN\r\n"
    assert proxy_header("v1", "[2001:db8::1]:5", 6) == b"PROXY TCP6 2001:db8::1 :: 5 6\r\n"


class _Connector:
    """Connects at once, as to a service on the loopback."""

    def connect_now(self, other):
        self.end = PipeEnd()
        self.end.other = other
        self.end.makeConnection(StringTransport())
        return self.end


def sent(url, **options):
    """What the upstream gets of a visitor that sends "hello"."""
    reactor, upstream, connector = _Connector(), Upstream.parse("3000", ("tcp",)), _Connector()
    known = Connectors._known.setdefault(reactor, {})
    known[upstream] = connector
    kind = TcpProtocol()
    values = {each.key: each.default for each in kind.options} | options
    tunnel = AgentTunnel(reactor, kind, upstream, values, 1, url)
    stream = kind.agent_protocol(tunnel, VisitorHead("t", "192.0.2.1:5", "tcp"))
    stream.makeConnection(StringTransport())
    stream.dataReceived(b"hello")
    return connector.end.transport.value()


def test_the_header_is_before_the_visitors_first_byte():
    url = "tcp://example.com:20022"
    assert sent(url) == b"hello"
    assert sent(url, **{"proxy-protocol": "v1"}) == b"PROXY TCP4 192.0.2.1 0.0.0.0 5 20022\r\nhello"
    v2 = sent(url, **{"proxy-protocol": "v2"})
    assert v2.endswith(b"hello")
    assert read_v2(v2[:-5])[2:] == (5, 20022)
    assert sent("", **{"proxy-protocol": "v1"}) == b"PROXY TCP4 192.0.2.1 0.0.0.0 5 0\r\nhello"


def test_it_is_for_tunnels_of_kind_tcp_alone():
    kind = TcpProtocol()
    values = {each.key: each.default for each in kind.options} | {"as": "redis"}
    kind.check_options(values)
    with pytest.raises(ConfigError, match="--proxy-protocol is an option of tunnels of kind tcp"):
        kind.check_options(values | {"proxy-protocol": "v1"})
