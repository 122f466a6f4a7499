"""Tests for L{burrow.server.edge.foreknown}: which HTTP a connection's first bytes are."""

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from burrow.server.edge.foreknown import PREFACE, ChoosingFactory
from burrow.server.edge.front import PlainFrontFactory
from burrow.server.edge.sweep import Sweep


class Served(Protocol):
    """What serves, and what it got."""

    def __init__(self, version, told):
        self.version, self.data, self.late = version, b"", False
        told.append(self)

    def dataReceived(self, data):
        self.data += data

    def timed_out(self):
        self.late = True


class Port:
    """One connection to a plain port."""

    def __init__(self, fronted=False):
        self.served = []
        self.clock = Clock()
        sweep = Sweep(self.clock)
        self.sweep = sweep
        factories = []
        for version in (1, 2):
            factory = Factory()
            factory.buildProtocol = lambda addr, version=version: Served(version, self.served)
            factories.append(factory)
        choosing = ChoosingFactory(*factories, sweep, 30)
        if fronted:  # as where the server has several processes
            choosing = PlainFrontFactory(choosing, sweep, 30, lambda *asked: False)
        self.transport = StringTransport()
        self.transport.protocol = choosing.buildProtocol(None)
        self.transport.protocol.makeConnection(self.transport)

    def send(self, data, size):
        for start in range(0, len(data), size):
            self.transport.protocol.dataReceived(data[start : start + size])


@pytest.mark.parametrize("fronted", [False, True])
@pytest.mark.parametrize("size", [1, 5, 24, 1000])
@pytest.mark.parametrize(
    ("data", "version"),
    [
        (PREFACE + b"\0\0\0\4\0\0\0\0\0", 2),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n", 1),
    ],
)
def test_bytes_come_to_who_speaks_it(data, version, size, fronted):
    port = Port(fronted)
    port.send(data, size)
    (served,) = port.served
    assert (served.version, served.data) == (version, data)


def test_first_bytes_that_do_not_come():
    port = Port()
    port.send(PREFACE[:10], 10)
    assert port.served == []
    port.clock.advance(31)
    port.sweep._check()
    (served,) = port.served
    assert (served.version, served.data, served.late) == (1, PREFACE[:10], True)


def test_connection_that_is_lost_before():
    port = Port()
    front = port.transport.protocol
    front.connectionLost()
    assert list(port.sweep) == []
