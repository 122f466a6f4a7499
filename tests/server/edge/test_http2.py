"""A visitor's HTTP/2 connection and a tunnel, without sockets; the visitor is h2's own client."""

import gzip
import re
from types import SimpleNamespace

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hyperframe.frame import (
    AltSvcFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from burrow.http.head import BadMessage
from burrow.http.http2_server.frames import HEADERS, SETTINGS, frame
from burrow.http.remembered import Memory, Remembered
from burrow.http.request_head import MAX_HEADERS
from burrow.policy.base import Answer, Policy
from burrow.protocols.visits import Policies
from burrow.server.edge import pages
from burrow.server.edge.calm import BURST, Calm
from burrow.server.edge.http2 import ENDED_WITHIN, MAX_FIELDS, MAX_STREAMS, STREAM_WINDOW, Http2Factory
from burrow.server.edge.http2_lanes import MAX_KEPT
from burrow.server.edge.http2_request import read_request, read_trailers
from burrow.server.edge.pace import Rate
from burrow.server.edge.tls import Shown
from burrow.server.finishing import Finishing
from burrow.sockets import QUIET
from tests.server.edge.edges import Exchange, Peer, Wire
from tests.server.edge.http2_visitors import HOST, OK, Connection
from tests.server.edge.test_policed import tunnel

GOAWAYS = re.compile(rb"\x00\x00\x08\x07\x00{5}.{8}", re.DOTALL)
GOAWAY = b"\0\0\x08\7\0\0\0\0\0" + bytes(8)

# -- requests and answers ---------------------------------------------------------------------------------


def test_request_and_answer():
    one = Connection()
    asked = one.ask(1, b"GET", b"/a?b", (b"user-agent", b"x"), (b"cookie", b"a=b"), (b"cookie", b"c=d"))
    assert asked.startswith(b"GET /a?b HTTP/1.1\r\nHost: t.example.com\r\n")
    assert b"\r\ncookie: a=b; c=d\r\n" in asked
    assert b"\r\nVia: 2.0 burrow\r\n" in asked
    assert b"\r\nX-Forwarded-Proto: https\r\n" in asked
    one.answer(
        b"HTTP/1.1 200 OK\r\nX-A: b\r\nConnection: close, x-b\r\nX-B: c\r\nContent-Length: 2\r\n\r\nok"
    )
    assert one.status() == 200
    assert one.headers()[b"x-a"] == b"b"
    assert one.headers()[b"content-length"] == b"2"
    assert len(one.headers()[b"x-request-id"]) == 16
    assert not {b"connection", b"x-b", b"transfer-encoding"} & one.headers().keys()
    assert one.body() == b"ok"
    assert one.of(StreamEnded)


@pytest.mark.parametrize("length", [True, False])
def test_body_and_trailers_both_ways(length):
    one = Connection()
    fields = [(b"content-length", b"5")] if length else []
    one.ask(1, b"POST", b"/", *fields, body=b"hello", end=False)
    one.client.send_headers(1, [(b"x-sum", b"1"), (b"content-length", b"9")], end_stream=True)
    one.pump()
    if length:
        assert b"\r\ncontent-length: 5\r\n" in one.upstream()
        assert one.upstream().endswith(b"\r\n\r\nhello")
    else:
        assert one.upstream().endswith(b"\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
    one.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: u\r\n\r\n")
    assert one.body() == b"ok"
    assert b"content-length" not in one.headers()
    (trailers,) = one.of(TrailersReceived)
    assert trailers.headers == [(b"x-t", b"u")]


@pytest.mark.parametrize("trailers", [False, True])
def test_body_that_is_shorter_than_its_length_is_never_passed_on_as_whole(trailers):
    """Else the next request on the tunnel's stream is read as the rest of it."""
    one = Connection()
    one.ask(1, b"POST", b"/", (b"content-length", b"100"), body=b"x" if trailers else None)
    if trailers:
        one.client.send_headers(1, [(b"x-sum", b"1")], end_stream=True)
        one.pump()
        assert one.of(StreamReset)[0].error_code == ErrorCodes.PROTOCOL_ERROR
        assert one.edge.streams[0].aborted
    else:
        assert one.status() == 400
        assert one.edge.streams == []
    one.ask(3, b"GET", b"/next")
    assert one.upstream().startswith(b"GET /next ")


def test_answers_without_a_body():
    one = Connection()
    one.ask(1, b"HEAD")
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    assert (one.status(), one.headers()[b"content-length"], one.body()) == (200, b"10", b"")
    one.ask(3)
    one.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (one.status(3), one.body(3)) == (204, b"")
    assert one.of(StreamEnded, 1)
    assert one.of(StreamEnded, 3)


def test_interim_answers():
    one = Connection()
    one.ask()
    one.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    (hint,) = one.of(InformationalResponseReceived)
    assert (b"link", b"</a>") in hint.headers
    one.answer(OK)
    assert one.status() == 200


def test_interim_answers_wait_for_a_visitor_that_does_not_read():
    edge = Exchange()
    edge.edge.rate = Rate(100, 10)
    one = Connection(edge)
    one.ask(1)
    one.ask(3)
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    one.answer(hint * 2, 0)
    assert edge.streams[0].producerState == "producing"
    one.protocol.pauseProducing()
    one.answer(hint * 2, 0)
    assert [stream.producerState for stream in edge.streams] == ["paused", "producing"]
    one.protocol.resumeProducing()
    one.pump()
    assert edge.streams[0].producerState == "producing"
    assert len(one.of(InformationalResponseReceived)) == 4
    one.protocol.pauseProducing()
    one.answer(hint + OK, 0)
    one.protocol.resumeProducing()
    one.pump()
    assert (one.status(), one.body()) == (200, b"ok")
    assert not one.protocol._waiting
    assert edge.streams[0].producerState == "producing"


def test_streams_to_the_tunnel_are_kept_and_shared_out():
    one = Connection()
    one.ask(1)
    one.ask(3)
    assert len(one.edge.streams) == 2
    one.answer(OK.replace(b"ok", b"#3"), 1)
    one.answer(OK.replace(b"ok", b"#1"), 0)
    assert (one.body(1), one.body(3)) == (b"#1", b"#3")
    one.ask(5)
    one.ask(7)
    assert len(one.edge.streams) == 2
    one.ask(9)
    assert len(one.edge.streams) == 3


def test_a_hundred_at_once_and_no_more():
    one = Connection()
    for number in range(MAX_STREAMS):
        one.ask(1 + 2 * number)
    assert len(one.edge.streams) == MAX_STREAMS
    for number in range(MAX_STREAMS):
        one.answer(OK, number)
    assert one.status(199) == 200
    assert one.client.remote_settings.max_concurrent_streams == MAX_STREAMS


class Counts:
    """What counts a connection. @param most: requests that its address may have beyond."""

    def __init__(self, most):
        self.most, self.count = most, 0

    def more(self):
        if self.count == self.most:
            return False
        self.count += 1
        return True

    def less(self):
        self.count -= 1


def test_requests_beyond_the_first_count_for_their_address():
    one = Connection()
    one.protocol._counted = counts = Counts(1)
    one.ask(1)
    assert counts.count == 0
    one.ask(3)
    assert counts.count == 1
    one.ask(5)
    one.ask(7, b"GET", b"/a b")  # which would be answered with a page
    for stream in (5, 7):
        assert one.of(StreamReset, stream)[0].error_code == ErrorCodes.REFUSED_STREAM
    assert len(one.edge.streams) == 2
    one.answer(OK, 0)
    assert (one.status(1), counts.count) == (200, 0)
    one.ask(9, b"GET", b"/a b")
    assert (one.status(9), counts.count) == (400, 0)
    one.answer(OK, 1)
    one.ask(11)
    assert counts.count == 0
    one.answer(OK)
    assert (one.status(3), one.status(11), counts.count) == (200, 200, 0)


def test_connection_that_is_lost_gives_back_what_it_counted():
    one = Connection()
    one.protocol._counted = counts = Counts(9)
    for stream in (1, 3, 5):
        one.ask(stream)
    assert counts.count == 2
    one.protocol.connectionLost(Failure(ConnectionLost()))
    assert counts.count == 0


def test_pages_of_ours():
    one = Connection()
    one.edge.edge.find = None
    one.edge.edge.own = lambda head: pages.Page(404, "own", "Own", "text")
    one = Connection(one.edge)
    one.ask(1, b"GET", b"/", (b"accept", b"text/html"))
    assert one.status() == 404
    assert b"text" in one.body()
    assert one.headers()[b"content-type"].startswith(b"text/html")


def test_what_the_server_itself_serves_is_for_a_connection_of_its_own():
    edge = Exchange(own=lambda head: Factory())
    one = Connection(edge)
    one.ask()
    assert one.status() == 421


def test_connection_for_another_name():
    one = Connection()
    one.wire.shown = Shown("u.example.com", None, frozenset(["u.example.com"]))
    other = Connection.__new__(Connection)
    other.__dict__.update(one.__dict__)
    other.wire = Wire(Peer())
    other.wire.shown = one.wire.shown
    other.protocol = other.wire.protocol = Http2Factory(one.edge.edge, "https").buildProtocol(None)
    other.protocol.makeConnection(other.wire)
    other.client = H2Connection(H2Configuration(header_encoding=None))
    other.client.initiate_connection()
    other.ask()
    assert other.status() == 421
    assert one.edge.streams == []


def test_policy_is_asked():
    class Rule:
        def visit(self, visit):
            return Answer(403, "no", "No", "no")

    edge = Exchange()
    edge.policies = Policies(Policy([Rule()]), None)
    one = Connection(edge)
    one.ask(1, b"POST", b"/", body=b"hello")
    assert one.status() == 403
    assert edge.streams == []


@pytest.mark.parametrize("status", [200, 204, 302, 403])
def test_what_a_rule_answers_itself_is_answered(status):
    """As the page behind signing out, or a preflight of CORS."""

    class Rule:
        def visit(self, visit):
            return Answer(status, "said", "Said", "text")

    edge = Exchange()
    edge.policies = Policies(Policy([Rule()]), None)
    one = Connection(edge)
    one.ask(1, b"OPTIONS")
    assert one.status() == status
    assert edge.streams == []


# -- flow control -----------------------------------------------------------------------------------------


def test_what_a_visitor_does_not_take_holds_up_that_answer_alone():
    one = Connection()
    one.ask(1)
    one.ask(3)
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000), 0)
    assert one.edge.streams[0].producerState == "paused"
    assert len(one.body(1)) == 65535  # the whole connection's window, as it begins
    one.client.increment_flow_control_window(1 << 20)
    one.pump()
    assert len(one.body(1)) == 65535  # and this stream's
    one.answer(OK, 1)
    assert one.body(3) == b"ok"
    one.client.increment_flow_control_window(1 << 20, 1)
    one.pump()
    assert len(one.body(1)) == 100_000
    assert one.edge.streams[0].producerState == "producing"
    one.answer(bytes(100_000), 0)
    assert len(one.body(1)) == 200_000
    assert one.of(StreamEnded, 1)


