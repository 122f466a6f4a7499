"""Tests for L{burrow.link.dial}: the agent's handshake, and what it makes of the answer."""

import gc
from base64 import b64encode
from hashlib import sha1
from types import SimpleNamespace

import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import Refused, ServerUnreachable
from burrow.link import dial
from burrow.link.accept import AcceptFactory, HandshakeRefused
from burrow.link.dial import DialFactory, _local_address
from burrow.testing import Recorder, Recorders
from tests.link.joined import Joined, client

ACCEPTED = (
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n"
)


@pytest.mark.parametrize("factory", [AcceptFactory, DialFactory])
def test_factories_log_nothing_of_their_own(factory):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        made = Joined().server if factory is AcceptFactory else client()[1]
        made.doStart()
        made.doStop()
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert events == []


class Dialling(SynchronousTestCase):
    """Agents that dial a server in memory."""

    def setUp(self):
        self.link = Joined(node="here", grace=10.0)

    def begin(self, dialer=None, previous=None):
        self.dialer = dialer or self.link.dialer()
        return Deferred.fromCoroutine(self.dialer.dial(previous))

    def dial(self, dialer=None, previous=None):
        dialling = self.begin(dialer, previous)
        self.link.pump()
        return self.successResultOf(dialling)

    def cut(self):
        self.link.connections[-1].cut()

    def head(self):
        """The fields of the newest handshake."""
        first, *lines = self.link.connections[-1].first.decode().rstrip().split("\r\n")
        self.assertEqual(first, "GET /_burrow/agent HTTP/1.1")
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def test_first_handshake(self):
        self.dial()
        head = self.head()
        self.assertEqual(head["host"], "127.0.0.1:80")
        self.assertEqual((head["authorization"], head["burrow-agent"]), ("Bearer right", "agent-1234"))
        self.assertEqual(head["sec-websocket-protocol"], "burrow.resume.v1,burrow.yamux.v1")
        self.assertFalse({"burrow-session", "burrow-received", "burrow-inspector"} & head.keys())
        self.assertEqual(self.link.sessions[0][3].inspector, 0)

    def test_host_is_written_as_in_urls(self):
        self.dial(self.link.dialer("::1"))
        self.assertEqual(self.head()["host"], "[::1]:80")

    def test_inspector_is_told(self):
        dialer = self.link.dialer()
        dialer.inspector = 4041
        self.dial(dialer)
        self.assertEqual(self.head()["burrow-inspector"], "4041")

    def test_session_is_resumed_after_what_was_acknowledged(self):
        """Neither side has those bytes any more: both have to say how many came."""
        received = Recorders()
        linked = self.dial()
        self.link.sessions[0][0].listen(received)
        stream = linked.session.open_stream(Recorder())
        stream.write(b"one ")
        self.link.pass_time(10)  # both have acknowledged by now
        self.assertGreater(linked.lifeline._replay._acknowledged, 20)
        self.assertGreater(self.link.sessions[0][1]._replay._acknowledged, 20)
        trouble = linked.trouble()
        self.cut()
        self.successResultOf(trouble)
        self.assertFalse(linked.attached)
        stream.write(b"two")
        self.assertIs(self.dial(previous=linked), linked)
        head = self.head()
        self.assertEqual(head["burrow-session"], linked.session_id)
        self.assertGreater(int(head["burrow-received"]), 0)
        self.assertEqual(received.built[0].received, b"one two")
        self.assertEqual(len(self.link.sessions), 1)

    def test_session_that_is_lost_is_not_asked_for(self):
        linked = self.dial()
        linked.session.abort()
        self.link.pump()
        self.assertIsNot(self.dial(previous=linked), linked)
        self.assertNotIn("burrow-session", self.head())

    def test_session_that_the_server_has_not_any_more(self):
        linked = self.dial()
        self.cut()
        self.link.pass_time(11)
        other = self.dial(previous=linked)
        self.assertIsNot(other, linked)
        self.assertNotEqual(other.session_id, linked.session_id)
        self.assertEqual(self.head()["burrow-session"], linked.session_id)
        self.assertTrue(other.attached)

    def test_session_of_a_server_without_resuming(self):
        dialer = self.link.dialer()
        self.patch(dial, "RESUME", "something.else")
        linked = self.dial(dialer)
        self.assertEqual((linked.lifeline, linked.resumable), (None, None))
        self.assertIsNone(self.link.sessions[0][1])
        pinged = linked.session.ping()
        self.link.pump()
        self.successResultOf(pinged)
        trouble = linked.trouble()
        self.cut()
        self.successResultOf(trouble)
        self.assertTrue(linked.session.lost)
        self.assertIsNot(self.dial(previous=linked), linked)
        self.assertNotIn("burrow-session", self.head())

    def test_connection_that_ends_leaves_no_timer(self):
        linked = self.dial()
        self.cut()
        linked.session.abort()
        self.link.pass_time(11)
        self.assertEqual(self.link.clock.getDelayedCalls(), [])

    def test_server_that_leaves_the_connection_open_after_a_close(self):
        """It has a second, on the agent's own reactor."""
        before = reactor.getDelayedCalls()
        linked = self.dial()
        agent, server = self.link.connections[0].ends
        server.dropConnection = lambda abort: None
        linked.session.close("enough")
        self.link.pump()
        self.link.pass_time(0.75)
        self.assertEqual(agent.transport.ended, "")
        self.link.pass_time(0.25)
        self.assertTrue(agent.transport.ended)
        self.assertEqual(reactor.getDelayedCalls(), before)

    def test_connection_that_goes_on_is_pinged_by_the_server_alone(self):
        """A dial's own timers are over, and an idle agent answers."""
        linked = self.dial()
        self.link.pass_time(30)
        self.assertTrue(linked.attached)
        self.assertLess(self.link.sessions[0][0].clock.seconds() - linked.session.last_received, 4)
        self.assertTrue(self.link.connections[0].ends)

    def test_server_that_never_answers(self):
        dialling = self.begin()
        self.link.server.authenticate = lambda handshake: Deferred()
        self.link.pass_time(9.5)
        self.assertNoResult(dialling)
        self.link.pass_time(1)
        error = self.failureResultOf(dialling, ServerUnreachable).value
        self.assertIn("http://127.0.0.1:80 did not answer in time", str(error))

    def test_dial_ends_whatever_fails_in_it(self):
        self.patch(dial, "Heartbeat", lambda *arguments, **options: 1 / 0)
        dialling = self.begin()
        self.link.pass_time(10.5)
        self.assertNoResult(dialling)
        self.link.pass_time(0.75)
        self.failureResultOf(dialling, ServerUnreachable)
        self.link.connections.clear()
        gc.collect()
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_dial_that_is_cancelled_ends_its_connection(self):
        self.link.server.authenticate = lambda handshake: Deferred()
        dialling = self.begin()
        self.link.pump()
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)
        self.link.pump()
        self.assertEqual(self.link.connections[0].ends, ())
        self.assertEqual(self.link.clock.getDelayedCalls(), [])

    def test_connection_that_cannot_be_made(self):
        async def refuse(factory):
            raise ConnectError(111, "refused")

        dialer = self.link.dialer()
        dialer._endpoint = SimpleNamespace(connect=refuse)
        error = self.failureResultOf(self.begin(dialer), ServerUnreachable).value
        self.assertIn("cannot reach http://127.0.0.1:80", str(error))

    def test_refusal_of_the_server(self):
        self.link.refusal = HandshakeRefused(403, "no tunnels for you")
        dialling = self.begin()
        self.link.pump()
        error = self.failureResultOf(dialling, Refused).value
        self.assertIn("no tunnels for you", str(error))

    def test_server_that_claims_to_have_more_than_was_sent(self):
        linked = self.dial()
        self.cut()
        self.link.sessions[0][1]._replay.received = 1 << 40
        dialling = self.begin(previous=linked)
        self.link.pump()
        error = self.failureResultOf(dialling, ServerUnreachable).value
        self.assertIn("cannot be resumed", str(error))
        self.assertEqual(self.link.connections[-1].ends, ())
        self.assertTrue(linked.session.lost)

    def test_other_network_is_trouble_once(self):
        addresses = ["192.0.2.1"]
        self.patch(dial, "_local_address", lambda peer: addresses[-1])
        linked = self.dial()
        trouble = linked.trouble()
        self.link.pass_time(3)
        self.assertNoResult(trouble)
        addresses.append("192.0.2.2")
        self.link.pass_time(2)
        self.successResultOf(trouble)
        trouble = linked.trouble()
        self.link.pass_time(3)
        self.assertNoResult(trouble)
        addresses.append(None)
        self.link.pass_time(2)
        self.successResultOf(trouble)


