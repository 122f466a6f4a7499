"""Tests for L{burrow.server.edge.http2_bodies}: bodies that come slowly, by a clock of our own."""

from types import SimpleNamespace

import pytest
from h2.errors import ErrorCodes
from h2.events import InformationalResponseReceived, ResponseReceived, StreamReset

from burrow.policy.base import Policy
from burrow.protocols.visits import Policies
from burrow.server.edge import http2
from burrow.server.edge.pace import Rate
from burrow.sockets import Way
from tests.server.edge.edges import Exchange
from tests.server.edge.http2_visitors import OK, Connection

LEAST = 1000
"""Bytes of a window."""


class Sender(Connection):
    """A visitor that has to send 100 bytes a second over 10 seconds. Its bodies have no end."""

    def __init__(self, monkeypatch, **settings):
        edge = Exchange()
        edge.edge.rate = Rate(LEAST / 10, 10)
        self.taken = 0
        monkeypatch.setattr(http2, "taken", lambda transport: self.taken)
        super().__init__(edge, **settings)

    def post(self, *streams, fields=()):
        for stream in streams:
            self.ask(stream, b"POST", b"/", *fields, end=False)

    def send(self, stream, size):
        self.client.send_data(stream, bytes(size))

    def wait(self, **sizes):
        """A window passes. @param sizes: what is sent of which stream's body (s1=...)."""
        for stream, size in sizes.items():
            if not self.answered(int(stream[1:])):
                self.send(int(stream[1:]), size)
        self.pump()
        self.tick()

    def tick(self):
        self.edge.edge.sweep.clock.advance(11)
        self.edge.edge.sweep._check()
        self.pump()

    def answered(self, stream):
        return [int(dict(event.headers)[b":status"]) for event in self.of(ResponseReceived, stream)]


def test_body_that_does_not_come_is_answered_and_leaves_the_others_alone(monkeypatch):
    one = Sender(monkeypatch)
    one.ask(1)
    one.post(3)
    one.wait()
    one.wait()
    assert one.answered(3) == [408]
    assert [stream.aborted for stream in one.edge.streams] == [False, True]
    one.answer(OK, 0)
    assert one.body(1) == b"ok"
    assert not one.wire.aborted
    one.edge.edge.sweep.clock.advance(3)
    one.edge.edge.sweep._check()
    one.pump()
    assert [event.error_code for event in one.of(StreamReset, 3)] == [ErrorCodes.NO_ERROR]


@pytest.mark.parametrize("trickle", [1, LEAST - 1])
def test_bodies_that_do_not_come_do_not_hide_behind_one_that_does(monkeypatch, trickle):
    one = Sender(monkeypatch)
    one.post(1, 3, 5)
    for _ in range(3):
        one.wait(s1=LEAST, s3=trickle, s5=1)
    assert [one.answered(stream) for stream in (1, 3, 5)] == [[], [408], [408]]
    assert [stream.aborted for stream in one.edge.streams] == [False, True, True]
    one.wait(s1=LEAST)
    assert one.answered(1) == []


@pytest.mark.parametrize(("size", "lost"), [(3 * LEAST - 1, True), (3 * LEAST, False)])
def test_line_that_brings_one_body_after_the_other(monkeypatch, size, lost):
    """It has to bring what three connections would have to."""
    one = Sender(monkeypatch)
    one.post(1, 3, 5)
    for _ in range(3):
        one.wait(s1=size)
    assert [one.answered(stream) for stream in (1, 3, 5)] == [[], [408] * lost, [408] * lost]


def test_body_has_a_window_of_its_own(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1)
    one.wait(s1=LEAST)
    one.post(3)
    one.wait(s1=LEAST)  # it began within this one
    assert one.answered(3) == []
    one.wait(s1=LEAST)
    assert one.answered(3) == [408]


def test_bodies_that_have_come_count_for_those_that_come_later(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1, 3)
    one.client.send_data(1, bytes(2 * LEAST), end_stream=True)
    one.wait()
    one.answer(OK, 0)
    one.wait(s3=LEAST)
    assert one.answered(3) == []


def test_body_that_the_tunnel_does_not_take_is_not_slow(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1, 3)
    lane = one.edge.streams[0].producer
    lane.pauseProducing()
    one.send(1, 10)
    for _ in range(3):
        one.wait(s3=LEAST)
    assert one.answered(1) == []
    lane.resumeProducing()
    for _ in range(2):
        one.wait(s3=LEAST)
    assert one.answered(1) == [408]


