"""Tests for L{burrow.server.edge.front}: what is read before it is known who serves a visitor."""

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from burrow.server.edge.front import PlainFront, PlainFrontFactory, stay
from burrow.server.edge.sweep import Sweep

HEAD = b"GET /a HTTP/1.1\r\nHost: Blog.example.com:8080\r\n\r\n"


class Inner(Protocol):
    """Serves a visitor."""

    def __init__(self):
        self.data = b""
        self.late = False

    def dataReceived(self, data):
        self.data += data

    def timed_out(self):
        self.late = True


class Front:
    """A front with what it was asked to hand over, and what it let serve."""

    def __init__(self, hand_over=stay):
        self.asked = []
        self.served = []
        self.sweep = Sweep(Clock())
        inner = Factory()
        inner.buildProtocol = lambda addr: self.served.append(Inner()) or self.served[-1]

        def asks(host, transport, data):
            self.asked.append((host, data))
            return hand_over(host, transport, data)

        self.protocol = PlainFrontFactory(inner, self.sweep, 30, asks).buildProtocol(None)
        self.transport = StringTransport()
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)


@pytest.mark.parametrize("size", [1, 2, 7, len(HEAD), len(HEAD) + 3, 1000])
def test_bytes_come_to_who_serves_as_they_came(size):
    front = Front()
    sent = HEAD + b"body and the next"
    for start in range(0, len(sent), size):
        front.transport.protocol.dataReceived(sent[start : start + size])
    (served,) = front.served
    assert served.data == sent
    assert served is front.transport.protocol
    ((host, data),) = front.asked
    assert host == "blog.example.com"
    assert sent.startswith(data)
    assert data.startswith(HEAD)


def test_who_is_handed_over_is_not_served_here():
    front = Front(lambda *asked: True)
    front.transport.protocol.dataReceived(HEAD)
    assert front.asked == [("blog.example.com", HEAD)]
    assert front.served == []
    front.protocol.connectionLost()
    assert front.protocol.deadline is None


@pytest.mark.parametrize(
    "wrong", [b"\x16\x03\x01\x02\x00", b"GET  / HTTP/1.1\r\n\r\n", b"GET " + b"x" * 70_000]
)
def test_what_is_no_head_is_answered_here(wrong):
    front = Front(lambda *asked: True)
    front.transport.protocol.dataReceived(wrong)
    assert front.served[0].data == wrong
    assert front.asked == []


def test_a_head_that_does_not_come():
    front = Front()
    front.transport.protocol.dataReceived(HEAD[:20])
    front.protocol.timed_out()
    assert (front.served[0].data, front.served[0].late) == (HEAD[:20], True)
    front = Front()
    front.protocol.timed_out()
    assert (front.served[0].data, front.served[0].late) == (b"", True)


@pytest.mark.parametrize("empty", [b"\r\n" * 10_000, b"\r", b"\n\n"])
def test_empty_lines_before_a_head_are_not_kept(empty):
    """Any number of them is ignored."""
    front = Front()
    for _ in range(3):
        front.protocol.dataReceived(empty)
    assert front.protocol._received == b""
    front.protocol.dataReceived(HEAD)
    assert front.served[0].data == HEAD


def test_no_head_is_read_before_it_is_served_while_there_is_no_other_process():
    others, inner = [], Factory.forProtocol(Inner)
    factory = PlainFrontFactory(inner, Sweep(Clock()), 30, stay, lambda: not others)
    assert isinstance(factory.buildProtocol(None), Inner)
    others.append("another process")
    assert isinstance(factory.buildProtocol(None), PlainFront)
