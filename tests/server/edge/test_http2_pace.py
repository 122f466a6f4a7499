"""Tests for L{burrow.server.edge.http2_pace}: answers on a slow line, by a clock of our own."""

import pytest
from h2.events import DataReceived, StreamReset

from burrow.server.edge import http2
from burrow.server.edge.pace import Rate
from burrow.sockets import Way
from tests.server.edge.edges import Exchange
from tests.server.edge.http2_visitors import Connection

STREAMS = range(1, 41, 2)
SIZE = 100_000
LONG = 5_000_000
WINDOW = 65_535


class Line(Connection):
    """
    A visitor of 20 answers behind a line that brings it C{speed} bytes a second, of which the server's system
    has as many as it likes. It has to take 100 bytes a second, over 60 seconds.

    @param wants: the streams whose windows the visitor opens as it takes their answers.
    @param first: the size of the first answer.
    """

    def __init__(self, monkeypatch, speed, wants=STREAMS, first=SIZE):
        edge = Exchange()
        edge.edge.rate = Rate(100, 60)
        self.sent, self.taken, self.queue = 0, 0, bytearray()
        self.speed, self.wants = 1 << 40, wants
        monkeypatch.setattr(http2, "way", lambda transport: Way(self.taken, self.sent))
        monkeypatch.setattr(http2, "taken", lambda transport: self.taken)
        super().__init__(edge)
        self.client.increment_flow_control_window(1 << 30)
        self.second()
        for stream in STREAMS:
            self.ask(stream)
            self.second()
        self.speed = speed
        for stream, size in zip(self.edge.streams, [first, *[SIZE] * len(STREAMS)], strict=False):
            stream.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(SIZE // 5000):
            for stream in self.edge.streams:
                stream.protocol.dataReceived(bytes(5000))
        self.edge.streams[0].protocol.dataReceived(bytes(first - SIZE))

    def pump(self):
        """The visitor's frames are there at once."""
        if data := self.client.data_to_send():
            self.protocol.dataReceived(data)
        return []

    def second(self):
        back = self.wire.value()
        self.wire.clear()
        self.sent += len(back)
        self.queue += back
        came = bytes(self.queue[: self.speed])
        del self.queue[: len(came)]
        self.taken += len(came)
        for event in self.client.receive_data(came):
            self.events.append(event)
            if isinstance(event, DataReceived) and event.stream_id in self.wants:
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if not self.wire.aborted:
            self.pump()
        self.edge.edge.sweep.clock.advance(1)
        self.edge.edge.sweep._check()

    def wait(self, seconds):
        for _ in range(seconds):
            self.second()

    @property
    def reset(self):
        return {event.stream_id for event in self.events if isinstance(event, StreamReset)}


@pytest.mark.parametrize("speed", [5_000, 10_000])
def test_slow_line_that_many_answers_share(monkeypatch, speed):
    line = Line(monkeypatch, speed)
    line.wait(60)
    assert line.protocol._moved == len(STREAMS) * WINDOW  # the first window of each is under way still
    line.wait(len(STREAMS) * SIZE // speed - 50)
    assert [len(line.body(stream)) for stream in STREAMS] == [SIZE] * len(STREAMS)
    assert line.reset == set()
    assert not line.wire.aborted


def test_what_is_under_way_when_the_connection_closes_goes_out(monkeypatch):
    line = Line(monkeypatch, 7_000)
    line.wait(300)
    assert [len(line.body(stream)) for stream in STREAMS] == [SIZE] * len(STREAMS)
    assert line.wire.disconnecting
    assert not line.wire.aborted
    line.wait(150)
    assert line.wire.aborted  # for the visitor does not close its half


def test_without_word_of_what_is_under_way_it_counts_as_taken(monkeypatch):
    line = Line(monkeypatch, 5_000)
    monkeypatch.setattr(http2, "way", lambda transport: None)
    line.wait(130)
    assert line.wire.aborted


def test_answers_that_are_not_taken_do_not_hide_behind_one_that_is(monkeypatch):
    line = Line(monkeypatch, 10_000, wants={1}, first=LONG)
    line.wait(len(STREAMS) * WINDOW // 10_000)
    assert line.reset == set()
    line.wait(130)
    assert line.reset == set(STREAMS) - {1}
    assert len(line.body(1)) > 500_000
    assert not line.wire.aborted


@pytest.mark.parametrize(("speed", "lost"), [(1900, set(STREAMS)), (2100, set())])
def test_line_has_to_bring_the_least_rate_of_each(monkeypatch, speed, lost):
    line = Line(monkeypatch, speed)
    line.wait(190)
    assert {stream for stream in STREAMS if stream not in line.protocol._streams} == lost
    assert not line.wire.aborted


def test_line_that_brings_nothing(monkeypatch):
    line = Line(monkeypatch, 90)
    line.wait(130)
    assert line.wire.aborted