def test_body_is_watched_again_once_the_tunnel_takes_it(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1)
    lane = one.edge.streams[0].producer
    lane.pauseProducing()
    one.send(1, 10)
    one.wait()
    one.wait()
    assert one.protocol._sends.deadline is None
    lane.resumeProducing()
    one.wait()
    one.wait()
    assert one.answered(1) == [408]


def test_bodies_that_others_leave_no_window_are_not_slow(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1, 3, 5, 7, 9)
    for number in range(4):
        one.edge.streams[number].producer.pauseProducing()
    for stream in (1, 3, 5, 7):
        while size := min(16384, one.client.local_flow_control_window(stream)):
            one.send(stream, size)
    assert one.client.local_flow_control_window(9) == 0
    for _ in range(3):
        one.wait()
    assert one.answered(9) == []
    for number in range(4):
        one.edge.streams[number].producer.resumeProducing()
    for _ in range(2):
        one.wait()
    assert one.answered(9) == [408]


@pytest.mark.parametrize(
    ("takes", "tells", "lost"),
    [(2 * LEAST, True, False), (2 * LEAST - 1, True, True), (LEAST, False, False)],
)
def test_while_nothing_is_read_the_visitor_has_to_take_as_much(monkeypatch, takes, tells, lost):
    one = Sender(monkeypatch)
    monkeypatch.setattr(http2, "way", lambda transport: Way(one.taken, 1 << 20))
    if not tells:
        monkeypatch.setattr(http2, "taken", lambda transport: None)
    one.post(1, 3)
    one.protocol.pauseProducing()
    for _ in range(2):
        one.taken += takes
        one.tick()
    assert not one.wire.aborted
    one.protocol.resumeProducing()
    one.pump()
    assert [one.answered(stream) for stream in (1, 3)] == [[408] * lost] * 2
    if not lost:
        one.wait()
        one.wait()
        assert [one.answered(stream) for stream in (1, 3)] == [[408]] * 2


def test_body_that_expects_a_word_of_the_upstream_first(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1)
    one.post(3, fields=[(b"expect", b"100-continue")])
    for _ in range(2):
        one.wait(s1=LEAST)
    assert one.answered(3) == []
    one.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    one.send(3, 1)
    for _ in range(2):
        one.wait(s1=LEAST)
    assert one.answered(3) == [408]


def test_visitor_that_does_not_take_the_page_gets_no_second_one(monkeypatch):
    one = Sender(monkeypatch, _4=0)
    one.post(1)
    one.wait()
    assert one.answered(1) == [408]
    (waiting,) = one.protocol._waiting.values()
    assert not waiting.awaits_body


def test_body_that_a_rule_reads_has_to_come_too(monkeypatch):
    one = Sender(monkeypatch)
    rule = SimpleNamespace(visit=lambda visit: visit.read_body(100).addCallback(lambda body: None))
    one.edge.policies = Policies(Policy([rule]), None)
    one.post(1, fields=[(b"expect", b"100-continue")])
    assert one.of(InformationalResponseReceived)
    one.wait()
    one.wait()
    assert one.answered(1) == [408]
    assert one.edge.streams == []


def test_visitor_whose_answer_has_begun_need_send_no_more(monkeypatch):
    one = Sender(monkeypatch)
    one.post(1)
    one.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nbegun")
    for _ in range(3):
        one.wait()
    assert one.of(StreamReset) == []
    assert not one.wire.aborted


def test_body_that_comes_behind_the_page_for_its_slowness_takes_no_room(monkeypatch):
    class Rule:
        def visit(self, visit):
            return visit.read_body(100_000).addCallback(lambda body: None)

    one = Sender(monkeypatch, _4=0)  # the page has to wait
    one.edge.policies = Policies(Policy([Rule()]), None)
    one.post(1)
    one.send(1, 10)
    one.pump()
    assert one.edge.edge.gathered.used == 10
    one.tick()
    assert one.status() == 408
    one.send(1, 16_000)
    one.pump()
    assert one.edge.edge.gathered.used == 0
    one.client.increment_flow_control_window(100_000, 1)
    one.pump()
    assert one.body()
    assert one.edge.edge.gathered.used == 0
