"""Tests of what the edge tells of a request: its record, its id, and what is counted."""

import re

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from burrow.server.edge.pages import Page
from burrow.traffic.hub import Listener
from tests.server.edge.edges import Exchange

ASK = b"GET /a?b=c HTTP/1.1\r\nHost: t.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\nhello"
ID = "0123456700000000"


class Told(Listener):
    def __init__(self):
        self.calls = []

    def begun(self, record):
        self.calls.append(("begun", record))

    def answered(self, record):
        self.calls.append(("answered", record))

    def ended(self, record):
        self.calls.append(("ended", record))


@pytest.fixture
def told():
    exchange = Exchange()
    exchange.listener = Told()
    exchange.edge.traffic.add(exchange.listener)
    return exchange


def record_of(exchange, *names):
    """The record of the only request, of which C{names} were told."""
    calls = exchange.listener.calls
    assert [name for name, _ in calls] == list(names)
    assert len({record for _, record in calls}) == 1
    return calls[0][1]


def counted(exchange):
    """The classes of status that were counted, each with its count."""
    counts = exchange.edge.counts
    assert sum(counts.by_class) == sum(counts.times)
    return {number: count for number, count in enumerate(counts.by_class) if count}


def test_request_is_told_from_beginning_to_end(told):
    told.ask(ASK)
    record = record_of(told, "begun")
    assert (record.protocol, record.method, record.target, record.host) == (
        "http",
        "GET",
        "/a?b=c",
        "t.example.com",
    )
    assert (record.visitor, record.scheme, record.request_id) == ("203.0.113.7:4711", "https", ID)
    assert record.waited is not None
    told.answer(OK[:-2])
    assert record_of(told, "begun", "answered").sent == 3
    assert not record.ended
    told.answer(OK[-2:])
    record_of(told, "begun", "answered", "ended")
    assert (record.status, record.reason, record.sent, record.error) == (200, "Fine", 5, "")
    assert record.response_headers == [(b"Content-Length", b"5")]
    assert counted(told) == {2: 1}


def test_nobody_listens_and_all_is_counted():
    exchange = Exchange()
    for status in (b"200", b"404", b"404", b"500"):
        exchange.ask(ASK)
        exchange.answer(OK.replace(b"200", status))
    assert counted(exchange) == {2: 1, 4: 2, 5: 1}
    assert exchange.visitor.protocol._exchange is None


def test_body_is_counted_without_its_framing(told):
    told.ask(
        b"POST / HTTP/1.1\r\nHost: t.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    told.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    record = record_of(told, "begun", "answered", "ended")
    assert (record.received, record.sent) == (3, 2)


def test_page_of_ours_is_told_as_the_answer(told):
    told.ask(ASK)
    failure = b"HTTP/1.1 502 Bad\r\nBurrow-Error: refused\r\nContent-Length: 9\r\n\r\nNo, never"
    told.answer(failure)
    record = record_of(told, "begun", "answered", "ended")
    assert (record.status, record.reason, record.error) == (502, "upstream-refused", "No, never")
    assert counted(told) == {5: 1}


def test_visitor_that_leaves(told):
    told.ask(ASK)
    told.visitor.protocol.connectionLost(Failure(ConnectionLost()))
    record = record_of(told, "begun", "ended")
    assert (record.status, record.error) == (None, "the visitor left")
    assert counted(told) == {0: 1}


def test_upstream_that_breaks_off(told):
    told.ask(ASK)
    told.answer(OK[:-2], end=True)
    record = record_of(told, "begun", "answered", "ended")
    assert (record.status, record.sent) == (200, 3)
    assert record.error.startswith("the upstream failed: ")
    assert counted(told) == {0: 1}


def test_body_that_is_wrong(told):
    told.ask(b"POST / HTTP/1.1\r\nHost: t.example.com\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
    record = record_of(told, "begun", "answered", "ended")
    assert (record.status, record.reason) == (400, "bad-request")
    assert counted(told) == {4: 1}


def test_websocket_is_told_to_its_end(told):
    told.ask(ASK[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    told.answer(b"HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    record = record_of(told, "begun", "answered")
    assert (record.protocol, record.status) == ("websocket", 101)
    assert counted(told) == {1: 1}
    told.answer(b"hello")
    told.ask(b"yes")
    assert (record.received, record.sent) == (3, 5)
    told.visitor.protocol.connectionLost(Failure(ConnectionLost()))
    record_of(told, "begun", "answered", "ended")
    assert record.error == "the connection was broken off"


def test_own_pages_are_no_traffic():
    exchange = Exchange(own=lambda head: Page(200, "own", "Own", "text"))
    exchange.listener = Told()
    exchange.edge.traffic.add(exchange.listener)
    exchange.ask(ASK)
    assert exchange.listener.calls == []
    assert counted(exchange) == {}
    assert b"X-Request-Id" not in exchange.visitor.value()


def ids(data):
    return re.findall(rb"(?mi)^x.request.id: ([^\r]*)\r", data)


@pytest.mark.parametrize("name", ["X-Request-Id", "x-request-id"])
def test_sane_id_is_kept(name):
    exchange = Exchange()
    assert ids(exchange.ask(ASK[:-2] + f"{name}: a-B.1/2=\r\n\r\n".encode())) == [b"a-B.1/2="]
    assert ids(exchange.answer(OK)) == [b"a-B.1/2="]


@pytest.mark.parametrize(
    "lines",
    [
        "X-Request-Id: ",
        "X-Request-Id: a b",
        "X-Request-Id: a\tb",
        "X-Request-Id: <script>",
        "X-Request-Id: " + "a" * 129,
        "X-Request-Id: a\r\nX-Request-Id: b",
        "X_Request_Id: a",
    ],
)
def test_id_that_is_not_sane_is_replaced(lines):
    exchange = Exchange()
    assert ids(exchange.ask(ASK[:-2] + lines.encode() + b"\r\n\r\n")) == [ID.encode()]
    assert ids(exchange.answer(OK)) == [ID.encode()]


def test_each_request_has_its_own_id():
    exchange = Exchange()
    for _ in range(4):
        exchange.ask(ASK)
        exchange.answer(OK)
    expected = [b"01234567%08x" % number for number in range(4)]
    assert ids(exchange.upstream) == ids(exchange.visitor.value()) == expected


def test_upstreams_own_id_is_shown_as_it_is():
    exchange = Exchange()
    for number in range(3):
        exchange.ask(ASK)
        exchange.answer(OK.replace(b"\r\n\r\n", b"\r\nx-request-id: own %d\r\n\r\n" % number))
    assert ids(exchange.visitor.value()) == [b"own 0", b"own 1", b"own 2"]


def test_page_shows_the_id():
    exchange = Exchange()
    exchange.ask(ASK)
    exchange.streams[0].protocol.connectionLost(Failure(ConnectionLost()))
    exchange.streams[-1].protocol.connectionLost(Failure(ConnectionLost()))
    assert exchange.status == 502
    assert ids(exchange.visitor.value()) == [ID.encode()]