def test_window_that_is_opened_by_settings():
    one = Connection(_4=10)
    one.ask(1)
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + bytes(20))
    assert len(one.body(1)) == 10
    one.client.update_settings({4: 100})
    one.pump()
    assert len(one.body(1)) == 20


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [
        ([OK], ["HEADERS", "DATA 2 END_STREAM"]),
        ([OK[:-1], OK[-1:]], ["HEADERS", "DATA 1", "DATA 1 END_STREAM"]),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], ["HEADERS END_STREAM"]),
        ([CHUNKED + b"2\r\nok\r\n0\r\n\r\n"], ["HEADERS", "DATA 2 END_STREAM"]),
        ([CHUNKED + b"2\r\nok\r\n", b"0\r\n\r\n"], ["HEADERS", "DATA 2", "DATA 0 END_STREAM"]),
        ([CHUNKED + b"2\r\nok\r\n0\r\nX-T: u\r\n\r\n"], ["HEADERS", "DATA 2", "HEADERS END_STREAM"]),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000)],
            ["HEADERS", "DATA 16384", "DATA 3616 END_STREAM"],
        ),
    ],
)
def test_end_goes_with_the_last_bytes_where_it_is_known(pieces, sent):
    one = Connection()
    one.ask()
    frames = []
    for piece in pieces:
        one.edge.streams[0].protocol.dataReceived(piece)
        data = one.wire.value()
        while data:
            frame, length = Frame.parse_frame_header(memoryview(data[:9]))
            said = type(frame).__name__.removesuffix("Frame").upper()
            said += f" {length}" if said == "DATA" else ""
            frames.append(f"{said} END_STREAM" if "END_STREAM" in frame.flags else said)
            data = data[9 + length :]
        one.pump()
    assert frames == sent
    assert one.of(StreamEnded)


def test_end_goes_with_the_last_bytes_of_a_compressed_answer():
    one = Connection(tunnel(options={"compress": True}))
    one.ask(1, b"GET", b"/", (b"accept-encoding", b"gzip"))
    body = b"all of it " * 1000
    one.answer(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert gzip.decompress(one.body()) == body
    assert one.of(DataReceived)[-1].stream_ended is not None
    assert one.of(DataReceived)[-1].data


def test_socket_that_takes_no_more():
    one = Connection()
    one.ask(1)
    one.protocol.pauseProducing()
    assert one.wire.producerState == "paused"  # what is read may want an answer
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + bytes(20))
    assert one.body(1) == b""
    assert one.edge.streams[0].producerState == "paused"
    one.protocol.resumeProducing()
    one.pump()
    assert len(one.body(1)) == 20


