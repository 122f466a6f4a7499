"""Tests for L{burrow.sockets}: the protocol of a connection; tests/server/test_finishing.py has the rest."""

import pytest
from twisted.internet import ssl
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from burrow import allocator
from burrow.allocator import LARGE
from burrow.sockets import read_large, swap_protocol


class First(Protocol):
    """Is told nothing when it is replaced."""

    def connectionLost(self, reason):
        raise AssertionError("it is told that the connection is lost")


def test_a_socket_gets_another_protocol():
    transport = StringTransport()
    first, second = First(), Protocol()
    transport.protocol = first
    first.makeConnection(transport)
    swap_protocol(transport, second)
    assert transport.protocol is second
    assert second.transport is transport
    assert second.connected


def test_tls_keeps_the_socket_and_gets_another_protocol_inside():
    tls = TLSMemoryBIOFactory(ssl.CertificateOptions(), True, Factory.forProtocol(First)).buildProtocol(None)
    socket = StringTransport()
    socket.protocol = tls
    tls.makeConnection(socket)
    second = Protocol()
    swap_protocol(tls, second)
    assert socket.protocol is tls
    assert tls.wrappedProtocol is second
    assert second.transport is tls


@pytest.mark.parametrize("cheap", [True, False])
def test_large_buffers_are_used_where_they_are_cheap(cheap, monkeypatch):
    monkeypatch.setattr(allocator, "_keeps", cheap)
    tls = TLSMemoryBIOFactory(ssl.CertificateOptions(), True, Factory.forProtocol(Protocol)).buildProtocol(
        None
    )
    socket = StringTransport()
    tls.makeConnection(socket)
    read_large(tls)
    assert getattr(socket, "bufferSize", None) == (LARGE if cheap else None)
    assert FileDescriptor.bufferSize < LARGE
