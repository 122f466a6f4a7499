"""Tests for L{burrow.observe}: what is told of what passes on a visitor's stream at the agent."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead
from burrow.observe.http import HttpObserver
from burrow.protocols.http import HttpProtocol
from burrow.protocols.tcp import TcpProtocol
from burrow.traffic.hub import Listener, Traffic

HEAD = VisitorHead("blog", "192.0.2.1:5000", "https")


class Told(Listener):
    """Keeps records in the order of their beginning, with the bodies and messages that were told."""

    def __init__(self, bodies=True):
        self.bodies = bodies
        self.records = []
        self.ended_records = []
        self.told = {}
        self.messages = []

    def begun(self, record):
        self.records.append(record)
        self.told[record] = [b"", b""]

    def ended(self, record):
        self.ended_records.append(record)

    def body(self, record, outbound, data):
        self.told[record][outbound] += data

    def message(self, record, outbound, message):
        self.messages.append((outbound, message.kind, message.data))


class Stream(StringTransport):
    """A visitor's stream."""

    ended = ""

    def loseWriteConnection(self):
        self.ended = "half"

    def loseConnection(self):
        self.ended = "closed"

    def abortConnection(self):
        self.ended = "reset"

    breakConnection = abortConnection


class Passing(Protocol):
    """The protocol of the tunnel's kind."""

    def connectionMade(self):
        self.data = b""
        self.lost = None

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.lost = reason


class Watched:
    """A stream that is watched."""

    def __init__(self, kind=None, bodies=True, memory=None):
        self.traffic = Traffic()
        self.listener = Told(bodies)
        self.traffic.add(self.listener)
        self.protocol, self.stream = Passing(), Stream()
        observer = (kind or HttpProtocol()).observer(None, HEAD, self.traffic, memory or Memory())
        observer.cover(self.protocol, self.stream)
        self.protocol.makeConnection(self.stream)

    def ask(self, data, sizes=()):
        for piece in pieces(data, sizes):
            self.protocol.dataReceived(piece)

    def answer(self, data, sizes=()):
        for piece in pieces(data, sizes):
            self.stream.write(piece)

    def lose(self, error):
        self.protocol.connectionLost(Failure(error))

    @property
    def record(self):
        (record,) = self.listener.records
        return record


def pieces(data, sizes):
    sizes = iter(sizes)
    while data:
        size = next(sizes, len(data))
        yield data[:size]
        data = data[size:]


def ask(target="/", *lines, method="GET", number=0):
    fields = ["Host: t.example.com", *lines, f"X-Request-Id: 01234567{number:08x}"]
    return (
        f"{method} {target} HTTP/1.1\r\n{chr(13).join('')}".encode()
        + "".join(f"{line}\r\n" for line in fields).encode()
        + b"\r\n"
    )


OK = b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\nhello"


def test_get():
    watched = Watched()
    watched.ask(ask("/a?b=c", "X-Own: 1"))
    record = watched.record
    assert (record.method, record.target, record.host) == ("GET", "/a?b=c", "t.example.com")
    assert (record.protocol, record.tunnel, record.visitor, record.scheme) == (
        "http",
        "blog",
        "192.0.2.1:5000",
        "https",
    )
    assert record.request_id == "0123456700000000"
    assert record.request_headers[-2:] == [(b"X-Own", b"1"), (b"X-Request-Id", b"0123456700000000")]
    watched.answer(OK)
    assert watched.listener.ended_records == [record]
    assert (record.status, record.reason, record.sent, record.error) == (200, "Fine", 5, "")
    assert watched.listener.told[record] == [b"", b"hello"]
    assert watched.protocol.data == ask("/a?b=c", "X-Own: 1")
    assert watched.stream.value() == OK


EXCHANGES = [
    (ask(), OK, b"", b"hello", 200),
    (ask("/x", method="HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"", b"", 200),
    (ask(), b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", b"", b"", 304),
    (ask(), b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", b"", b"", 204),
    (
        ask("/p", "Content-Length: 3", method="POST") + b"abc",
        b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\nA: b\r\n\r\n",
        b"abc",
        b"yes",
        201,
    ),
    (
        ask("/p", "Transfer-Encoding: chunked", method="PUT") + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"abc",
        b"",
        500,
    ),
]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.sampled_from(EXCHANGES), max_size=12),
    st.lists(st.sampled_from([1, 3, 20, 90, 1000]), max_size=40),
    st.booleans(),
)
def test_any_exchanges_in_any_pieces(exchanges, sizes, bodies):
    watched = Watched(bodies=bodies)
    for request, response, *_ in exchanges:
        watched.ask(request, sizes)
        watched.answer(response, sizes)
    listener = watched.listener
    assert listener.ended_records == listener.records
    assert [(record.received, record.sent, record.status) for record in listener.records] == [
        (len(asked), len(told), status) for _, _, asked, told, status in exchanges
    ]
    if bodies:
        assert [listener.told[record] for record in listener.records] == [
            [asked, told] for _, _, asked, told, _ in exchanges
        ]
    assert watched.protocol.data == b"".join(request for request, *_ in exchanges)
    assert watched.stream.value() == b"".join(response for _, response, *_ in exchanges)
    assert not any(record.error for record in listener.records)


def test_heads_that_differ_in_their_id_are_read_once():
    memory = Memory()
    watched = Watched(memory=memory)
    for number in range(5):
        watched.ask(ask("/same", number=number))
        watched.answer(OK)
    records = watched.listener.records
    assert [record.request_id for record in records] == [f"01234567{number:08x}" for number in range(5)]
    assert {record.target for record in records} == {"/same"}
    assert [record.request_headers[-1][1] for record in records] == [
        b"01234567%08x" % number for number in range(5)
    ]
    assert memory.used > 0
    watched.lose(ConnectionDone())
    assert memory.used == 0


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_any_bytes_pass_as_they_are(asked, answered, first):
    watched = Watched()
    if first:
        watched.ask(ask())
    watched.ask(asked, [5, 50])
    watched.answer(answered, [5, 50])
    watched.lose(ConnectionLost())
    begin = ask() if first else b""
    assert watched.protocol.data == begin + asked
    assert watched.stream.value() == answered
    assert watched.protocol.lost.check(ConnectionLost)
    assert len(watched.listener.ended_records) == len(watched.listener.records)


def test_body_until_the_upstream_closes():
    watched = Watched()
    watched.ask(ask())
    watched.answer(b"HTTP/1.1 200 OK\r\n\r\nhel")
    watched.answer(b"lo")
    assert not watched.record.ended
    watched.stream.loseWriteConnection()
    assert (watched.record.sent, watched.record.error, watched.stream.ended) == (5, "", "half")
    assert watched.record.ended


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("loseConnection", "the upstream closed the connection before the end of its answer"),
        ("abortConnection", "the connection to the upstream failed or was reset"),
        ("breakConnection", "the connection to the upstream failed or was reset"),
    ],
)
def test_answer_that_breaks_off(end, error):
    watched = Watched()
    watched.ask(ask())
    watched.answer(OK[:-1])
    getattr(watched.stream, end)()
    watched.lose(ConnectionDone())
    assert watched.listener.ended_records == [watched.record]
    assert watched.record.error == error