@pytest.mark.parametrize("why", ["answered early", "too large", "not answered in time"])
def test_stream_of_a_request_that_is_not_over_is_never_another_ones(why):
    """Else the next request is taken for the rest of a body, or gets an answer that is not its own."""
    edge = Exchange()
    rule = SimpleNamespace(visit=lambda visit: setattr(visit, "body_limit", 10))
    edge.policies = Policies(Policy([rule]), None)
    one = Connection(edge)
    if why == "not answered in time":
        one.ask(1, b"GET", b"/first")
        one.protocol._streams[1]._exchange.timed_out()
        one.pump()
        assert one.status(1) == 504
    else:
        one.ask(1, b"POST", b"/first", (b"content-length", b"100"), body=b"x" * 10, end=False)
        one.answer(OK) if why == "answered early" else one.client.send_data(1, b"y")
        one.pump()
        assert one.status(1) == (200 if why == "answered early" else 413)
    one.ask(3, b"GET", b"/second")
    assert len(edge.streams) == 2
    assert edge.streams[0].aborted
    assert b"/second" not in one.upstream(0)
    assert one.upstream(1).startswith(b"GET /second ")


def test_stream_whose_answer_waits_for_its_visitor_is_the_next_requests_once_that_is_sent():
    one = Connection()
    one.ask(1)
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
    (stream,) = one.edge.streams
    assert stream.producerState == "paused"
    one.ask(3)
    assert len(one.edge.streams) == 2  # the first has an answer that is not sent
    one.client.increment_flow_control_window(100_000)
    one.client.increment_flow_control_window(100_000, 1)
    one.pump()
    assert len(one.body(1)) == 100_000
    assert stream.producerState == "producing"
    one.ask(5)
    assert len(one.edge.streams) == 2


def test_no_more_streams_are_kept_than_a_few():
    one = Connection()
    for number in range(MAX_KEPT + 2):
        one.ask(2 * number + 1)
    for number in range(MAX_KEPT + 2):
        one.answer(OK, number)
    assert len(list(one.protocol.lanes)) == MAX_KEPT
    assert [stream.disconnecting for stream in one.edge.streams] == [False] * MAX_KEPT + [True] * 2


def test_streams_that_upstreams_close_make_room_for_others():
    one = Connection()
    for number in range(MAX_KEPT):
        one.ask(2 * number + 1)
    for stream in one.edge.streams:
        stream.protocol.dataReceived(OK)
    for stream in list(one.edge.streams):
        stream.protocol.connectionLost()
    one.pump()
    for number in (MAX_KEPT, MAX_KEPT + 1):
        one.ask(2 * number + 1)
        one.answer(OK)
    assert len(one.edge.streams) == MAX_KEPT + 1


def test_upload_is_acknowledged_as_the_tunnel_takes_it():
    one = Connection()
    one.ask(1, b"POST", b"/", (b"content-length", b"400000"), end=False)
    lane = one.edge.streams[0].producer
    lane.pauseProducing()
    sent = 0
    while one.client.local_flow_control_window(1) > 0:
        size = min(16384, one.client.local_flow_control_window(1))
        one.client.send_data(1, bytes(size))
        sent += size
        one.pump()
    assert sent == STREAM_WINDOW  # and no byte more waits here
    assert one.upstream().endswith(b"\r\n\r\n")
    lane.resumeProducing()
    one.pump()
    assert len(one.upstream().partition(b"\r\n\r\n")[2]) == sent
    assert one.client.local_flow_control_window(1) > 0
    one.client.send_data(1, bytes(16384))
    one.pump()
    assert len(one.upstream().partition(b"\r\n\r\n")[2]) == sent + 16384


def test_answer_before_the_end_of_a_request():
    one = Connection()
    one.ask(1, b"PUT", b"/", (b"content-length", b"100"), body=b"x" * 10, end=False)
    one.answer(OK.replace(b"200 OK", b"405 No"))
    assert one.status() == 405
    assert one.of(StreamEnded)
    assert not one.of(StreamReset)
    one.edge.edge.sweep.clock.advance(3)
    one.edge.edge.sweep._check()
    one.pump()
    (reset,) = one.of(StreamReset)
    assert reset.error_code == ErrorCodes.NO_ERROR
    one.ask(3)
    one.answer(OK)
    assert one.status(3) == 200


# -- ends -------------------------------------------------------------------------------------------------


def test_answer_that_breaks_off_is_reset():
    one = Connection()
    one.ask()
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
    one.edge.streams[0].connected = False
    one.edge.streams[0].protocol.connectionLost()
    one.pump()
    assert one.body() == b"half"
    (reset,) = one.of(StreamReset)
    assert reset.error_code == ErrorCodes.INTERNAL_ERROR


def test_visitor_that_resets_a_request():
    one = Connection()
    one.ask()
    one.client.reset_stream(1, ErrorCodes.CANCEL)
    one.pump()
    assert one.edge.streams[0].aborted
    one.ask(3)
    one.answer(OK)
    assert one.status(3) == 200


def test_visitor_that_leaves():
    one = Connection()
    one.ask()
    one.protocol.connectionLost(Failure(ConnectionLost()))
    assert one.edge.streams[0].disconnecting  # the request is whole, and goes on with the end behind it
    assert one.protocol not in one.edge.edge.visitors


def test_visitor_that_goes_away_has_the_answers_that_are_under_way():
    one = Connection()
    one.ask(1)
    one.ask(3)
    one.protocol.dataReceived(GOAWAY)
    one.answer(OK, 0)
    assert one.body(1) == b"ok"
    assert not one.wire.disconnecting
    one.answer(OK, 1)
    assert one.body(3) == b"ok"
    assert one.wire.disconnecting


@pytest.mark.parametrize("code", [0, 2])
def test_visitor_that_goes_away_and_waits_for_nothing(code):
    one = Connection()
    if code:
        one.ask()
    one.protocol.dataReceived(GOAWAY[:-1] + bytes([code]))
    assert one.wire.disconnecting
    assert all(stream.aborted for stream in one.edge.streams)


def test_frame_that_is_too_long_is_refused_at_its_head():
    one = Connection()
    one.protocol.dataReceived(b"\xff\xff\xff\0\0\0\0\0\1")
    one.pump()
    assert one.code == ErrorCodes.FRAME_SIZE_ERROR
    assert one.wire.disconnecting


def test_head_of_a_frame_in_pieces():
    one = Connection()
    for byte in b"\0\0\x08\6\0\0\0\0\0" + bytes(8):  # a PING
        one.protocol.dataReceived(bytes([byte]))
    one.pump()
    assert one.code is None
    assert any(type(event).__name__ == "PingAckReceived" for event in one.events)