def accept(key):
    """RFC 6455 section 4.2.2."""
    return b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def refused(*pieces):
    """What the person is told once an answer in pieces has come; None if more is waited for."""
    agent, _, _ = client()
    for piece in pieces:
        assert not agent.transport.ended
        agent.dataReceived(piece)
    assert (agent.transport.ended == "aborted") is (agent.refusal is not None)
    return None if agent.refusal is None else str(agent.refusal)


def test_refusal_is_read_to_its_end():
    body = b'{"error": "no tunnels"}'
    head = b"HTTP/1.1 403 No\r\nX: 1\r\nContent-Length:  %d \r\n\r\n" % len(body)
    answer = head + body
    pieces = [answer[at : at + 1] for at in range(len(answer))]
    assert refused(*pieces[:-1]) is None
    assert "refused this agent: no tunnels" in refused(*pieces)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 404\r\nContent-Length: many\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 101x\r\n\r\n", "HTTP status missing"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP status missing"),
        (b"\r\n\r\n", "HTTP status missing"),
        (b"HTTP/1.1 308 There\r\nLOCATION: https://there.example/x\r\n\r\n", "use https://there.example"),
    ],
)
def test_other_answers(answer, says):
    assert says in refused(answer)


def test_answers_that_do_not_end_are_bounded():
    """At 16 KiB each of the head and the body."""
    assert refused(b"x" * 16_383) is None
    assert "HTTP status missing" in refused(b"x" * 16_383, b"x")
    head = b"HTTP/1.1 503 No\r\nContent-Length: 1000000\r\n\r\n"
    assert refused(head, b"x" * 16_383) is None
    assert "HTTP status 503" in refused(head, b"x" * 16_383, b"x")


