"""Tests for L{burrow.link.carrier}: one WebSocket under a session."""

import socket
from types import SimpleNamespace

import pytest
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from burrow.link import carrier
from burrow.link.carrier import PROTOCOL_OPTIONS, CarrierProtocol, keep_kernel_queue_short
from burrow.mux.interfaces import CloseCode
from burrow.testing import Recorder, Recorders
from tests.link.joined import Joined


@implementer(ITCPTransport)
class Lowest:
    """A socket's transport, which keeps what it is told. @ivar disconnecting: whether it closes."""

    disconnecting = False

    def __init__(self):
        self.told, self.written, self.producer = [], [], None
        self.socket = self
        self.bufferSize = 65_536

    def write(self, data):
        self.written.append(data)

    def setsockopt(self, *option):
        self.told.append(option)

    def setTcpNoDelay(self, on):
        self.told.append(on)

    def registerProducer(self, producer, streaming):
        assert not streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def getPeer(self):
        return "peer"

    def abortConnection(self):
        self.told.append("aborted")


class User:
    """Stands in for a session."""

    def __init__(self):
        self.drained, self.received, self.lost, self.peer = 0, [], [], None

    def attach(self, carrier, peer):
        self.peer = peer

    def carrier_received(self, data):
        self.received.append(data)

    def carrier_drained(self):
        self.drained += 1

    def carrier_lost(self, reason):
        self.lost.append(reason)


class Carrier(CarrierProtocol):
    """A carrier without Autobahn."""

    state = WebSocketProtocol.STATE_OPEN
    closeHandshakeTimeoutCall = None

    def __init__(self):
        self.transport = Lowest()
        self.closed, self.pongs = [], []
        self.sendClose = lambda *how: self.closed.append(how)
        self.sendPong = self.pongs.append


@pytest.fixture
def one():
    return Carrier()


@pytest.fixture
def carrying(one):
    one.carry(User())
    return one


def test_socket_asks_for_more_once_it_took_a_message(carrying):
    assert carrying.user.peer == "peer"
    producer = carrying.transport.producer
    producer.resumeProducing()
    assert carrying.user.drained == 0  # nothing was sent
    assert carrying.send(b"message") is False
    assert carrying.transport.written == [b"\x82\x07message"]
    producer.resumeProducing()
    producer.resumeProducing()
    assert carrying.user.drained == 1
    carrying.send(b"message")
    carrying.user = None
    producer.resumeProducing()


def test_transport_that_closes_is_released(carrying):
    carrying.send(b"message")
    producer = carrying.transport.producer
    carrying.transport.disconnecting = True
    producer.resumeProducing()
    assert carrying.transport.producer is None
    assert carrying.user.drained == 0


def test_pongs_do_not_ask_for_more(carrying):
    carrying.onPing(b"one")
    carrying.onPing(b"two")
    carrying.onPing(b"three")
    assert carrying.pongs == [b"one"]
    carrying.resumeProducing()
    assert carrying.pongs == [b"one", b"three"]
    carrying.resumeProducing()
    carrying.resumeProducing()
    carrying.onPing(b"four")
    assert carrying.pongs == [b"one", b"three", b"four"]
    assert carrying.user.drained == 0


def test_messages_of_the_peers(one):
    one.onMessage(b"early", True)
    one.carry(User())
    one.onMessage(b"binary", True)
    assert (one.user.received, one.closed) == ([b"binary"], [])
    one.onMessage(b"text", False)
    assert one.user.received == [b"binary"]
    assert one.closed == [(CloseCode.UNSUPPORTED, "binary messages only")]


@pytest.mark.parametrize(
    ("clean", "reason", "kind", "says"),
    [
        (True, "enough", ConnectionDone, "enough"),
        (True, None, ConnectionDone, "closed"),
        (False, "a cable", ConnectionLost, "a cable"),
        (False, None, ConnectionLost, "lost"),
    ],
)
def test_end_is_told_once(carrying, clean, reason, kind, says):
    user = carrying.user
    for _ in range(2):
        carrying.onClose(clean, 1000, reason)
    (told,) = user.lost
    assert told.check(kind)
    assert told.value.args == (says,)
    assert carrying.user is None


def test_timer_that_autobahn_forgets_is_cancelled(one):
    cancelled = []
    one.closeHandshakeTimeoutCall = SimpleNamespace(cancel=lambda: cancelled.append(1))
    one.onClose(False, None, None)
    one.onClose(False, None, None)
    assert cancelled == [1]