def test_idle_connection_is_told_and_closed():
    one = Connection()
    one.ask()
    one.answer(OK)
    one.edge.edge.sweep.clock.advance(76)
    one.edge.edge.sweep._check()
    one.pump()
    assert one.code == ErrorCodes.NO_ERROR
    assert one.wire.disconnecting


def test_peer_that_does_not_let_the_connection_close_is_reset():
    one = Connection()
    one.protocol.end()
    assert one.wire.disconnecting
    for _ in range(2):
        assert not one.wire.aborted
        one.edge.edge.sweep.clock.advance(50)
        one.edge.edge.sweep._check()
    assert one.wire.aborted
    one.protocol.connectionLost(Failure(ConnectionLost()))
    assert one.protocol not in list(one.edge.edge.sweep)


def test_connection_under_way_is_not_idle():
    one = Connection()
    one.ask()
    one.edge.edge.sweep.clock.advance(100)
    one.edge.edge.sweep._check()
    one.pump()
    assert one.code is None


def test_server_that_drains():
    one = Connection()
    one.ask()
    one.edge.edge.drain()
    assert one.protocol.running
    one.answer(OK)
    assert one.body() == b"ok"
    assert one.code == ErrorCodes.NO_ERROR
    assert not one.protocol.running
    assert one.last_streams == [1]


def test_server_that_drains_while_requests_overlap():
    """Else no GOAWAY is ever sent, and the connection is cut with what is under way at the drain's end."""
    one = Connection()
    one.ask(1)
    one.edge.edge.drain()
    assert one.code is None  # a client of h2 would drop the answer that is under way
    one.ask(3)
    assert one.code == ErrorCodes.NO_ERROR
    one.ask(5)  # it was on its way already
    assert one.last_streams == [2**31 - 1]
    for number, stream in enumerate((1, 3, 5)):
        assert not one.wire.disconnecting
        one.answer(OK, number)
        assert one.status(stream) == 200
        assert one.of(StreamEnded, stream)
    assert one.last_streams == [2**31 - 1, 5]
    assert one.wire.disconnecting


def test_finishing_ends_what_is_idle():
    one = Connection()
    one.ask()
    one.answer(OK)
    for part in one.protocol.parts():
        assert part.tunnel is one.edge
        assert not part.running
        part.finish()
    assert one.edge.streams[0].disconnecting
    assert [part.tunnel for part in one.protocol.parts() if part.tunnel] == []
    one.ask(3)  # the connection goes on
    one.answer(OK)
    assert one.status(3) == 200
    one.protocol.end()
    one.pump()
    assert one.code == ErrorCodes.NO_ERROR


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def test_event_stream_runs_until_it_is_silent():
    """As of HTTP/1.1: see L{burrow.sockets.idle}. The others of its connection do not count."""
    one = Connection()
    one.ask(1)
    one.answer(EVENTS)
    (events,) = one.protocol.parts()
    for _ in range(5):
        assert events.running
        one.edge.edge.sweep.clock.advance(QUIET * 0.9)
        one.answer(b"data: 1\n\n")
    assert events.running
    for number in (3, 5):
        one.ask(number)
        one.edge.edge.sweep.clock.advance(QUIET / 2)
        one.answer(OK)
    assert not events.running
    assert not one.protocol.running
    assert one.edge.streams[0].producerState == "producing"
    events.finish()
    one.pump()
    assert one.of(StreamReset)[0].error_code == ErrorCodes.CANCEL
    assert one.edge.streams[0].aborted
    assert one.code is None


def test_event_stream_that_its_visitor_does_not_take_runs():
    one = Connection(_4=4)
    one.ask(1)
    one.answer(EVENTS + b"data: 1\n\n")
    for _ in range(3):
        assert one.protocol.running
        one.edge.edge.sweep.clock.advance(QUIET)


def test_event_stream_on_a_connection_that_is_idle_is_so_at_once(monkeypatch):
    one = Connection()
    one.ask(1)
    one.answer(EVENTS)
    monkeypatch.setattr("burrow.server.edge.http2_stream.idle", lambda transport: transport is one.wire)
    assert not one.protocol.running


def two_tunnels():
    """A connection with a silent event stream, a busy one and a kept stream of each of two tunnels."""
    one, other = Connection(), Exchange()
    for route, first in ((one.edge, 1), (other, 7)):
        one.edge.edge.find = lambda host, asking, route=route: route
        for stream in range(first, first + 6, 2):
            one.ask(stream)
        for stream, answer in zip(route.streams, (EVENTS, EVENTS, OK), strict=True):
            stream.protocol.dataReceived(answer)
    one.pump()
    one.edge.edge.visitors = {one.protocol}
    finishing = Finishing(
        one.edge.edge.sweep.clock,
        one.edge.edge,
        one.edge.edge.sweep,
        ports=lambda: (),
        held=lambda tunnel: tunnel is not other,
        elsewhere=lambda: False,
    )
    return one, other, finishing


def test_tunnel_that_is_closed_ends_its_own_streams_alone():
    one, other, finishing = two_tunnels()
    clock = one.edge.edge.sweep.clock
    finishing.end_idle()
    for _ in range(10):
        clock.advance(0.5)
        other.streams[1].protocol.dataReceived(b"data: 1\n\n")
    one.pump()
    assert one.of(StreamReset, 7)
    assert not any(one.of(StreamReset, stream) for stream in (1, 3, 9))
    assert [stream.aborted or stream.disconnecting for stream in other.streams] == [True, False, True]
    assert not any(stream.aborted or stream.disconnecting for stream in one.edge.streams)
    for _ in range(5):
        clock.advance(0.5)
    one.pump()
    assert one.of(StreamReset, 9)  # once it was silent, too
    assert clock.getDelayedCalls() == []
    one.answer(b"data: 2\n\n", 0)
    assert one.body(1) == b"data: 2\n\n"
    assert one.code is None


def test_server_that_stops_ends_what_is_silent_and_keeps_what_runs():
    one, other, finishing = two_tunnels()
    clock = one.edge.edge.sweep.clock
    done = Deferred.fromCoroutine(finishing.finish(100))
    for _ in range(50):
        clock.advance(0.1)
        other.streams[1].protocol.dataReceived(b"data: 1\n\n")
    one.pump()
    assert [stream for stream in (1, 3, 7, 9) if one.of(StreamReset, stream)] == [1, 3, 7]
    assert not done.called
    assert one.code is None
    other.streams[1].protocol.readConnectionLost()
    clock.advance(0.1)
    one.pump()
    assert one.of(StreamEnded, 9)
    assert one.code == ErrorCodes.NO_ERROR
    assert done.called


