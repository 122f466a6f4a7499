"""
Tests for L{burrow.server.edge.http1}, and for L{burrow.server.edge.visitor}, C{kept} and C{responses} below
it, on a pair of sessions.
"""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from burrow.errors import StoreError, StreamGone
from burrow.protocols.visits import NO_POLICIES
from burrow.server.edge import pages, upgraded, visitor
from burrow.server.edge.context import Edge
from burrow.server.edge.flow import MAX_WAITING
from burrow.server.edge.forwarded import Forwarding
from burrow.server.edge.http1 import VisitorFactory
from burrow.server.edge.kept import LEAVE_WITHIN
from burrow.server.edge.pace import NO_RATE, Rate
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.visitor import LINGER
from burrow.server.route import NoRoute, Why
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair

RATE = Rate(100, 10)
HOST = b"Host: t.example.com\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"
UPGRADE = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def post(length, body=b"", head=b""):
    return b"POST / HTTP/1.1\r\n" + HOST + head + b"Content-Length: %d\r\n\r\n" % length + body


class Socket(StringTransport):
    """
    A visitor's socket.

    @ivar end: what was done to it: "", "write closed", "closed" or "aborted".
    @ivar limit: bytes that it takes before it pauses its producer.
    @ivar taken: what its peer has acknowledged.
    """

    def __init__(self):
        super().__init__()
        self.connected = True
        self.end = ""
        self.limit = None
        self.taken = 0
        self.reading = True

    def setTcpNoDelay(self, enabled):
        pass

    def setTcpKeepAlive(self, enabled):
        pass

    def write(self, data):
        super().write(data)
        if self.limit is not None and self.producer is not None and len(self.value()) > self.limit:
            self.producer.pauseProducing()

    def unregisterProducer(self):
        self.producer = None

    def pauseProducing(self):
        self.reading = False

    def resumeProducing(self):
        self.reading = True

    def loseWriteConnection(self):
        self.end = "write closed"

    def loseConnection(self):
        self.end = "closed"

    def abortConnection(self):
        self.end = "aborted"


class Tunnel:
    """
    @ivar gone: whether no stream can be opened.
    """

    alive = True
    gone = False
    requests = 0
    policies = NO_POLICIES
    share = None

    def __init__(self, session):
        self.session = session

    @property
    def may_have_moved(self):
        return not self.alive

    def connect(self, protocol, visitor, scheme, allowance=None):
        if self.gone:
            raise StreamGone("no agent")
        self.session.open_stream(protocol)


class Visit:
    """A visitor, the edge, and an agent whose upstreams are the test: one a stream."""

    def __init__(self, *, find=None, own=None, redirect=None, rate=RATE):
        self.upstreams = Recorders(HalfCloseRecorder)
        self.pair = SessionPair(agent_factory=self.upstreams, clock=Clock())
        self.clock = self.pair.clock
        self.tunnel = Tunnel(self.pair.server)
        sweep = Sweep(self.clock)
        sweep.start()
        self.edge = Edge(
            find=find or (lambda host, asking: self.tunnel),
            own=own or (lambda head: None),
            sweep=sweep,
            forwarding=Forwarding(),
            domain="example.com",
            idle_timeout=75.0,
            response_timeout=120.0,
            rate=rate,
        )
        self.socket = Socket()
        self.socket.protocol = VisitorFactory(self.edge, "https", redirect).buildProtocol(None)
        self.socket.protocol.makeConnection(self.socket)

    def ask(self, *pieces):
        for data in pieces:
            self.socket.protocol.dataReceived(data)
        self.pump()

    def half_close(self):
        self.socket.protocol.readConnectionLost()
        self.pump()

    def leave(self, reason=ConnectionLost):
        self.socket.connected = False
        self.socket.protocol.connectionLost(Failure(reason()))
        self.pump()

    def answer(self, data, number=-1):
        self.upstreams.built[number].transport.write(data)
        self.pump()
        return self.socket.value()

    def reset(self, number=-1):
        self.upstreams.built[number].transport.breakConnection()
        self.pump()

    def close(self, number=-1):
        self.upstreams.built[number].transport.loseConnection()
        self.pump()

    def pump(self):
        # What is due at once and what each side has for the other; the sweep's next look is not due.
        self.pair.pump()

    def wait(self, seconds):
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.pump()

    @property
    def upstream(self):
        return self.upstreams.built[-1]

    @property
    def statuses(self):
        return [int(part[:3]) for part in self.socket.value().split(b"HTTP/1.1 ")[1:]]


