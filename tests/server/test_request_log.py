"""Tests for L{burrow.server.request_log}: one line a request, whatever is in it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from burrow.server import request_log
from burrow.server.request_log import RequestLog, human_line, json_line, without_secrets
from burrow.traffic.record import Record

HOSTILE = "a\r\nb\x1b[2J\x00\u2028\u202e\x85<script>\"'\\é"


def record(**fields):
    fields = {"method": "GET", "target": "/a", "host": "t.example.com", "status": 200, "took": 0.5, **fields}
    return Record("http", "t", "192.0.2.1:5000", **fields)


def test_json_has_its_keys():
    line = json.loads(
        json_line(
            record(
                began=1.25,
                first_byte=0.25,
                received=3,
                sent=5,
                request_id="r1",
                request_headers=[(b"User-Agent", b"curl/8"), (b"Cookie", b"top-secret")],
            )
        )
    )
    assert line == {
        "time": "1970-01-01T00:00:01.750Z",
        "level": "info",
        "event": "request",
        "tunnel": "t",
        "protocol": "http",
        "visitor": "192.0.2.1:5000",
        "host": "t.example.com",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "ms": 500.0,
        "first_byte_ms": 250.0,
        "received": 3,
        "sent": 5,
        "request_id": "r1",
        "user_agent": "curl/8",
        "error": "",
    }


@pytest.mark.parametrize("name", ["tunnel", "target", "host", "method", "request_id", "error", "visitor"])
def test_nobody_writes_lines_of_their_own(name):
    one = record()
    setattr(one, name, HOSTILE)
    assert json.loads(json_line(one))[{"target": "path"}.get(name, name)] == HOSTILE
    for line in (json_line(one), human_line(one)):
        assert line.isprintable()


@given(st.text(), st.binary())
def test_any_target_and_agent(target, agent):
    one = record(target=target, request_headers=[(b"user-agent", agent)])
    assert json.loads(json_line(one))["path"] == without_secrets(target)
    assert human_line(one).isprintable()


def test_human_line():
    line = human_line(record(received=1, sent=2, request_id="r1", error="it broke"))
    _, _, rest = line.partition(" info  ")
    assert rest == "192.0.2.1:5000 GET t.example.com/a 200 500.0 ms 1/2 B t r1 (it broke)"
    line = human_line(Record("tcp", "db", "192.0.2.1:5000", took=2.0, received=7))
    assert line.endswith(" info  192.0.2.1:5000 tcp - 2000.0 ms 7/0 B db")


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a", "/a"),
        ("/token=x", "/token=x"),
        ("/a?b=c", "/a?b=c"),
        ("/a?token=x", "/a?token=***"),
        ("/a?b=c&Access_Token=x&d=e", "/a?b=c&Access_Token=***&d=e"),
        ("/a?api_key=x;password=y", "/a?api_key=***;password=***"),
        ("/cb?code=x&state=y", "/cb?code=***&state=y"),
        ("/a?%74oken=x&t%4Fken=y&toke=z", "/a?%74oken=***&t%4Fken=***&toke=z"),
        ("/a?" + "key" * 5000, "/a?" + "key" * 5000),
        ("/a?X-Amz-Signature=0&Key-Pair-Id=1", "/a?X-Amz-Signature=***&Key-Pair-Id=***"),
    ],
)
def test_secrets_of_a_query_are_masked(target, shown):
    assert without_secrets(target) == shown


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_lines_are_logged_together(logged):
    clock = Clock()
    log = RequestLog(clock, "human")
    for number in range(3):
        log.ended(record(target=f"/{number}"))
    assert logged == []
    clock.advance(request_log.EVERY)
    (event,) = logged
    assert [line.split("t.example.com/")[1][0] for line in event["lines"]] == ["0", "1", "2"]
    clock.advance(1)
    log.ended(record())
    log.flush()
    assert len(logged) == 2
    assert clock.getDelayedCalls() == []


def test_lines_that_wait_are_bounded(logged, monkeypatch):
    monkeypatch.setattr(request_log, "MAX_LINES", 10)
    clock = Clock()
    log = RequestLog(clock, "json")
    for _ in range(25):
        log.ended(record())
    clock.advance(1)
    assert [len(event["lines"]) for event in logged if "lines" in event] == [10]
    assert [event["count"] for event in logged if "count" in event] == [15]