def test_visitor_that_takes_nothing_is_ended():
    edge = Exchange()
    edge.edge.rate = Rate(100, 10)
    one = Connection(edge, _4=10)
    one.ask()
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + bytes(20))
    for _ in range(3):
        edge.edge.sweep.clock.advance(11)
        edge.edge.sweep._check()
    assert one.wire.aborted


class Slow(Connection):
    """A visitor that does not open its windows by itself, at 100 bytes a second over 10 seconds."""

    def __init__(self, **settings):
        edge = Exchange()
        edge.edge.rate = Rate(100, 10)
        super().__init__(edge, **settings)

    def begin(self, stream, size):
        """The upstream begins an answer that is larger than this."""
        self.ask(stream)
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1) + bytes(size))

    def wait(self, *taken):
        """A window of time passes. @param taken: streams and how much their visitor takes of each."""
        for stream, size in taken:
            if size and stream not in self.reset:
                self.client.increment_flow_control_window(size, stream)
        self.pump()
        self.edge.edge.sweep.clock.advance(11)
        self.edge.edge.sweep._check()
        self.pump()

    @property
    def reset(self):
        return [event.stream_id for event in self.events if isinstance(event, StreamReset)]


@pytest.mark.parametrize("trickle", [0, 1, 999])
def test_answer_that_is_not_taken_does_not_hide_behind_one_that_is(trickle):
    one = Slow(_4=0)
    for stream in (1, 3, 5):
        one.begin(stream, 20000)
    for _ in range(3):
        one.wait((1, trickle), (3, 2000), (5, 1000))
    assert not one.wire.aborted
    assert one.reset == [1]
    assert one.edge.streams[0].aborted
    one.client.increment_flow_control_window(20000, 3)
    one.pump()
    assert len(one.body(3)) == 20000


@pytest.mark.parametrize("holds", [True, False])
def test_answer_whose_pieces_are_taken_while_there_is_more_is_slow(holds):
    one = Slow(_4=0)
    one.ask(1)
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    one.begin(3, 30000)
    stream = one.edge.streams[0]
    for _ in range(15):
        one.client.increment_flow_control_window(1000, 3)
        if not stream.aborted:
            one.answer(b"x" * 60, 0)
            assert stream.producerState == "paused"
            stream.holds = holds
            one.client.increment_flow_control_window(60, 1)
            one.pump()
            assert stream.producerState == "producing"
            one.answer(b"x" * 60, 0)  # what it held
            one.edge.edge.sweep.clock.advance(2)
            one.edge.edge.sweep._check()
            one.client.increment_flow_control_window(60, 1)
            one.pump()
    assert (one.reset == [1]) == holds
    assert not one.wire.aborted


def test_answer_that_was_taken_meanwhile_is_not_slow():
    one = Slow(_4=0)
    one.begin(1, 5000)
    one.edge.edge.sweep.clock.advance(5)
    one.ask(3)
    one.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(4):
        one.answer(b"2\r\nab\r\n")
        one.wait((1, 1000))
        one.client.increment_flow_control_window(2, 3)
        one.pump()
    assert one.reset == []
    assert one.body(3) == b"ab" * 4


def test_answer_that_waits_for_the_connections_window_is_not_reset():
    one = Slow(_4=200000)
    one.begin(1, 100000)
    one.begin(3, 100000)
    for _ in range(5):
        one.client.increment_flow_control_window(5000)
        one.wait()
    assert one.reset == []
    assert not one.wire.aborted


@pytest.mark.parametrize(("taken", "ended"), [(4999, True), (5000, False)])
def test_connection_has_to_move_for_each_answer_that_waits_for_it(taken, ended):
    one = Slow(_4=200000)
    for stream in (1, 3, 5, 7, 9, 11):
        one.begin(stream, 100000)
    for _ in range(3):
        if not one.wire.aborted:
            one.client.increment_flow_control_window(taken)
            one.wait()
    assert one.wire.aborted == ended
    assert one.reset == []


# -- who costs too much -----------------------------------------------------------------------------------


def test_rapid_resets_end_the_connection():
    one = Connection()
    asked = 0
    while one.code is None and asked < 5000:
        for _ in range(20):
            head = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", HOST)]
            stream = 1 + 2 * asked
            one.client.send_headers(stream, head, end_stream=True)
            one.client.reset_stream(stream)
            asked += 1
        one.pump()
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert asked < BURST * 2
    assert one.wire.disconnecting
    assert all(stream.aborted for stream in one.edge.streams)


def test_windows_may_be_opened_as_fast_as_they_are_used():
    one = Connection()
    one.ask()
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n")
    for _ in range(5000):  # of 16,000 bytes each, at one moment
        one.answer(bytes(16_000))
        one.client.acknowledge_received_data(16_000, 1)
        one.client.increment_flow_control_window(1, 1)
        one.client.increment_flow_control_window(1)
        one.pump()
        one.events.clear()
    assert one.code is None
    one.edge.streams[0].clear()


@pytest.mark.parametrize("flood", ["ping", "settings", "empty", "windows"])
def test_other_floods_end_the_connection(flood):
    one = Connection()
    if flood == "empty":
        one.ask(1, b"POST", b"/", end=False)
    for _ in range(3000):
        if flood == "ping":
            one.client.ping(b"12345678")
        elif flood == "windows":
            one.client.increment_flow_control_window(1)
        elif flood == "settings":
            one.client.update_settings({4: 1000})
        else:
            one.client.send_data(1, b"")
        one.pump()
        if one.code is not None:
            break
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM


def test_long_settings_count_for_as_many_as_they_are():
    one, sent = Connection(), 0
    pairs = b"\0\1\0\0\x10\0" * 2700
    data = frame(SETTINGS, 0, 0, pairs)
    while not one.wire.disconnecting and sent < 100:
        one.protocol.dataReceived(data)
        sent += 1
    one.pump()
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert 1 < sent < 10


def test_heads_on_a_stream_that_was_reset_are_for_nothing_however_long_they_are():
    one, sent = Connection(), 0
    one.client.send_headers(1, [(b":method", b"GET")])
    one.pump()
    assert one.of(StreamReset)  # for there is no path
    data = frame(HEADERS, 0x5, 1, b"\x82" * 1500)
    while not one.wire.disconnecting and sent < 10_000:
        one.protocol.dataReceived(data)
        sent += 1
    one.pump()
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert 1000 < sent < 3000