def test_visitor_that_leaves():
    watched = Watched()
    watched.ask(ask())
    watched.lose(ConnectionLost())
    assert (watched.record.status, watched.record.error) == (None, "the visitor left")


def test_agents_own_answer_that_no_upstream_is_there():
    """It is written before the request is read."""
    watched = Watched()
    watched.answer(b"HTTP/1.1 502 Bad\r\nBurrow-Error: refused\r\nContent-Length: 10\r\n\r\nIt refused")
    watched.stream.loseWriteConnection()
    assert watched.listener.records == []
    watched.ask(ask())
    assert (watched.record.status, watched.record.error) == (502, "It refused")
    assert watched.record.ended


def test_event_stream():
    watched = Watched()
    watched.ask(ask())
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    watched.answer(head + b"9\r\ndata: a\n\n\r\n7\r\ndata: b\r\n2\r\n\n\n\r\n")
    assert watched.listener.messages == [(True, "event", b"data: a"), (True, "event", b"data: b")]
    assert not watched.record.ended
    watched.lose(ConnectionLost())
    assert watched.record.ended


def test_websocket():
    watched = Watched()
    watched.ask(ask("/ws", "Connection: Upgrade", "Upgrade: websocket"))
    watched.answer(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello")
    watched.ask(b"\x81\x82\x00\x00\x00\x00hi")
    record = watched.record
    assert (record.protocol, record.status, record.received, record.sent) == ("websocket", 101, 8, 7)
    assert watched.listener.messages == [(True, "text", b"hello"), (False, "text", b"hi")]
    watched.ask(b"\xff\xff\xff\xff")  # what cannot be read is counted all the same
    watched.answer(b"\x81\x01!")
    assert watched.listener.messages[2:] == [(True, "text", b"!")]
    assert record.received == 12
    watched.lose(ConnectionDone())
    assert (record.ended, record.error) == (True, "")


def test_other_upgrade():
    watched = Watched()
    watched.ask(ask("/", "Connection: Upgrade", "Upgrade: websocket"))
    watched.answer(b"HTTP/1.1 101 Go\r\nUpgrade: own\r\nConnection: Upgrade\r\n\r\nraw")
    assert watched.record.protocol == "upgraded"
    assert watched.listener.told[watched.record] == [b"", b"raw"]
    watched.stream.abortConnection()
    assert watched.record.error == "the connection to the upstream failed or was reset"


def test_tcp():
    watched = Watched(TcpProtocol())
    watched.ask(b"question")
    watched.answer(b"answer")
    record = watched.record
    assert (record.protocol, record.method, record.status) == ("tcp", "", None)
    assert (record.received, record.sent) == (8, 6)
    assert watched.listener.told[record] == [b"question", b"answer"]
    watched.lose(ConnectionDone())
    assert (record.ended, record.error) == (True, "")


def test_tcp_upstream_that_is_not_there():
    for refused in ("", "nobody listens there"):
        watched = Watched(TcpProtocol())
        watched.protocol.refused = refused
        watched.stream.abortConnection()
        watched.lose(ConnectionLost())
        assert watched.record.error == (refused or "the connection to the upstream failed or was reset")
        assert len(watched.listener.ended_records) == 1


def test_more_requests_than_answers_are_not_kept():
    watched = Watched()
    for number in range(40):
        watched.ask(ask(number=number))
    assert len(watched.listener.records) == 16
    assert {record.error for record in watched.listener.records} == {"the agent cannot read the rest of it"}
    assert len(watched.protocol.data) == 40 * len(ask())


def test_answer_to_nothing_is_bounded():
    watched = Watched()
    for _ in range(10):
        watched.answer(b"x" * 2000)
    assert len(watched.stream.value()) == 20_000
    watched.ask(ask())
    assert watched.listener.records == []


def test_kinds_choose_their_observer():
    traffic = Traffic()
    assert isinstance(HttpProtocol().observer(None, HEAD, traffic, Memory()), HttpObserver)