def accepted(fields, previous=None, protocol=b"burrow.resume.v1"):
    """The link that an agent has after an answer with more fields."""
    agent, factory, _ = client(previous=previous)
    key = agent.transport.value().partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    found = []
    factory.waiting.addCallback(found.append)
    agent.dataReceived(ACCEPTED % (accept(key), protocol) + fields + b"\r\n")
    return found[0]


def test_what_the_server_says_of_itself_is_cut_off():
    linked = accepted(b"Burrow-Version: %b\r\nBurrow-Token: %b\r\n" % (b"v" * 65, b"t" * 65))
    assert (linked.server_version, linked.token_name) == ("v" * 64, "t" * 64)
    linked = accepted(b"Burrow-Session: here.x\r\n")
    assert (linked.server_version, linked.token_name, linked.session_id) == ("", "", "here.x")


def test_session_is_not_resumed_without_the_protocol_for_it():
    before = accepted(b"Burrow-Session: here.x\r\n")
    fields = b"Burrow-Session: here.x\r\nBurrow-Received: 0\r\n"
    other = accepted(fields, before, b"burrow.yamux.v1")
    assert (other is before, other.lifeline) == (False, None)
    assert accepted(b"Burrow-Session: here.y\r\n", before) is not before
    assert accepted(b"Burrow-Session: here.x\r\n", before) is before  # no count is none


def test_local_address_is_that_of_the_way_to_the_server():
    assert _local_address(IPv4Address("TCP", "127.0.0.1", 1)) == "127.0.0.1"
    assert _local_address(IPv4Address("TCP", "127.1.2.3", 1)) == "127.0.0.1"
    assert _local_address(SimpleNamespace(host="::ffff:127.0.0.1")) in ("::ffff:127.0.0.1", None)
    assert _local_address(SimpleNamespace(host="no address")) is None
    assert _local_address(object()) is None
