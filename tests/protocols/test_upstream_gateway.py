"""Tests for L{burrow.protocols.upstream_gateway}: its two ends, without sockets."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from burrow.mux.pipe import PipeEnd
from burrow.protocols.upstream import NotHttp2, UpstreamFailed
from burrow.protocols.upstream_gateway import MAX_CONTROL, Gateway
from burrow.protocols.upstream_http2 import MAX_INTERIM, WINDOW
from tests.server.edge.edges import Wire

GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"


class Between:
    """A gateway between a stream and an upstream, each a L{Wire}."""

    def __init__(self, settings=True):
        self.upstream, self.stream = Wire(None), Wire(None)
        end = self.upstream.protocol = PipeEnd()
        end.makeConnection(self.upstream)
        self.dialled = []
        self.gateway = Gateway(end, "http", self.again)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.events = []
        if settings:
            self.server.initiate_connection()
            self.pump()
            near = self.stream.protocol = PipeEnd()
            near.makeConnection(self.stream)
            near.join(self.gateway.front)

    def again(self, gateway):
        """Another connection is wanted."""
        self.dialled.append(Deferred())
        return self.dialled[-1]

    def go_away(self, last):
        """The upstream goes away, having read this stream."""
        self.upstream.protocol.dataReceived(b"\0\0\x08\7" + bytes(5) + last.to_bytes(4, "big") + bytes(4))

    def connect_again(self):
        """It is there again."""
        self.upstream = Wire(None)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.server.initiate_connection()
        end = self.upstream.protocol = PipeEnd()
        end.makeConnection(self.upstream)
        self.gateway.use(end)
        self.pump()
        self.dialled[-1].callback(None)

    def pump(self):
        while True:
            ahead, back = self.upstream.value(), self.server.data_to_send()
            self.upstream.clear()
            if not ahead and not back:
                return
            self.events += self.server.receive_data(ahead)
            if back:
                self.upstream.protocol.dataReceived(back)

    def ask(self, data):
        self.stream.protocol.dataReceived(data)
        self.pump()

    def answer(self, data, *, end):
        self.server.send_headers(1, [(b":status", b"200")])
        self.server.send_data(1, data, end_stream=end)
        self.pump()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def between():
    return Between()


def test_request_and_answer(between):
    assert between.gateway.settled.called
    between.ask(GET)
    assert between.of(RequestReceived)
    between.answer(b"hello", end=True)
    assert between.stream.value().endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert not between.stream.disconnecting


def test_stream_that_takes_no_more_holds_up_the_upstream(between):
    between.ask(GET)
    between.stream.producer.pauseProducing()
    between.server.send_headers(1, [(b":status", b"200")])
    while (size := min(16384, between.server.local_flow_control_window(1))) > 0:
        between.server.send_data(1, bytes(size))
        between.pump()
    assert len(between.stream.value()) < 200
    between.stream.producer.resumeProducing()
    between.pump()
    assert len(between.stream.value()) > WINDOW
    assert between.server.local_flow_control_window(1) > 0


def hint(between, times=1):
    for _ in range(times):
        between.server.send_headers(1, [(b":status", b"103"), (b"link", b"x" * 1000)])
    between.pump()


def test_upstream_is_not_read_while_interim_answers_wait_for_the_stream(between):
    between.ask(GET)
    hint(between)
    between.stream.producer.pauseProducing()
    assert between.upstream.producerState == "producing"
    hint(between)
    assert between.upstream.producerState == "paused"
    between.stream.producer.resumeProducing()
    assert between.upstream.producerState == "producing"
    between.answer(b"hello", end=True)
    assert between.stream.value().count(b" 103 ") == 2
    assert between.stream.value().endswith(b"5\r\nhello\r\n0\r\n\r\n")


def test_upstream_is_read_for_windows_while_the_stream_is_full(between):
    between.ask(POST)
    between.stream.producer.pauseProducing()
    between.answer(b"hello", end=False)
    between.ask(b"5\r\nhello\r\n")
    assert between.upstream.producerState == "producing"


def test_upstream_with_too_many_interim_answers_is_left(between):
    between.ask(GET)
    between.stream.producer.pauseProducing()
    hint(between)
    hint(between, MAX_INTERIM // 1000)
    assert between.upstream.disconnecting
    assert between.upstream.producerState == "producing"  # TLS waits for the other's end
    assert len(between.stream.value()) < MAX_INTERIM + 500


def test_upstream_that_takes_no_more_holds_up_the_stream(between):
    between.ask(POST)
    between.upstream.producer.pauseProducing()
    between.ask(b"5\r\nhello\r\n")
    assert between.stream.producerState == "paused"
    between.upstream.producer.resumeProducing()
    assert between.stream.producerState == "producing"


def test_upstream_that_asks_for_answers_and_takes_none_is_left(between):
    between.upstream.producer.pauseProducing()
    ping = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
    for _ in range(MAX_CONTROL // len(ping) + 2):
        between.upstream.protocol.dataReceived(ping)
    assert between.upstream.disconnecting
    assert between.stream.aborted


@pytest.mark.parametrize("reason", [ConnectionDone(), ConnectionLost()])
def test_visitor_that_leaves_cancels(between, reason):
    between.ask(GET)
    between.stream.protocol.connectionLost(Failure(reason))
    between.pump()
    assert between.of(StreamReset)
    assert between.upstream.disconnecting


def test_upstream_that_leaves_between_requests(between):
    between.upstream.protocol.connectionLost(Failure(ConnectionDone()))
    assert between.stream.disconnecting


def test_upstream_that_leaves_while_the_end_of_its_answer_is_not_taken(between):
    between.ask(GET)
    between.answer(b"begun ", end=False)
    between.stream.producer.pauseProducing()
    between.server.send_data(1, b"ended", end_stream=True)
    between.pump()
    between.upstream.protocol.connectionLost(Failure(ConnectionDone()))
    assert (between.stream.disconnecting, between.dialled) == (False, [])
    between.stream.producer.resumeProducing()
    assert between.stream.value().endswith(b"5\r\nended\r\n0\r\n\r\n")
    between.ask(GET)
    assert len(between.dialled) == 1
    between.connect_again()
    between.answer(b"two", end=True)
    assert between.stream.value().endswith(b"3\r\ntwo\r\n0\r\n\r\n")


def test_upstream_that_leaves_in_an_answer(between):
    between.ask(GET)
    between.answer(b"half", end=False)
    between.upstream.protocol.readConnectionLost()
    assert between.stream.aborted


def test_stream_whose_half_is_closed(between):
    between.ask(GET)
    between.stream.protocol.readConnectionLost()
    between.answer(b"hello", end=True)
    assert between.stream.value().endswith(b"0\r\n\r\n")
    assert between.stream.disconnecting
    assert between.upstream.disconnecting


@pytest.mark.parametrize("how", ["http/1.1", "closed", "half closed", "reset"])
def test_upstream_that_speaks_no_http2(how):
    between = Between(settings=False)
    failures = []
    between.gateway.settled.addErrback(failures.append)
    if how == "http/1.1":
        between.upstream.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    elif how == "half closed":
        between.upstream.protocol.readConnectionLost()
    else:
        reason = ConnectionDone() if how == "closed" else ConnectionLost()
        between.upstream.protocol.connectionLost(Failure(reason))
    assert [failure.check(NotHttp2) for failure in failures] == [NotHttp2]


def test_gateway_that_is_given_up(between):
    between.gateway.abort()
    assert between.upstream.disconnecting
    between.gateway.abort()


BODY = b"5\r\nhello\r\n"


def test_call_that_crosses_a_goaway_goes_to_another_connection(between):
    between.ask(POST + BODY)
    before = between.upstream
    between.go_away(last=0)
    assert (before.disconnecting, len(between.dialled)) == (True, 1)
    assert between.stream.producerState == "paused"
    between.connect_again()
    assert between.gateway.settled.called
    assert between.stream.producerState == "producing"
    between.ask(BODY + b"0\r\n\r\n")
    assert [event.data for event in between.of(DataReceived)] == [b"hello"] * 3
    between.answer(b"once", end=True)
    assert between.stream.value().endswith(b"\r\n\r\n4\r\nonce\r\n0\r\n\r\n")
    before.protocol.connectionLost(Failure(ConnectionDone()))
    assert not between.stream.disconnecting


def test_upstream_that_went_away_between_requests_is_connected_to_with_the_next(between):
    between.ask(GET)
    between.answer(b"one", end=True)
    between.go_away(last=1)
    assert between.upstream.disconnecting
    assert (between.dialled, between.stream.producerState, between.stream.disconnecting) == (
        [],
        "producing",
        False,
    )
    between.ask(GET)
    assert len(between.dialled) == 1
    between.connect_again()
    between.answer(b"two", end=True)
    assert between.stream.value().endswith(b"3\r\ntwo\r\n0\r\n\r\n")


def test_upstream_that_is_not_there_again(between):
    between.ask(POST)
    between.go_away(last=0)
    between.gateway.failed(UpstreamFailed("refused", "not there"))
    between.dialled[-1].callback(None)
    assert between.stream.value().startswith(b"HTTP/1.1 502 Bad Gateway\r\nBurrow-Error: refused\r\n")
    assert between.stream.disconnecting


def test_upstream_that_speaks_no_http2_again(between):
    between.ask(GET)
    between.go_away(last=0)
    between.upstream = Wire(None)
    end = between.upstream.protocol = PipeEnd()
    end.makeConnection(between.upstream)
    between.gateway.use(end)
    failures = []
    between.gateway.settled.addErrback(failures.append)
    end.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert [failure.check(NotHttp2) for failure in failures] == [NotHttp2]
    between.gateway.failed(UpstreamFailed("failed", "speaks HTTP/1.1"))
    assert between.upstream.disconnecting
    assert between.stream.value().endswith(b"speaks HTTP/1.1")


def test_visitor_that_leaves_ends_the_dialling(between):
    between.ask(GET)
    between.go_away(last=0)
    between.stream.protocol.connectionLost(Failure(ConnectionLost()))
    assert between.dialled[-1].called


def test_dialling_that_fails_by_a_fault_of_ours_resets_the_request(between):
    between.ask(GET)
    between.go_away(last=0)
    between.dialled[-1].errback(ZeroDivisionError())
    assert between.stream.aborted