# -- one request after the other --------------------------------------------------------------------------


def test_requests_on_one_stream():
    visit = Visit()
    visit.ask(GET + GET)
    assert visit.upstream.received.count(b"GET / ") == 1
    visit.answer(OK)
    assert visit.upstream.received.count(b"GET / ") == 2
    visit.answer(OK)
    assert visit.statuses == [200, 200]
    assert len(visit.upstreams.built) == 1
    assert visit.socket.end == ""


def test_answers_to_head_and_to_get_are_told_apart():
    """Though the upstream's head is the same each time, and remembered."""
    visit, head = Visit(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for method in (b"HEAD", b"GET", b"GET", b"GET", b"HEAD", b"GET", b"HEAD"):
        before = len(visit.socket.value())
        visit.ask(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = visit.answer(head + (b"2\r\nok\r\n0\r\n\r\n" if method == b"GET" else b""))[before:]
        assert answer.partition(b"\r\n\r\n")[2] == (b"2\r\nok\r\n0\r\n\r\n" if method == b"GET" else b"")
    assert len(visit.upstreams.built) == 1


def test_requests_of_two_tunnels():
    visit = Visit()
    tunnels = {name: Tunnel(visit.pair.server) for name in ("a.example.com", "b.example.com")}
    visit.edge.find = lambda host, asking: tunnels[host]
    for name in (b"a", b"b"):
        visit.ask(GET.replace(b"t.example", name + b".example"))
        visit.answer(OK)
    first, second = visit.upstreams.built
    assert b"a.example.com" in first.received
    assert b"b.example.com" in second.received
    assert first.read_lost
    assert first.lost is None


@pytest.mark.parametrize(
    ("request_", "again"),
    [
        (GET, True),
        (GET.replace(b"GET", b"HEAD"), True),
        (GET.replace(b"GET", b"OPTIONS"), True),
        (post(0), False),
        (GET.replace(b"GET", b"DELETE"), False),
        (post(3, b"abc").replace(b"POST", b"GET"), False),
    ],
)
def test_kept_stream_that_the_upstream_closes(request_, again):
    """What only asks is asked again, on a stream of its own; nothing else is (RFC 9110 section 9.2.2)."""
    visit = Visit()
    visit.ask(GET)
    visit.answer(OK)
    visit.ask(request_)
    visit.close()
    assert len(visit.upstreams.built) == (2 if again else 1)
    assert visit.statuses == ([200] if again else [200, 502])
    if again:
        assert visit.upstream.received.startswith(request_[:4])
        visit.close()
        assert visit.statuses == [200, 502]


def test_agent_that_went_with_the_request():
    visit = Visit()
    visit.ask(GET)
    visit.tunnel.alive = False
    visit.reset()
    assert len(visit.upstreams.built) == 2  # routed again, once
    visit.reset()
    assert visit.statuses == [503]
    visit = Visit()
    visit.ask(post(1, b"x"))
    visit.tunnel.alive = False
    visit.reset()
    assert visit.statuses == [503]


def test_no_stream_can_be_opened():
    visit = Visit()
    visit.tunnel.gone = True
    visit.ask(GET)
    assert visit.statuses == [503]


def test_failure_that_the_agent_tells():
    visit = Visit()
    visit.ask(GET)
    visit.answer(b"HTTP/1.1 502 X\r\nBurrow-Error: refused\r\nContent-Length: 3\r\n\r\nwhy")
    assert visit.statuses == [502]
    assert b"upstream-refused" in visit.socket.value()
    visit.ask(GET)
    visit.answer(b"HTTP/1.1 502 X\r\nBurrow-Error: agent-away\r\nContent-Length: 0\r\n\r\n")
    assert visit.statuses == [502, 503]


def test_bytes_behind_an_answer_meet_no_other_request():
    """Not even one that waits already: it goes on a stream of its own."""
    visit = Visit()
    visit.ask(GET + GET)
    visit.answer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert len(visit.upstreams.built) == 2
    assert visit.upstream.received.count(b"GET / ") == 1
    visit.answer(OK)
    assert visit.statuses == [200, 200]
    assert b"evil" not in visit.socket.value()


def test_bytes_that_nobody_asked_for_end_the_stream():
    visit = Visit()
    visit.ask(GET)
    visit.answer(OK)
    visit.answer(OK)
    assert visit.statuses == [200]
    visit.ask(GET)
    assert len(visit.upstreams.built) == 2


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_broken_answer_is_never_a_whole_one(version, how):
    """To an HTTP/1.0 visitor a clean close would say that the answer is whole."""
    for framing in (b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n", b"Content-Length: 100\r\n\r\nbegun"):
        visit = Visit()
        visit.ask(GET.replace(b"1.1", version))
        visit.answer(b"HTTP/1.1 200 OK\r\n" + framing)
        getattr(visit, how)()
        assert visit.socket.end == "aborted"


def test_body_that_ends_with_the_connection():
    visit = Visit()
    visit.ask(GET)
    visit.answer(b"HTTP/1.1 200 OK\r\n\r\nhello")
    visit.close()
    assert visit.socket.value().endswith(b"5\r\nhello\r\n0\r\n\r\n")
    visit = Visit()
    visit.ask(GET)
    visit.answer(b"HTTP/1.1 200 OK\r\n\r\nhello")
    visit.reset()
    assert visit.socket.end == "aborted"


def test_whole_answer_and_a_reset_behind_it_reach_a_slow_visitor():
    visit = Visit()
    visit.socket.limit = 1000
    visit.ask(GET)
    body = bytes(range(256)) * 800
    visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 4096):
        visit.upstream.transport.write(body[start : start + 4096])
    visit.upstream.transport.breakConnection()
    got = b""
    for _ in range(1000):
        visit.pump()
        if not visit.socket.value():
            break
        got += visit.socket.value()
        visit.socket.clear()
        visit.socket.producer.resumeProducing()
    assert got.partition(b"\r\n\r\n")[2] == body
    assert visit.socket.end == ""


# -- answers that begin early, and what may follow a begun one --------------------------------------------


def test_early_answer_is_the_last():
    visit = Visit()
    visit.ask(post(10, b"abc"))
    got = visit.answer(b"HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno")
    assert b"Connection: close" in got
    assert visit.socket.end == "write closed"
    assert visit.upstream.lost.check(ConnectionLost)  # its request is not whole
    visit.ask(b"defghij" + GET)
    assert len(visit.upstreams.built) == 1
    visit.wait(2 * LINGER + 1)
    assert visit.socket.end == "closed"


def test_body_goes_on_behind_an_early_head():
    visit = Visit()
    visit.ask(post(6, b"abc"))
    assert b"Connection: close" in visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    visit.ask(b"def")
    assert visit.upstream.received.endswith(b"abcdef")
    visit.answer(b"ok")
    assert visit.socket.end == "closed"


def test_interim_answer_is_not_the_answer():
    visit = Visit()
    visit.ask(post(3, head=b"Expect: 100-continue\r\n"))
    visit.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    visit.ask(b"abc")
    assert b"Connection" not in visit.answer(OK)
    assert visit.statuses == [100, 200]


def test_linger_lasts_while_bytes_come():
    visit = Visit()
    visit.ask(post(10**6, b"x"))
    visit.answer(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
    for _ in range(4):
        visit.ask(b"x")
        visit.wait(LINGER)
    assert visit.socket.end == "write closed"
    for _ in range(8):
        visit.ask(b"x")
        visit.wait(LINGER)
    assert visit.socket.end == "closed"  # not for ever


def test_linger_ends_with_the_visitors_half():
    visit = Visit()
    visit.ask(post(10**6, b"x"))
    visit.answer(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
    visit.half_close()
    assert visit.socket.end == "closed"


def test_no_page_in_a_begun_answer():
    visit = Visit()
    visit.ask(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    visit.answer(LONG)
    visit.socket.clear()
    visit.ask(b"no size\r\n")
    assert visit.socket.value() == b""
    assert visit.socket.end == "aborted"
    assert visit.upstream.lost.check(ConnectionLost)


def test_bad_chunk_before_the_answer_gets_a_page():
    visit = Visit()
    visit.ask(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    visit.ask(b"no size\r\n")
    assert visit.statuses == [400]
    assert visit.upstream.lost.check(ConnectionLost)


def test_bad_head_behind_an_answer_gets_a_page():
    visit = Visit()
    visit.ask(GET)
    visit.answer(OK)
    visit.ask(b"no request\r\n\r\n")
    assert visit.statuses == [200, 400]
    assert visit.socket.end == "write closed"


# -- who leaves, and who closes its half ------------------------------------------------------------------


def test_half_close_behind_a_whole_request_is_passed_on_and_answered():
    visit = Visit()
    visit.ask(post(3, b"abc"))
    visit.half_close()
    assert visit.upstream.read_lost
    assert visit.upstream.received.endswith(b"abc")
    assert b"Connection: close" in visit.answer(OK)
    assert visit.socket.end == "closed"


def test_half_close_behind_several_requests_ends_the_last_alone():
    visit = Visit()
    visit.ask(GET + GET)
    visit.half_close()
    assert not visit.upstream.read_lost
    assert b"Connection" not in visit.answer(OK)
    assert visit.upstream.read_lost
    assert b"Connection: close" in visit.answer(OK)
    assert visit.statuses == [200, 200]
    assert visit.socket.end == "closed"


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
def test_half_close_between_requests_closes(sent):
    visit = Visit()
    visit.ask(GET)
    visit.answer(OK)
    visit.ask(sent)
    visit.half_close()
    assert visit.socket.end == "closed"
    assert visit.statuses == [200]


def test_half_close_in_the_middle_of_a_body_resets_the_upstream():
    visit = Visit()
    visit.ask(post(10, b"abc"))
    visit.half_close()
    assert visit.statuses == [400]
    assert visit.socket.end == "closed"
    assert visit.upstream.lost.check(ConnectionLost)


def test_half_close_is_said_again_on_a_second_stream():
    visit = Visit()
    visit.ask(GET)
    visit.answer(OK)
    visit.ask(GET)
    visit.half_close()
    visit.close()
    assert len(visit.upstreams.built) == 2
    assert visit.upstream.read_lost


def test_nothing_is_read_anew_from_a_closed_half():
    visit = Visit()
    visit.ask(GET)
    visit.half_close()
    visit.socket.reading = False  # as the reactor leaves it
    visit.answer(OK)
    assert not visit.socket.reading


@pytest.mark.parametrize("reason", [ConnectionLost, ConnectionDone])
def test_visitor_that_is_gone_leaves_a_whole_request(reason):
    visit = Visit()
    visit.pair.server_carrier.blocked = True
    visit.ask(post(50_000, b"x" * 50_000))
    visit.leave(reason)
    visit.pair.server_carrier.blocked = False
    visit.pump()
    assert visit.upstream.received.endswith(b"\r\n\r\n" + b"x" * 50_000)
    assert visit.upstream.read_lost
    assert visit.upstream.lost is None
    visit.answer(OK)
    assert visit.upstream.lost.check(ConnectionLost)  # nobody takes the answer
    assert not visit.edge.visitors


def test_request_that_was_left_is_reset_when_it_is_not_taken_in_time():
    visit = Visit()
    visit.pair.server_carrier.blocked = True  # nothing is taken
    visit.ask(post(3, b"abc"))
    visit.leave()
    visit.wait(LEAVE_WITHIN - 2)
    assert visit.pair.server.stream_count == 1
    visit.wait(3)
    assert visit.pair.server.stream_count == 0


def test_visitor_that_is_gone_in_the_middle_resets():
    visit = Visit()
    visit.ask(post(10, b"abc"))
    visit.leave()
    assert visit.upstream.lost.check(ConnectionLost)
    visit = Visit()
    visit.ask(GET)
    visit.answer(LONG)
    visit.leave()
    assert visit.upstream.lost.check(ConnectionLost)


def test_visitor_that_is_gone_between_requests_closes_the_stream():
    visit = Visit()
    visit.ask(GET)
    visit.answer(OK)
    visit.leave()
    assert visit.upstream.read_lost
    assert visit.upstream.lost is None


# -- after an upgrade -------------------------------------------------------------------------------------


def test_upgraded_connection_passes_bytes_and_half_closes():
    visit = Visit()
    visit.ask(UPGRADE)
    assert visit.answer(SWITCH + b"hello").endswith(b"\r\n\r\nhello")
    visit.ask(b"12345")
    assert visit.upstream.received.endswith(b"12345")
    visit.half_close()
    assert visit.upstream.read_lost
    assert visit.answer(b"bye").endswith(b"bye")
    assert visit.edge.visitors
    visit.upstream.transport.loseWriteConnection()
    visit.pump()
    assert visit.socket.end == "closed"
    visit.leave(ConnectionDone)
    assert visit.upstream.lost.check(ConnectionDone)
    assert not visit.edge.visitors


def test_upgraded_connection_whose_upstream_closes_first():
    visit = Visit()
    visit.ask(UPGRADE)
    visit.answer(SWITCH)
    visit.upstream.transport.loseWriteConnection()
    visit.pump()
    assert visit.socket.end == "write closed"
    visit.ask(b"last words")
    assert visit.upstream.received.endswith(b"last words")
    visit.half_close()
    assert visit.upstream.lost.check(ConnectionDone)


def test_upgraded_connection_that_breaks_is_broken_on_the_other_side():
    visit = Visit()
    visit.ask(UPGRADE)
    visit.answer(SWITCH)
    visit.ask(b"12345")
    visit.leave()
    assert visit.upstream.received.endswith(b"12345")
    assert visit.upstream.lost.check(ConnectionLost)
    visit = Visit()
    visit.ask(UPGRADE)
    visit.answer(SWITCH + b"last")
    visit.reset()
    assert visit.socket.value().endswith(b"last")
    assert visit.socket.end == "aborted"


def test_what_is_behind_an_upgrade_and_a_half_close_go_with_it():
    visit = Visit()
    visit.ask(UPGRADE + b"early")
    visit.half_close()
    visit.answer(SWITCH)
    assert visit.upstream.received.endswith(b"early")
    assert visit.upstream.read_lost


# -- how much waits ---------------------------------------------------------------------------------------


def test_reading_stops_beyond_what_may_wait():
    visit = Visit()
    visit.ask(GET, b"x" * MAX_WAITING)
    assert visit.socket.reading
    visit.ask(b"x")
    assert not visit.socket.reading
    visit.answer(OK)  # what waits is used: it is no request
    assert visit.statuses == [200, 431]


def test_reading_stops_while_the_stream_is_full():
    visit = Visit()
    visit.pair.server_carrier.blocked = True
    visit.ask(post(200_000))
    visit.ask(b"x" * 64 * 1024)
    assert visit.socket.reading
    visit.ask(b"x")
    assert not visit.socket.reading
    visit.pair.server_carrier.blocked = False
    visit.pump()
    assert visit.socket.reading


def test_pages_wait_for_a_visitor_that_does_not_read():
    """At the bound one more page is made, and none beyond it."""
    visit = Visit(own=lambda head: pages.Page(200, "page", "Page", "x" * 100))
    visit.ask(GET)
    size = len(visit.socket.value())
    visit.socket.limit = 9 * size + size // 2
    visit.ask(GET * 50)
    assert len(visit.socket.value()) == 10 * size
    assert visit.socket.reading
    visit.ask(b"x" * MAX_WAITING)
    assert not visit.socket.reading
    visit.socket.clear()
    visit.socket.producer.resumeProducing()
    assert len(visit.socket.value()) == 10 * size
    for _ in range(4):
        visit.socket.clear()
        visit.socket.producer.resumeProducing()
    assert visit.socket.reading


def test_no_request_is_begun_for_a_visitor_that_does_not_read():
    """Though each has a stream of its own, whose first bytes nothing would hold back."""
    visit = Visit()
    visit.socket.limit = 100
    visit.ask(GET * 10)
    for _ in range(3):
        visit.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 200\r\n\r\n" + b"x" * 200)
    assert len(visit.upstreams.built) == 1
    visit.socket.clear()
    visit.socket.producer.resumeProducing()
    visit.pump()
    assert len(visit.upstreams.built) == 2


# -- times ------------------------------------------------------------------------------------------------


def test_times_for_a_head_and_between_requests():
    visit = Visit()
    visit.wait(74)
    assert visit.socket.end == ""
    visit.wait(2)
    assert visit.socket.end == "closed"
    visit = Visit()
    visit.ask(b"GET / HTTP")
    visit.wait(76)
    assert visit.statuses == [408]
    assert visit.socket.end == "write closed"  # what it still sends is read, so that it reads this


def test_no_time_between_requests_passes_for_good_while_the_visitor_has_to_read():
    visit = Visit(own=lambda head: pages.Page(200, "page", "Page", "x" * 100), rate=NO_RATE)
    visit.socket.limit = 10
    visit.ask(GET)
    visit.wait(200)
    assert visit.socket.end == ""
    visit.socket.producer.resumeProducing()
    visit.wait(76)
    assert visit.socket.end == "closed"


def test_time_for_an_answer():
    visit = Visit()
    visit.ask(GET)
    visit.wait(119)
    assert visit.statuses == []
    visit.wait(2)
    assert visit.statuses == [504]
    assert visit.upstream.lost.check(ConnectionLost)


def test_upstream_that_takes_the_body_slowly_has_time():
    visit = Visit(rate=NO_RATE)
    visit.ask(post(1_000_000))
    upstream = visit.upstream
    record = upstream.dataReceived

    def read_once(data):
        record(data)
        upstream.transport.pauseProducing()

    upstream.dataReceived = read_once
    visit.ask(b"x" * 1_000_000)
    for _ in range(4):
        visit.wait(100)
        for _ in range(10):  # frames of 16 KiB: more than half of the window
            upstream.transport.resumeProducing()
            visit.pump()
    visit.wait(100)
    assert visit.statuses == []
    visit.wait(242)
    assert visit.statuses == [504]


def test_interim_answer_begins_the_time_anew():
    visit = Visit()
    visit.ask(GET)
    for _ in range(3):
        visit.wait(119)
        visit.answer(b"HTTP/1.1 102 Processing\r\n\r\n")
    visit.wait(119)
    assert 504 not in visit.statuses
    visit.wait(2)
    assert visit.statuses[-1] == 504


def test_begun_answer_has_no_time():
    visit = Visit()
    visit.ask(GET)
    visit.answer(LONG)
    visit.wait(1000)
    assert visit.socket.end == ""


def test_rest_is_flushed_while_the_visitor_takes_it(monkeypatch):
    monkeypatch.setattr(visitor, "taken", lambda transport: transport.taken)
    visit = Visit()
    visit.ask(GET.replace(b"1.1", b"1.0"))
    visit.answer(OK)
    assert visit.socket.end == "closed"
    for _ in range(5):
        visit.socket.taken += 7500
        visit.wait(75)
        assert visit.socket.end == "closed"
    visit.socket.taken += 7499
    visit.wait(76)
    assert visit.socket.end == "aborted"


def test_rest_is_flushed_for_as_long_as_it_takes_where_no_rate_is_asked_for(monkeypatch):
    monkeypatch.setattr(visitor, "taken", lambda transport: None)
    visit = Visit(rate=NO_RATE)
    visit.ask(GET.replace(b"1.1", b"1.0"))
    visit.answer(OK)
    visit.wait(1000)
    assert visit.socket.end == "closed"


@pytest.mark.parametrize(("amount", "status"), [(999, 408), (1000, 0)])
def test_slow_body(amount, status):
    """At the least rate, and one byte a window less."""
    visit = Visit()
    visit.ask(post(100_000))
    for _ in range(5):
        visit.ask(b"x" * (amount - 1), b"x")
        visit.wait(10)
    assert visit.statuses == ([status] if status else [])
    if status:
        assert visit.upstream.lost.check(ConnectionLost)


def test_slow_body_of_a_second_request_has_a_window_of_its_own():
    visit = Visit()
    visit.ask(post(1, b"x"))
    visit.answer(OK)
    visit.wait(9)
    visit.ask(post(100_000))
    visit.wait(2)
    assert visit.statuses == [200]
    visit.wait(20)
    assert visit.statuses == [200, 408]


def test_no_body_is_slow_while_the_upstream_is():
    for hold in ("expect", "full", "answered"):
        visit = Visit()
        if hold == "expect":
            visit.ask(post(100, head=b"Expect: 100-continue\r\n"))
        elif hold == "full":
            visit.pair.server_carrier.blocked = True
            visit.ask(post(10**6, b"x" * 100_000))
        else:
            visit.ask(post(100))
            visit.answer(LONG)
        visit.wait(60)
        assert 408 not in visit.statuses
        assert visit.socket.end == ""


def test_no_rate_is_asked_for():
    visit = Visit(rate=Rate(0, 10))
    visit.ask(post(100_000))
    visit.wait(100)
    assert visit.statuses == []


@pytest.mark.parametrize("after", ["answer", "upgrade"])
@pytest.mark.parametrize(("amount", "end"), [(999, "aborted"), (1000, "")])
def test_slow_reader(monkeypatch, after, amount, end):
    for module in (visitor, upgraded):
        monkeypatch.setattr(module, "taken", lambda transport: transport.taken)
    visit = Visit()
    visit.socket.limit = 1000
    if after == "answer":
        visit.ask(GET)
        visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 2000)
    else:
        visit.ask(UPGRADE)
        visit.answer(SWITCH + b"x" * 2000)
    for _ in range(5):
        visit.socket.taken += amount
        visit.wait(10)
    assert visit.socket.end == end
    if end:
        visit.leave()
        assert visit.upstream.lost.check(ConnectionLost)


def test_quiet_reader_is_not_slow(monkeypatch):
    for module in (visitor, upgraded):
        monkeypatch.setattr(module, "taken", lambda transport: transport.taken)
    for request, answer in ((GET, LONG), (UPGRADE, SWITCH)):
        visit = Visit()
        visit.socket.limit = 10
        visit.ask(request)
        visit.answer(answer)
        visit.wait(5)
        visit.socket.producer.resumeProducing()
        visit.wait(100)
        assert visit.socket.end == ""


# -- routing ----------------------------------------------------------------------------------------------


class Routed(Visit):
    """A visit whose tunnel is found later."""

    def __init__(self):
        self.found = Deferred(lambda cancelled: None)
        self.asking = None
        super().__init__(find=self.find)

    def find(self, host, asking):
        self.asking = asking
        return self.found


def test_request_waits_for_its_tunnel():
    visit = Routed()
    visit.ask(post(3), b"abc")
    assert visit.asking is not None
    assert not visit.upstreams.built
    visit.found.callback(visit.tunnel)
    visit.pump()
    assert visit.upstream.received.endswith(b"abc")


def test_body_that_waits_for_its_tunnel_is_not_slow():
    """Whole or in part: what came of it is kept. The time for the answer begins with the tunnel, too."""
    for body in (b"abc", b"ab"):
        visit = Routed()
        visit.ask(post(3, body))
        visit.wait(300)
        assert visit.statuses == []
        visit.found.callback(visit.tunnel)
        visit.pump()
        assert visit.upstream.received.endswith(body)
        visit.wait(9)
        assert visit.statuses == []
        visit.wait(120)
        assert visit.statuses == ([504] if body == b"abc" else [408])


def test_who_may_be_gone_is_told_and_who_is_gone_waits_no_more():
    visit = Routed()
    visit.ask(post(3, b"abc"))
    assert not visit.asking.may_be_gone
    visit.half_close()
    assert visit.asking.may_be_gone
    visit.found.callback(visit.tunnel)
    visit.pump()
    assert visit.upstream.received.endswith(b"abc")
    assert visit.upstream.read_lost
    visit = Routed()
    cancelled = []
    visit.found.addErrback(lambda reason: cancelled.append(reason.check(CancelledError)) or reason)
    visit.ask(GET)
    visit.leave()
    assert cancelled == [CancelledError]
    assert not visit.upstreams.built


def test_tunnel_that_is_not_found():
    visit = Routed()
    visit.ask(GET)
    visit.found.errback(NoRoute(Why.UNKNOWN))
    assert visit.statuses == [404]
    visit = Routed()
    visit.ask(GET)
    visit.half_close()
    visit.found.errback(StoreError("away"))
    assert visit.statuses == [503]
    assert visit.socket.end == "closed"


# -- the server's own -------------------------------------------------------------------------------------


class Own(Protocol):
    received, lost = b"", None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason


def test_connection_is_handed_over_with_all_that_came():
    class OwnFactory:
        built = Own()

        def buildProtocol(self, addr):
            return self.built

    visit = Visit(own=lambda head: OwnFactory())
    visit.ask(GET + b"more")
    assert visit.socket.protocol is OwnFactory.built
    assert OwnFactory.built.received.startswith(b"GET / HTTP/1.1\r\n")
    assert OwnFactory.built.received.endswith(b"\r\n\r\nmore")
    assert not visit.edge.visitors
    visit.wait(1000)
    assert visit.socket.end == ""


def test_redirect_and_draining():
    visit = Visit(redirect=lambda head: pages.Page(308, "https", "Over there", "x"))
    visit.ask(GET)
    assert visit.statuses == [308]
    assert visit.socket.end == ""
    visit.edge.draining = True
    visit.ask(GET)
    assert visit.socket.end == "closed"
    visit = Visit()
    visit.edge.draining = True
    visit.ask(GET)
    assert b"Connection: close" in visit.answer(OK)
    assert visit.socket.end == "closed"