@pytest.mark.parametrize("way", ["too many", "no window", "window too far", "bytes behind", "trailers"])
def test_to_have_the_server_reset_streams_costs_as_much_as_to_reset_them(way):
    """CVE-2025-8671, MadeYouReset."""
    one = Connection()
    one.client.config.validate_outbound_headers = False
    if way == "too many":
        for number in range(MAX_STREAMS):
            one.ask(1 + 2 * number)
    first = 2 * len(one.edge.streams) + 1
    for number in range(5 * int(BURST)):
        stream = first + 2 * number
        ends = way != "trailers"
        block = one.client.encoder.encode(RIGHT.items())
        data = HeadersFrame(stream, data=block, flags=["END_HEADERS", *["END_STREAM"] * ends]).serialize()
        if way == "no window":
            data += WindowUpdateFrame(stream).serialize()[:-4] + bytes(4)
        elif way == "window too far":
            data += WindowUpdateFrame(stream, window_increment=2**31 - 1).serialize()
        elif way == "bytes behind":
            data += DataFrame(stream, data=b"x").serialize()
        elif way == "trailers":
            data += HeadersFrame(stream, data=b"\0\1x\1y", flags=["END_HEADERS"]).serialize()
        one.protocol.dataReceived(data)
        if one.wire.disconnecting:
            break
    one.events += one.client.receive_data(GOAWAYS.search(one.wire.value())[0])
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert BURST - 2 <= number < BURST + 2
    if way != "too many":
        assert all(stream.aborted for stream in one.edge.streams)


def test_requests_beyond_the_limit_are_refused_and_the_others_go_on():
    one = Connection()
    for number in range(MAX_STREAMS):
        one.ask(1 + 2 * number)
    stream = 1 + 2 * MAX_STREAMS
    block = one.client.encoder.encode(RIGHT.items())
    one.protocol.dataReceived(
        HeadersFrame(stream, data=block, flags=["END_HEADERS", "END_STREAM"]).serialize()
    )
    refused = RstStreamFrame(stream, error_code=ErrorCodes.REFUSED_STREAM).serialize()
    assert refused in one.wire.value()
    one.wire.clear()
    assert len(one.edge.streams) == MAX_STREAMS
    one.answer(OK, 7)
    assert one.status(15) == 200


def test_trailers_that_do_not_end_their_body_reset_their_request_alone():
    one = Connection()
    one.ask(1)
    one.ask(3, b"POST", b"/", body=b"hello", end=False)
    one.protocol.dataReceived(HeadersFrame(3, data=b"\0\1x\1y", flags=["END_HEADERS"]).serialize())
    one.pump()
    assert [reset.error_code for reset in one.of(StreamReset, 3)] == [ErrorCodes.PROTOCOL_ERROR]
    assert one.edge.streams[1].aborted
    one.answer(OK, 0)
    assert one.status(1) == 200


def unknown(kind, body):
    return len(body).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + body


FOR_NOTHING = {
    "a type that is not known": unknown(0xEE, b"x"),
    "an acknowledgement of settings": SettingsFrame(0, flags=["ACK"]),
    "an acknowledgement of a PING": PingFrame(0, opaque_data=bytes(8), flags=["ACK"]),
    "a reset of a closed stream": RstStreamFrame(1, error_code=8),
    "a window of a closed stream": WindowUpdateFrame(1, window_increment=1),
    "bytes on a closed stream": DataFrame(1, data=b"x"),
    "nothing on a closed stream": DataFrame(1),
    "GOAWAY": GoAwayFrame(0),
    "ALTSVC": AltSvcFrame(0, origin=b"x", field=b"y"),
    "PRIORITY": PriorityFrame(5, depends_on=1),
    "PRIORITY_UPDATE": unknown(0x10, b"\0\0\0\3u=1"),
}


@pytest.mark.parametrize("name", FOR_NOTHING)
def test_frames_for_nothing_end_the_connection(name):
    one = Connection()
    one.ask(1)
    one.answer(OK)
    one.ask(3)  # which is under way
    data, sent = FOR_NOTHING[name], 0
    data = data if isinstance(data, bytes) else data.serialize()
    while not one.wire.disconnecting and sent < 10_000:
        one.protocol.dataReceived(data * 100)
        sent += 100
    one.pump()
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert 1000 < sent < 3000


def test_frames_that_go_with_requests_are_no_flood():
    one = Connection()
    for number in range(600):  # at one moment
        stream = 1 + 2 * number
        one.ask(stream)
        one.answer(OK)
        with_it = [
            PriorityFrame(stream, depends_on=0),
            WindowUpdateFrame(stream, window_increment=2),
            RstStreamFrame(stream, error_code=8),
        ]
        update = unknown(0x10, stream.to_bytes(4, "big") + b"u=1")
        one.protocol.dataReceived(update + b"".join(frame.serialize() for frame in with_it))
        one.pump()
    assert one.code is None
    assert one.status(1199) == 200