def test_nothing_is_sent_on_one_that_closes(carrying):
    carrying.state = WebSocketProtocol.STATE_CLOSING
    assert carrying.send(b"message") is True
    assert carrying.transport.written == []
    carrying.resumeProducing()
    assert carrying.user.drained == 0
    carrying.abort()
    assert carrying.transport.told[-1] == "aborted"


def test_socket_is_set_up_for_small_messages(carrying):
    told = carrying.transport.told
    assert True in told  # TCP_NODELAY
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        assert (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 16_384) in told
    assert carrying.zero_mask is False


def test_short_queue_where_the_system_has_it(monkeypatch):
    monkeypatch.setattr(carrier, "socket", SimpleNamespace(TCP_NOTSENT_LOWAT=25, IPPROTO_TCP=6))
    for platform, below in (("linux", 16_384), ("darwin", None)):
        monkeypatch.setattr(carrier, "sys", SimpleNamespace(platform=platform))
        transport = Lowest()
        keep_kernel_queue_short(SimpleNamespace(transport=transport))
        assert transport.told == [(6, 25, 16_384)]
        assert getattr(transport, "room_below", None) == below


def test_short_queue_where_the_system_does_not_have_it(monkeypatch):
    monkeypatch.setattr(carrier, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(carrier, "socket", SimpleNamespace(TCP_NOTSENT_LOWAT=25, IPPROTO_TCP=6))
    keep_kernel_queue_short(object())

    def refuse(*option):
        raise OSError("no TCP")

    transport = Lowest()
    transport.setsockopt = refuse
    keep_kernel_queue_short(transport)
    assert not hasattr(transport, "room_below")
    monkeypatch.setattr(carrier, "socket", SimpleNamespace(IPPROTO_TCP=6))
    transport = Lowest()
    keep_kernel_queue_short(transport)
    assert transport.told == []
    assert not hasattr(transport, "room_below")


def test_of_autobahns_log_the_errors_are_kept():
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        for level in ("debug", "info", "trace", "warn", "error", "failure"):
            getattr(CarrierProtocol.log, level)("{what} of " + level, what="line")
        CarrierProtocol.log.error("SSL error: {what}", what="line")
    finally:
        globalLogPublisher.removeObserver(events.append)
    found = [(event["log_level"], event["text"]) for event in events if event["log_namespace"] == "autobahn"]
    assert found == [(LogLevel.error, "line of error"), (LogLevel.error, "line of failure")]


def test_options_of_autobahns():
    """No fragments of ours, no text that is validated, 4 MiB at most, and times as the protocol says."""
    assert PROTOCOL_OPTIONS == {
        "maxFramePayloadSize": 4 << 20,
        "maxMessagePayloadSize": 4 << 20,
        "autoFragmentSize": 0,
        "openHandshakeTimeout": 10,
        "closeHandshakeTimeout": 1,
        "utf8validateIncoming": False,
        "failByDrop": False,
    }


class Newer(SynchronousTestCase):
    """Two connections of one session."""

    def test_newer_connection_replaces_the_older_one(self):
        link = Joined()
        dialer = link.dialer()
        dialling = Deferred.fromCoroutine(dialer.dial())
        link.pump()
        linked = self.successResultOf(dialling)
        received = Recorders()
        link.sessions[0][0].listen(received)
        stream = linked.session.open_stream(Recorder())
        stream.write(b"one ")
        older = link.connections[0].ends
        again = Deferred.fromCoroutine(dialer.dial(linked))
        link.pump()
        self.assertIs(self.successResultOf(again), linked)
        self.assertEqual([end.user for end in older], [None, None])
        self.assertIn("aborted", [end.transport.ended for end in older])
        stream.write(b"two")
        link.pump()
        self.assertEqual(received.built[0].received, b"one two")
        self.assertTrue(linked.attached)

    def test_close_is_as_long_as_its_frame_has_room(self):
        link = Joined()
        dialling = Deferred.fromCoroutine(link.dialer().dial())
        link.pump()
        lost = []
        self.successResultOf(dialling).session.on_lost.append(lost.append)
        link.sessions[0][0].close("\N{SNOWMAN}" * 100)
        link.pump()
        (reason,) = lost
        self.assertTrue(reason.check(ConnectionDone))
        self.assertIn("\N{SNOWMAN}" * 41, str(reason.value))
