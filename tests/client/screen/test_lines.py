"""Tests for L{burrow.client.screen.lines}."""

import json
import time

import pytest

from burrow.client.screen.lines import HumanLines, JsonLines
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