def test_what_is_on_its_way_when_a_stream_is_reset_is_no_flood():
    one = Connection()
    one.ask(1, b"POST", b"/", end=False)
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    assert one.status() == 502
    one.edge.edge.sweep.clock.advance(3)
    one.edge.edge.sweep._check()
    one.pump()
    assert one.of(StreamReset)
    for _ in range(STREAM_WINDOW // 16384):
        one.protocol.dataReceived(DataFrame(1, data=bytes(16384)).serialize())
    one.pump()
    assert one.code is None
    one.protocol.dataReceived(DataFrame(1, data=b"x").serialize())  # that was not on its way
    one.pump()
    assert one.code == ErrorCodes.FLOW_CONTROL_ERROR


def test_usual_use_is_no_flood():
    one = Connection()
    for number in range(500):
        stream = 1 + 2 * number
        one.ask(stream)
        if number % 5 == 0:
            one.client.ping(b"12345678")
        one.answer(OK)
        one.client.increment_flow_control_window(100)
        one.pump()
    assert one.code is None
    assert one.status(999) == 200


def test_calm_comes_back():
    calm = Calm()
    assert not any(calm.too_much(1, 0.0) for _ in range(int(BURST)))
    assert calm.too_much(1, 0.0)
    assert not calm.too_much(1, 10.0)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\xff" * 9])
def test_what_is_no_http2(data):
    edge = Exchange()
    wire = Wire(Peer())
    protocol = Http2Factory(edge.edge, "https").buildProtocol(None)
    protocol.makeConnection(wire)
    protocol.dataReceived(data)
    assert wire.disconnecting
    assert edge.streams == []


# -- one meaning, whatever the version --------------------------------------------------------------------


def read(*fields, ended=True, known=None, scheme=b"https", path=b"/", method=b"GET", authority=HOST):
    head = [(b":method", method), (b":scheme", scheme), (b":path", path)]
    if authority is not None:
        head.append((b":authority", authority))
    return read_request([*head, *fields], ended, "https", known or Remembered(Memory()))


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x", b"a\r\nevil: b")],
        [(b"x", b"a\nb")],
        [(b"x", b"a\0b")],
        [(b"x", b" a")],
        [(b"x\r\nevil", b"a")],
        [(b"X-Upper", b"a")],
        [(b"x y", b"a")],
        [(b"", b"a")],
        [(b"connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
        [(b"upgrade", b"websocket")],
        [(b"keep-alive", b"1")],
        [(b"proxy-connection", b"1")],
        [(b"http2-settings", b"1")],
        [(b"te", b"gzip")],
        [(b"host", b"other.example.com")],
        [(b"host", HOST), (b"host", HOST)],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1, 1")],
        [(b"a", b"b"), (b":path", b"/x")],
        [(b":path", b"/x")],
        [(b":protocol", b"websocket")],
        [(b":status", b"200")],
    ],
)
def test_fields_that_are_refused(fields):
    with pytest.raises(BadMessage):
        read(*fields)


@pytest.mark.parametrize(
    "parts",
    [
        {"path": b""},
        {"path": b"relative"},
        {"path": b"/a b"},
        {"path": b"/a\r\nb"},
        {"path": b"/a#b"},
        {"path": b"http://x/"},
        {"path": b"*"},
        {"method": b""},
        {"method": b"G T"},
        {"method": b"GET / HTTP/1.1\r\nX: y\r\n"},
        {"method": b"CONNECT"},
        {"scheme": b"ftp"},
        {"scheme": b"http"},
        {"authority": None},
        {"authority": b""},
        {"authority": b"a b"},
        {"authority": b"user@t.example.com"},
        {"authority": b"t.example.com\r\nX: y"},
        {"path": b"/" + b"x" * 20_000},
    ],
)
def test_pseudo_fields_that_are_refused(parts):
    with pytest.raises(BadMessage):
        read(**parts)


def test_requests_that_mean_one_thing():
    head = read((b"host", HOST), (b"te", b"trailers"), ended=False)
    assert (head.host, head.length, head.version) == ("t.example.com", None, "2.0")
    assert read((b"content-length", b"5"), ended=False).length == 5
    assert read((b"content-length", b"0"), ended=True).length == 0
    assert read((b"host", HOST), authority=None).host == "t.example.com"
    assert read(method=b"OPTIONS", path=b"*").target == b"*"
    assert read().length == 0


def test_heads_that_came_before_are_known():
    known = Remembered(Memory())
    heads = [read((b"a", b"b"), known=known) for _ in range(4)]
    assert heads[2] is heads[3]


def test_trailers():
    assert read_trailers([(b"x", b"1"), (b"host", b"y"), (b"content-length", b"1")]) == [(b"x", b"1")]
    for bad in ((b"x", b"a\r\nb"), (b"X", b"a"), (b":path", b"/")):
        with pytest.raises(BadMessage):
            read_trailers([bad])


def test_refused_request_leaves_the_others_alone():
    one = Connection()
    one.ask(1)
    one.ask(3, b"GET", b"/x#y")
    assert one.status(3) == 400
    one.answer(OK)
    assert one.status(1) == 200


@pytest.mark.parametrize(
    "field",
    [
        (b"x-sum", b"a b\r\nx: y"),
        (b"x(sum", b"1"),
        (b"X-Sum", b"1"),
        (b"", b"1"),
        (b":path", b"/"),
        (b"x", b" 1"),
    ],
)
def test_trailers_that_are_no_fields_reset_their_request_alone(field):
    one = Connection(sane=False)
    one.ask(1, b"POST", b"/", body=b"hello", end=False)
    one.client.send_headers(1, [field], end_stream=True)
    one.pump()
    assert one.edge.streams[0].aborted
    assert [reset.error_code for reset in one.of(StreamReset)] == [ErrorCodes.PROTOCOL_ERROR]
    one.ask(3)
    one.answer(OK)
    assert one.status(3) == 200


RIGHT = {b":method": b"POST", b":scheme": b"https", b":path": b"/", b":authority": HOST}
MALFORMED = {
    "a name in upper case": [*RIGHT.items(), (b"X-A", b"b")],
    "an empty name": [*RIGHT.items(), (b"", b"b")],
    "a line end in a value": [*RIGHT.items(), (b"x", b"a\r\nb: c")],
    "a blank before a value": [*RIGHT.items(), (b"x", b" a")],
    "a field of the connection": [*RIGHT.items(), (b"connection", b"close")],
    "a coding that is none": [*RIGHT.items(), (b"te", b"gzip")],
    "another host": [*RIGHT.items(), (b"host", b"other.example.com")],
    "two hosts": [*RIGHT.items(), (b"host", HOST), (b"host", HOST)],
    "a pseudo-header field behind others": [(b"x", b"y"), *RIGHT.items()],
    "a pseudo-header field twice": [*RIGHT.items(), (b":path", b"/")],
    "an answer's pseudo-header field": [*RIGHT.items(), (b":status", b"200")],
    "no method": [pair for pair in RIGHT.items() if pair[0] != b":method"],
    "no scheme": [pair for pair in RIGHT.items() if pair[0] != b":scheme"],
    "no path": [pair for pair in RIGHT.items() if pair[0] != b":path"],
    "an empty path": [*(RIGHT | {b":path": b""}).items()],
}


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("name", MALFORMED)
def test_request_that_is_malformed_is_reset_and_leaves_the_others_alone(name, ended):
    one = Connection(sane=False)
    one.ask(1)
    block = one.client.encoder.encode(MALFORMED[name])  # h2's client would not send some
    frames = HeadersFrame(3, data=block, flags=["END_HEADERS", *["END_STREAM"] * ended]).serialize()
    one.protocol.dataReceived(frames if ended else frames + DataFrame(3, data=b"x" * 100).serialize())
    sent = one.wire.value()
    assert RstStreamFrame(3, error_code=ErrorCodes.PROTOCOL_ERROR).serialize() in sent
    assert not one.wire.disconnecting
    assert 3 not in one.protocol._streams
    assert len(one.edge.streams) == 1
    one.wire.clear()
    one.answer(OK)
    assert one.body() == b"ok"
    one.ask(5)
    one.answer(OK)
    assert one.status(5) == 200


@pytest.mark.parametrize(("length", "sent"), [(5, 4), (5, 6), (0, 1)])
@pytest.mark.parametrize("trailers", [False, True])
def test_body_that_is_not_of_its_length_resets_its_request_alone(length, sent, trailers):
    one = Connection()
    head = [*RIGHT.items(), (b"content-length", b"%d" % length)]
    one.client.send_headers(1, head)
    one.client.send_data(1, bytes(sent), end_stream=not trailers)
    if trailers:
        one.client.send_headers(1, [(b"x", b"y")], end_stream=True)
    one.pump()
    assert [reset.error_code for reset in one.of(StreamReset)] == [ErrorCodes.PROTOCOL_ERROR]
    assert one.edge.streams[0].aborted
    assert len(one.upstream(0).partition(b"\r\n\r\n")[2]) <= length
    assert one.protocol.h2._granting._used == sent  # to be returned
    one.ask(3)
    one.answer(OK)
    assert one.status(3) == 200


@pytest.mark.parametrize("length", [b"+5", b"5, 5", b"-1", b"x", b""])
def test_length_that_is_no_number_is_refused_and_leaves_the_others_alone(length):
    one = Connection()
    one.client.send_headers(1, [*RIGHT.items(), (b"content-length", length)])
    one.client.send_data(1, b"hello", end_stream=True)
    one.pump()
    assert one.status() == 400
    assert one.edge.streams == []
    one.ask(3)
    one.answer(OK)
    assert one.status(3) == 200


POST = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", HOST)]


def _short(one, number):
    one.client.send_headers(number, [*POST, (b"content-length", b"5")])
    one.client.send_headers(number, [(b"x", b"y")], end_stream=True)


def _bad_trailers(one, number):
    one.client.send_headers(number, POST)
    one.client.send_headers(number, [(b"x", b"a\x01")], end_stream=True)


def _socket_with_trailers(one, number):
    one.client.send_headers(number, [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *POST[1:]])
    one.client.send_headers(number, [(b"x", b"y")], end_stream=True)


@pytest.mark.parametrize("send", [_short, _bad_trailers, _socket_with_trailers])
def test_requests_that_the_server_has_to_reset_count_as_those_that_the_visitor_resets(send):
    one = Connection()
    for number in range(1, 4 * int(BURST), 2):
        if one.code is not None:
            break
        send(one, number)
        one.pump()
    assert one.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert len(one.edge.streams) <= BURST + 1


def test_a_visitor_that_closes_its_half_is_gone():
    one = Connection()
    one.ask(1)
    one.answer(OK)
    before = one.wire.producer
    assert before is one.protocol
    one.protocol.readConnectionLost()
    assert one.wire.producer is None, "the transport would wait for it"
    assert one.wire.disconnecting
    one.edge.edge.sweep.clock.advance(ENDED_WITHIN)
    one.edge.edge.sweep._check()
    assert one.wire.aborted, "who does not take the rest"


# -- what its requests cost together ------------------------------------------------------------------------


def test_windows_of_one_connection_have_one_allowance():
    edge = Exchange()
    one, other = Connection(edge), Connection(edge)
    for number in range(MAX_STREAMS):
        one.ask(2 * number + 1)
    other.ask(1)
    allowances = edge.allowances
    assert len(allowances) == MAX_STREAMS + 1
    assert len(set(allowances)) == 2
    assert allowances[-1] is not allowances[0]
    edge.ask(b"GET / HTTP/1.1\r\nHost: t.example.com\r\n\r\n")
    assert edge.allowances[-1] is None  # it has one stream at a time


def large(number):
    """60,000 bytes of fields, all of them others than those of another number."""
    return [(b"x-%d" % field, b"%05d" % number * 4000) for field in range(3)]


def test_heads_of_all_requests_under_way_are_bounded():
    one = Connection()
    for number in range(40):
        one.ask(2 * number + 1, b"GET", b"/", *large(number))
    taken = len(one.edge.streams)
    assert (taken + 1) * 60_000 > MAX_FIELDS - 60_000
    assert taken * 60_000 < MAX_FIELDS
    refused = [event for event in one.events if isinstance(event, StreamReset)]
    assert len(refused) == 40 - taken
    assert {event.error_code for event in refused} == {ErrorCodes.REFUSED_STREAM}
    # A small one has room, and so has a large one once another is answered.
    one.ask(101)
    assert len(one.edge.streams) == taken + 1
    one.answer(OK, 0)
    one.ask(103, b"GET", b"/", *large(103))
    assert one.upstream(0).count(b"GET / HTTP/1.1") == 2


def test_what_is_left_of_a_connection_takes_nothing():
    one = Connection()
    for _ in range(3):
        for number in range(30):
            stream = one.client.get_next_available_stream_id()
            one.ask(stream, b"GET", b"/", *large(number))
            one.client.reset_stream(stream)
            one.pump()
    assert one.protocol._fields == 0
    assert not one.of(StreamReset)


@pytest.mark.parametrize(("count", "refused"), [(MAX_HEADERS, False), (MAX_HEADERS + 1, True)])
def test_trailers_are_as_many_as_the_fields_of_a_head_may_be(count, refused):
    """Short ones take twenty times their bytes of memory."""
    one = Connection()
    one.ask(1, b"POST", b"/", body=b"x", end=False)
    one.client.send_headers(1, [(b"x%d" % number, b"") for number in range(count)], end_stream=True)
    one.pump()
    assert [event.error_code for event in one.of(StreamReset)] == [ErrorCodes.ENHANCE_YOUR_CALM] * refused
    assert one.edge.streams[0].aborted == refused
    assert one.upstream().endswith(b": \r\n\r\n") != refused
    assert one.code is None


def test_trailers_count_as_heads_do():
    one = Connection()
    for number in range(40):
        stream = 2 * number + 1
        one.ask(stream, b"POST", b"/", body=b"x", end=False)
        one.client.send_headers(stream, large(number), end_stream=True)
        one.pump()
    refused = [event for event in one.events if isinstance(event, StreamReset)]
    assert refused
    assert {event.error_code for event in refused} == {ErrorCodes.ENHANCE_YOUR_CALM}
    assert all(one.edge.streams[event.stream_id // 2].aborted for event in refused)
    assert (40 - len(refused)) * 60_000 <= MAX_FIELDS
    assert one.code is None
    for number in set(range(40)) - {event.stream_id // 2 for event in refused}:
        one.answer(OK, number)
    assert one.protocol._fields == 0


def test_bytes_behind_the_answer_make_room_again():
    """The request is over, and its visitor may not know yet: what still comes blocks no other."""
    one, total = Connection(), 0
    one.ask(1, b"POST", body=b"begun", end=False)
    one.answer(OK)
    assert one.body() == b"ok"
    while total <= 2 * STREAM_WINDOW and (room := one.client.local_flow_control_window(1)):
        one.client.send_data(1, bytes(min(room, 16_000)))
        total += min(room, 16_000)
        one.pump()
    assert total > 2 * STREAM_WINDOW


@pytest.mark.parametrize("full", [False, True])
def test_end_that_comes_alone_is_told(full):
    """At once, or when the socket takes more."""
    one = Connection()
    one.ask()
    one.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    assert one.body() == b"ok"
    assert not one.of(StreamEnded)
    if full:
        one.wire.producer.pauseProducing()
    one.answer(b"0\r\n\r\n")
    if full:
        assert not one.of(StreamEnded)
        one.wire.producer.resumeProducing()
        one.pump()
    assert one.of(StreamEnded)
    assert one.body() == b"ok"
