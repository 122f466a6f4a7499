"""Tests for L{burrow.client.screen.lines} and L{burrow.client.screen.output}."""

import json
import os
import threading
import time

import pytest
from twisted.internet.task import Clock

from burrow.client.screen import output
from burrow.client.screen.lines import HumanLines, JsonLines
from burrow.client.screen.output import EVERY, MAX_WAITING, LineOutput
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record


def ended(listener, error="", **fields):
    """Tell a request that is over."""
    traffic = Traffic()
    traffic.add(listener)
    given = {"method": "GET", "target": "/a?b=c", "status": 200, "request_id": "r1", "id": "7", **fields}
    record = Record(given.pop("protocol", "http"), "blog", "203.0.113.9:5", _clock=lambda: 100.0, **given)
    record.sent, record.received = 4096, 12
    record._started = 100.0 - 0.01234
    traffic.begun(record)
    traffic.ended(record, error)


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("error", "fields", "line"),
    [
        ("", {}, "GET /a?b=c 200 12.3 ms 4096 bytes"),
        ("it was reset", {"status": None}, "GET /a?b=c - 12.3 ms 4096 bytes: it was reset"),
        (
            "",
            {"protocol": "tcp", "method": "", "target": "", "status": None},
            "tcp 203.0.113.9:5 - 12.3 ms 4096 bytes",
        ),
        ("", {"target": "/\x1b[2J\nx"}, "GET /\\x1b[2J\\nx 200 12.3 ms 4096 bytes"),
    ],
)
def test_lines_for_people(utc, error, fields, line):
    lines = []
    ended(HumanLines(lines.append, now=lambda: 1_795_000_000.5), error, **fields)
    assert lines == [f"2026-11-18T11:06:40+0000 {line}"]


def test_time_goes_on(utc):
    lines, now = [], [1_795_000_000.0]
    listener = HumanLines(lines.append, now=lambda: now[0])
    for now[0] in (1_795_000_000.0, 1_795_000_000.9, 1_795_000_001.0):
        ended(listener)
    assert [line.split("+")[0][-2:] for line in lines] == ["40", "40", "41"]


@pytest.mark.parametrize("error", ["", 'it said "no"'])
@pytest.mark.parametrize("status", [204, None])
def test_events_for_programs(error, status):
    lines = []
    ended(JsonLines(lines.append), error, status=status, target='/"\\\n\u2028\x1b<é')
    (line,) = lines
    assert line.isascii()
    assert json.loads(line) == {
        "event": "request",
        "tunnel": "blog",
        "id": "7",
        "request_id": "r1",
        "protocol": "http",
        "method": "GET",
        "path": '/"\\\n\u2028\x1b<é',
        "status": status,
        "ms": 12.3,
        "received": 12,
        "sent": 4096,
        "visitor": "203.0.113.9:5",
        **({"error": error} if error else {}),
    }


class Reactor(Clock):
    """Collects what a thread asks for."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.come = threading.Event()

    def callFromThread(self, call, *arguments):
        self.asked.append((call, arguments))
        self.come.set()


class Pipe:
    """Lines to a pipe that is read here."""

    def __init__(self):
        self.reactor = Reactor()
        self.broken = []
        self.reader, self.writer = os.pipe()
        self.output = LineOutput(
            self.reactor, lambda count: f"{count} left out", self.broken.append, self.writer
        )

    def write(self, *lines):
        for line in lines:
            self.output.write(line)

    def advance(self):
        self.reactor.advance(EVERY)

    def read(self):
        """Bytes that are there; waits for the first."""
        return os.read(self.reader, 1 << 22).decode()

    def close(self):
        self.output.close()
        for number in (self.reader, self.writer):
            os.close(number)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    if pipe.writer:
        pipe.close()


def test_lines_come_in_batches(pipe):
    pipe.write("one", "two")
    assert not pipe.output._handed
    pipe.advance()
    assert pipe.read() == "one\ntwo\n"
    pipe.output._idle.wait(10)
    pipe.write("thrée", "\ud800")
    pipe.advance()
    assert pipe.read() == "thrée\n\\ud800\n"


def test_who_does_not_read_delays_nobody_and_is_told_what_is_missing(pipe, monkeypatch):
    monkeypatch.setattr(output, "LAST", 0.01)
    line = "x" * 999
    pipe.write(*[line] * 200)  # more than the pipe takes
    pipe.advance()
    pipe.advance()
    pipe.write(*[line] * (MAX_WAITING // len(line) + 50))
    for _ in range(5):
        pipe.advance()
    assert pipe.output._size <= MAX_WAITING
    seen = ""
    while "left out" not in seen:
        seen += pipe.read()
        pipe.output._idle.wait(0.01)
        pipe.advance()
    lines = seen.splitlines()
    assert lines[-1] == "50 left out"
    assert len(lines) == 200 + MAX_WAITING // len(line) + 1


def test_the_last_lines_are_written(pipe):
    pipe.write("one")
    pipe.advance()
    pipe.write("last")
    pipe.output.close()
    pipe.output.close()
    os.close(pipe.writer)
    pipe.writer = 0
    with open(pipe.reader, encoding="utf-8") as file:
        assert file.read() == "one\nlast\n"
    pipe.write("too late")
    assert pipe.reactor.getDelayedCalls() == []


def test_at_the_end_who_does_not_read_is_not_waited_for(pipe, monkeypatch):
    monkeypatch.setattr(output, "LAST", 0.01)
    pipe.write(*["x" * 999] * 200)
    pipe.advance()
    pipe.write("last")
    pipe.output.close()
    assert pipe.reactor.getDelayedCalls() == []


def test_a_broken_pipe_is_told_once(pipe):
    os.close(pipe.reader)
    pipe.reader = os.open(os.devnull, os.O_RDONLY)
    pipe.write("one")
    pipe.advance()
    assert pipe.reactor.come.wait(10)
    (call, arguments), *others = pipe.reactor.asked
    assert not others
    call(*arguments)
    assert [type(error) for error in pipe.broken] == [BrokenPipeError]
    pipe.write("two")
    assert pipe.reactor.getDelayedCalls() == []
