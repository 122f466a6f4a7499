"""WebSockets over a visitor's HTTP/2 connection (RFC 8441), without sockets."""

import re

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from wsproto.utilities import generate_accept_token

from burrow.http.head import BadMessage
from burrow.policy.base import Answer, Policy
from burrow.policy.paths import parse_respond
from burrow.protocols.visits import Policies
from burrow.server.edge.http2 import MAX_STREAMS, STREAM_WINDOW
from burrow.server.edge.http2_request import read_request
from burrow.server.edge.pace import Rate
from burrow.server.edge.upgraded import Upgraded
from burrow.sockets import QUIET
from burrow.traffic.hub import Listener
from tests.server.edge.edges import Exchange
from tests.server.edge.http2_visitors import HOST, OK, Connection

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":path", b"/chat?x"),
    (b":authority", HOST),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"chat"),
]


def asked(one, stream=1, fields=CONNECT):
    """Ask for a WebSocket. @return: what the upstream got."""
    one.client.send_headers(stream, fields)
    one.pump()
    return one.upstream()


def switch(request, *fields):
    """The upstream's 101."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request, re.IGNORECASE)[1]
    head = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + generate_accept_token(key),
        *fields,
    ]
    return b"\r\n".join([*head, b"", b""])


@pytest.fixture
def one():
    return Connection()


@pytest.fixture
def opened(one):
    one.answer(switch(asked(one), b"Sec-WebSocket-Protocol: chat"))
    assert one.status() == 200
    return one


def test_connect_is_an_upgrade_and_its_101_a_200(one):
    request = asked(one, fields=[*CONNECT, (b"sec-websocket-key", b"forged"), (b"origin", b"https://a")])
    assert one.client.remote_settings.enable_connect_protocol == 1
    assert request.startswith(b"GET /chat?x HTTP/1.1\r\nHost: t.example.com\r\n")
    for line in (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"sec-websocket-protocol: chat",
        b"origin: https://a",
    ):
        assert b"\r\n" + line + b"\r\n" in request
    assert b"\r\nVia: 2.0 burrow\r\n" in request
    keys = re.findall(rb"(?i)sec-websocket-key: (\S+)", request)
    assert len(keys) == 1
    assert len(keys[0]) == 24
    assert b"chunked" not in request
    one.answer(switch(request, b"Sec-WebSocket-Protocol: chat", b"X-A: b"))
    headers = one.headers()
    assert one.status() == 200
    assert (headers[b"sec-websocket-protocol"], headers[b"x-a"]) == (b"chat", b"b")
    assert not {b"upgrade", b"connection", b"sec-websocket-accept"} & headers.keys()


def test_each_has_a_key_of_its_own(one):
    keys = set()
    for number in range(3):
        keys.add(re.search(rb"Sec-WebSocket-Key: (\S+)", asked(one, 1 + 2 * number))[1])
    assert len(keys) == 3


def test_bytes_both_ways(opened):
    before = len(opened.upstream())
    opened.client.send_data(1, b"\x81\x85abcdhello")
    opened.pump()
    assert opened.upstream()[before:] == b"\x81\x85abcdhello"
    opened.answer(b"\x81\x05world")
    assert opened.body() == b"\x81\x05world"
    assert not opened.of(StreamEnded)


def test_what_comes_before_the_switch_waits_for_it(one):
    request = asked(one)
    one.client.send_data(1, b"early")
    one.pump()
    assert one.upstream() == request
    one.answer(switch(request) + b"with it")
    assert one.upstream() == request + b"early"
    assert one.body() == b"with it"


def test_what_comes_before_a_refusal_is_dropped_and_makes_room(one):
    asked(one)
    one.client.send_data(1, bytes(16000))
    one.pump()
    one.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert (one.status(), one.body()) == (403, b"no")
    assert bytes(16000) not in one.upstream()
    one.edge.edge.sweep.clock.advance(3)
    one.edge.edge.sweep._check()
    one.pump()
    assert one.of(StreamReset)[0].error_code == ErrorCodes.NO_ERROR
    one.ask(3)
    one.answer(OK)
    assert one.status(3) == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_answers_that_open_none(one, answer):
    asked(one)
    one.answer(answer)
    assert one.status() == 502
    assert one.edge.streams[0].aborted
    assert one.of(StreamEnded)


def test_101_to_a_request_that_asked_for_none(one):
    one.ask()
    one.answer(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert one.status() == 502


# -- flow control -----------------------------------------------------------------------------------------


def test_visitor_that_does_not_read_holds_up_the_upstream(opened):
    opened.answer(bytes(100_000))
    assert opened.edge.streams[0].producerState == "paused"
    assert len(opened.body()) == 65535
    for stream in ((), (1,)):
        opened.client.increment_flow_control_window(1 << 20, *stream)
    opened.pump()
    assert len(opened.body()) == 100_000
    assert opened.edge.streams[0].producerState == "producing"


def test_upstream_that_does_not_read_holds_up_the_visitor(opened):
    stream = opened.edge.streams[0]
    before = len(opened.upstream())
    stream.producer.pauseProducing()
    sent = 0
    while opened.client.local_flow_control_window(1) > 0:
        size = min(16384, opened.client.local_flow_control_window(1))
        opened.client.send_data(1, bytes(size))
        sent += size
        opened.pump()
    assert sent == STREAM_WINDOW
    assert len(opened.upstream()) == before
    stream.producer.resumeProducing()
    opened.pump()
    assert len(opened.upstream()) == before + sent
    assert opened.client.local_flow_control_window(1) > 0


def test_one_that_takes_nothing_is_ended():
    edge = Exchange()
    edge.edge.rate = Rate(100, 10)
    one = Connection(edge, _4=10)
    one.answer(switch(asked(one)) + bytes(20))
    for _ in range(3):
        edge.edge.sweep.clock.advance(11)
        edge.edge.sweep._check()
    assert one.wire.aborted


def test_quiet_one_is_not_ended(opened):
    opened.edge.edge.rate = Rate(100, 10)
    for _ in range(20):
        opened.edge.edge.sweep.clock.advance(60)
        opened.edge.edge.sweep._check()
    opened.answer(b"late")
    assert opened.body() == b"late"


# -- ends -------------------------------------------------------------------------------------------------


def closed(one):
    """Which ends the upstream saw on its stream, in order."""
    told = []
    stream = one.edge.streams[0]
    stream.loseWriteConnection = lambda: told.append("half")
    lose = stream.loseConnection
    stream.loseConnection = lambda: (told.append("whole"), lose())
    return told


def test_each_half_closes_alone(opened):
    told = closed(opened)
    opened.client.end_stream(1)
    opened.pump()
    assert told == ["half"]
    opened.answer(b"bye")
    assert opened.body() == b"bye"
    opened.edge.streams[0].protocol.readConnectionLost()
    opened.pump()
    assert opened.of(StreamEnded)
    assert told == ["half", "whole"]
    assert not opened.of(StreamReset)
    assert opened.protocol._streams == {}


def test_upstream_closes_its_half_first(opened):
    before = len(opened.upstream())
    opened.edge.streams[0].protocol.readConnectionLost()
    opened.pump()
    assert opened.of(StreamEnded)
    opened.client.send_data(1, b"still", end_stream=True)
    opened.pump()
    assert opened.upstream()[before:] == b"still"
    assert opened.protocol._streams == {}


def test_upstream_that_closes_both(opened):
    opened.answer(bytes(70_000))
    opened.edge.streams[0].protocol.connectionLost(Failure(ConnectionDone()))
    opened.pump()
    assert not opened.of(StreamEnded)  # not before all is taken
    for stream in ((), (1,)):
        opened.client.increment_flow_control_window(1 << 20, *stream)
    opened.pump()
    assert len(opened.body()) == 70_000
    assert opened.of(StreamEnded)
    assert opened.protocol._streams == {}
    opened.edge.edge.sweep.clock.advance(3)
    opened.edge.edge.sweep._check()
    opened.pump()
    assert opened.of(StreamReset)[0].error_code == ErrorCodes.NO_ERROR


def test_nothing_is_written_behind_the_end(opened):
    (upgraded,) = [each for each in opened.edge.edge.visitors if isinstance(each, Upgraded)]
    socket = upgraded.transport
    socket.write(bytes(70_000))  # more than the visitor takes at once
    socket.loseConnection()
    socket.write(b"late")
    socket.writeSequence([b"la", b"ter"])
    opened.pump()
    for stream in ((), (1,)):
        opened.client.increment_flow_control_window(1 << 20, *stream)
    opened.pump()
    assert opened.body() == bytes(70_000)
    assert opened.of(StreamEnded)


def test_upstream_that_resets(opened):
    opened.answer(b"last")
    opened.edge.streams[0].protocol.connectionLost(Failure(ConnectionLost()))
    opened.pump()
    assert opened.body() == b"last"
    assert opened.of(StreamReset)[0].error_code == ErrorCodes.CANCEL


@pytest.mark.parametrize("how", ["reset", "lost", "trailers"])
def test_visitor_that_breaks_off(opened, how):
    (upgraded,) = [each for each in opened.edge.edge.visitors if isinstance(each, Upgraded)]
    if how == "reset":
        opened.client.reset_stream(1, ErrorCodes.CANCEL)
    elif how == "trailers":
        opened.client.send_headers(1, [(b"x", b"y")], end_stream=True)
    else:
        opened.protocol.connectionLost(Failure(ConnectionLost()))
    if how != "lost":
        opened.pump()
    assert opened.edge.streams[0].aborted
    assert upgraded not in opened.edge.edge.visitors
    if how == "trailers":
        assert opened.of(StreamReset)[0].error_code == ErrorCodes.PROTOCOL_ERROR


def test_reset_before_the_switch(one):
    asked(one)
    one.client.reset_stream(1, ErrorCodes.CANCEL)
    one.pump()
    assert one.edge.streams[0].aborted


def test_server_that_finishes_ends_it_once_it_is_idle(opened):
    (upgraded,) = [each for each in opened.edge.edge.visitors if isinstance(each, Upgraded)]
    clock = opened.edge.edge.sweep.clock
    assert upgraded.running
    opened.client.send_data(1, b"question")
    opened.pump()
    clock.advance(QUIET)
    assert upgraded.running
    clock.advance(QUIET)
    assert upgraded.running  # the visitor spoke last, and waits for an answer
    opened.answer(b"answer")
    assert upgraded.running
    clock.advance(QUIET - 0.1)
    assert upgraded.running
    assert opened.protocol.running
    clock.advance(0.1)
    assert not upgraded.running
    assert not opened.protocol.running
    assert list(opened.protocol.parts()) == []
    upgraded.finish()
    opened.pump()
    assert opened.of(StreamEnded)


def test_they_count_among_the_streams_of_the_connection(one):
    for number in range(MAX_STREAMS):
        asked(one, 1 + 2 * number)
    assert len(one.edge.streams) == MAX_STREAMS
    assert one.client.open_outbound_streams == MAX_STREAMS


# -- who may, and who is told -----------------------------------------------------------------------------


def test_policy_is_asked_before_the_upstream_is():
    seen = []

    class Rule:
        def visit(self, visit):
            seen.append((visit.request.method, visit.request.upgrade))
            return Answer(401, "no", "No", "no")

    edge = Exchange()
    edge.policies = Policies(Policy([Rule()]), None)
    one = Connection(edge)
    asked(one)
    assert one.status() == 401
    assert edge.streams == []
    assert seen == [(b"GET", b"websocket")]


def test_traffic_is_told_as_of_an_upgrade():
    class Told(Listener):
        def __init__(self):
            self.told = []

        def begun(self, record):
            self.told.append(("begun", record.method))

        def answered(self, record):
            self.told.append(("answered", record.status))

        def ended(self, record):
            self.told.append(("ended", record.received, record.sent))

    edge, listener = Exchange(), Told()
    edge.edge.traffic.add(listener)
    one = Connection(edge)
    one.answer(switch(asked(one)))
    one.client.send_data(1, b"hello")
    one.pump()
    one.answer(b"you")
    one.client.reset_stream(1, ErrorCodes.CANCEL)
    one.pump()
    assert listener.told == [("begun", "GET"), ("answered", 101), ("ended", 5, 3)]


# -- malformed ones ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({b":method": b"GET"}, 400),
        ({b":method": b"POST"}, 400),
        ({b":protocol": b"connect-udp"}, 501),
        ({b":protocol": b"websocket\r\nx: y"}, 501),
        ({b":protocol": b""}, 501),
        ({b":scheme": None}, 400),
        ({b":scheme": b"http"}, 400),
        ({b":scheme": b"wss"}, 400),
        ({b":path": None}, 400),
        ({b":path": b""}, 400),
        ({b":path": b"*"}, 400),
        ({b":path": b"/a b"}, 400),
        ({b":path": b"/a\r\nb"}, 400),
        ({b":authority": None}, 400),
        ({b":authority": None, b"host": HOST}, 400),
        ({b":authority": b""}, 400),
        ({b":authority": b"a\r\nb"}, 400),
        ({b"host": b"other.example.com"}, 400),
        ({b"content-length": b"0"}, 400),
        ({b"content-length": b"5"}, 400),
        ({b"connection": b"Upgrade"}, 400),
        ({b"upgrade": b"websocket"}, 400),
        ({b"transfer-encoding": b"chunked"}, 400),
        ({b"sec-websocket-key": b"a\r\nx: y"}, 400),
    ],
)
def test_connects_that_are_refused(changes, status):
    fields = [(name, changes.get(name, value)) for name, value in CONNECT]
    fields += [(name, value) for name, value in changes.items() if name not in dict(CONNECT)]
    with pytest.raises(BadMessage) as caught:
        read_request([(name, value) for name, value in fields if value is not None], False, "https", None)
    assert caught.value.status == status


def test_connect_that_closes_its_stream_at_once_is_refused():
    with pytest.raises(BadMessage, match="leaves its stream open"):
        read_request(CONNECT, True, "https", None)


def test_connect_of_a_proxy_is_refused():
    with pytest.raises(BadMessage):
        read_request([(b":method", b"CONNECT"), (b":authority", b"a:1")], False, "https", None)


def test_refusals_are_answered_and_cost(one):
    one.client.send_headers(1, [(name, b"x" if name == b":protocol" else value) for name, value in CONNECT])
    one.pump()
    assert one.status() == 501
    assert one.edge.streams == []
    assert not one.of(DataReceived, 3)
    assert one.of(ResponseReceived)


def test_a_page_of_the_owners_opens_none(one):
    one.edge.policies = Policies(Policy([parse_respond("/chat=200 hello")]), None)
    one.client.send_headers(1, CONNECT)
    one.pump()
    assert one.status() == 502
    assert one.edge.streams == []
