"""Tests for L{burrow.testing.tunnel.MemoryTunnel}: a kind of each reach without a network."""

import pytest

from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.tls import TlsProtocol
from burrow.protocols.udp.kind import UdpProtocol
from burrow.testing.tunnel import MemoryTunnel


@pytest.mark.parametrize("kind", [HttpProtocol, TcpProtocol, TlsProtocol])
def test_bytes_both_ways(kind):
    tunnel = MemoryTunnel(kind())
    visitor = tunnel.visit()
    visitor.transport.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    tunnel.pump()
    (upstream,) = tunnel.built
    assert upstream.received == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    upstream.transport.write(b"answer")
    tunnel.pump()
    assert visitor.received == b"answer"


def test_datagrams_both_ways():
    tunnel = MemoryTunnel(UdpProtocol(), {"idle": "60"})
    visitors = [tunnel.visit(), tunnel.visit()]
    for visitor, datagrams in zip(visitors, ([b"one", b""], [b"other"]), strict=True):
        for datagram in datagrams:
            visitor.send(datagram)
    tunnel.pump()
    first, second = tunnel.sockets
    assert (first.received, second.received) == ([b"one", b""], [b"other"])
    first.answer(b"back")
    second.answer(b"to the other")
    tunnel.pump()
    assert [visitor.received for visitor in visitors] == [[b"back"], [b"to the other"]]
