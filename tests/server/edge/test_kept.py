"""Tests for L{burrow.server.edge.kept}: which stream a request is sent on, and what holds what back."""

import pytest
from twisted.internet.task import Clock

from burrow.errors import StreamGone
from burrow.server.edge.flow import Answering, Reading
from burrow.server.edge.kept import LEAVE_WITHIN, KeptStream
from burrow.server.edge.sweep import Sweep
from tests.server.edge.edges import Wire
from tests.server.edge.test_exchange import Route

ADDRESS = ("203.0.113.7:4711", "https")


class Visitor:
    """A visitor's connection that may be paused."""

    connected = True
    ended = False
    waiting_bytes = 0

    def __init__(self):
        self.transport = Wire(None)
        self.full = 0

    def visitor_full(self):
        self.full += 1

    def visitor_reads(self):
        pass


class Answered:
    """Takes an answer."""

    def answer_head(self, head):
        pass

    def answer_end(self, trailers):
        pass


@pytest.fixture
def kept():
    clock = Clock()
    sweep = Sweep(clock)
    sweep.start()
    visitor = Visitor()
    made = KeptStream(sweep, Reading(visitor), Answering(visitor))
    made.clock, made.visitor = clock, visitor
    return made


def test_one_stream_for_all_requests_to_a_route(kept):
    route, other = Route(), Route()
    assert kept.route is None
    first = kept.to(route, ADDRESS)
    assert kept.to(route, ADDRESS) is first
    assert kept.route is route
    kept.to(other, ADDRESS)
    assert route.streams[0].disconnecting
    assert (len(route.streams), len(other.streams)) == (1, 1)
    assert kept.route is other


def test_a_stream_that_is_not_usable_is_replaced(kept):
    route = Route()
    kept.to(route, ADDRESS).ends = True
    kept.to(route, ADDRESS)
    assert len(route.streams) == 2
    assert route.streams[0].disconnecting


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_whose_request_is_not_over_is_replaced(kept, whole):
    """Else the next request is taken for the rest of a body, or gets another's answer."""
    route = Route()
    responses = kept.to(route, ADDRESS)
    responses.expect(Answered(), b"GET", whole=whole)
    if not whole:
        responses.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    kept.to(route, ADDRESS)
    assert len(route.streams) == 2
    assert route.streams[0].aborted


def test_no_stream_can_be_opened(kept):
    route = Route()
    kept.to(route, ADDRESS)
    gone = Route()
    gone.gone = True
    with pytest.raises(StreamGone):
        kept.to(gone, ADDRESS)
    assert kept.responses is kept.route is None
    assert route.streams[0].disconnecting


@pytest.mark.parametrize("end", ["lost", "dropped"])
def test_the_visitor_is_read_again_when_a_full_stream_ends(kept, end):
    route = Route()
    kept.to(route, ADDRESS)
    (stream,) = route.streams
    stream.producer.pauseProducing()
    assert kept.visitor.transport.producerState == "paused"
    if end == "lost":
        stream.producer = None  # what it does itself is not what is tested
        stream.protocol.connectionLost()
    else:
        kept.drop()
    assert kept.visitor.transport.producerState == "producing"
    assert kept.responses is kept.route is None


def test_a_request_that_was_left_has_a_time(kept):
    responses = kept.to(Route(), ADDRESS)
    responses.expect(object(), b"GET", whole=True)
    responses.transport.loseConnection = lambda: None  # some of the request is not sent yet
    kept.drop(left=True)
    assert responses.deadline == LEAVE_WITHIN
    kept.clock.advance(LEAVE_WITHIN + 1)
    assert responses.transport.aborted
