"""Tests for L{burrow.server.edge.visitor}: its states. What it does in each is in test_http1.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from burrow.server.edge.visitor import NEXT, OPEN, State
from tests.server.edge.test_http1 import GET, LONG, OK, SWITCH, UPGRADE, Visit, post

LAST = {State.HANDED, State.GONE}


def test_every_state_is_in_the_table_and_can_be_reached():
    assert set(NEXT) == set(State)
    reached, new = set(), {State.IDLE}
    while new:
        reached |= new
        new = {after for state in new for after in NEXT[state]} - reached
    assert reached == set(State)


def test_every_connection_ends():
    """Nothing follows the last states, and no state that ends leads back to one in which bytes are used."""
    for state in State:
        if state in LAST:
            assert NEXT[state] == ()
        else:
            assert State.GONE in NEXT[state]
        if state not in OPEN:
            assert not set(NEXT[state]) & {*OPEN, State.HANDED}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("after", State)
def test_a_change_that_the_table_does_not_have_is_an_error(state, after):
    visitor = Visit().socket.protocol
    visitor.state = state
    if after in NEXT[state]:
        visitor._enter(after)
        assert visitor.state is after
    else:
        with pytest.raises(RuntimeError):
            visitor._enter(after)
        assert visitor.state is state


def test_what_a_server_that_stops_asks_and_does():
    visit = Visit()
    visitor = visit.socket.protocol
    assert visitor in visit.edge.visitors
    assert not visitor.asked
    assert not visitor.running
    assert visitor.tunnel is None
    visit.ask(GET[:9])
    assert visitor.running  # a request has begun
    visit.ask(GET[9:])
    assert visitor.asked
    assert visitor.running
    assert visitor.tunnel is visit.tunnel
    visit.answer(OK)
    assert not visitor.running
    visitor.finish()
    assert visitor.tunnel is None
    assert visit.socket.end == ""
    visitor.end()
    assert visit.socket.end == "closed"
    assert visitor.running  # until the connection is lost


def test_an_event_stream_runs_while_it_is_not_idle(monkeypatch):
    visit = Visit()
    visitor = visit.socket.protocol
    visit.ask(GET)
    visit.answer(EVENTS)
    for idle in (False, True):
        monkeypatch.setattr("burrow.server.edge.visitor.idle", lambda transport, idle=idle: idle)
        assert visitor.running is not idle
    visitor.finish()
    assert visit.socket.end == "closed"


CHUNKED = b"POST / HTTP/1.1\r\nHost: t.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent"
asked = st.sampled_from(
    [
        GET,
        GET + GET,
        GET[:9],
        post(3, b"ab"),
        post(0),
        CHUNKED,
        b"1\r\na\r\n0\r\n\r\n",
        b"no size\r\n",
        UPGRADE,
    ]
)
answered = st.sampled_from([OK, LONG, EVENTS, SWITCH, b"x" * 95, b"HTTP/1.1 100 Continue\r\n\r\n", b"no\r\n"])
visitors = st.sampled_from(["half_close", "leave", "full", "read", "finish", "end_idle"])
upstreams = st.sampled_from(["reset", "close", "die"])
steps = st.one_of(
    st.tuples(st.just("ask"), asked),
    st.tuples(st.just("answer"), answered),
    st.tuples(st.just("wait"), st.sampled_from([1, 4, 11, 80, 130])),
    st.tuples(visitors),
    st.tuples(upstreams),
)


def take(visit, name, *argument):
    """One step of those who are around a visitor's connection; some can only be taken at some times."""
    visitor, producer = visit.socket.protocol, visit.socket.producer
    if name in ("full", "read"):
        if producer is not None:
            producer.pauseProducing() if name == "full" else producer.resumeProducing()
    elif name in ("finish", "end_idle"):
        if not visitor.running:
            visitor.end() if name == "finish" else visitor.finish()
    elif name == "die":
        visit.tunnel.alive = False
    elif not (
        (name in ("answer", "reset", "close") and not visit.upstreams.built)
        or (name in ("ask", "half_close") and visitor.ended)
    ):
        getattr(visit, name)(*argument)
    visit.pump()


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=12))
def test_whatever_happens_the_table_allows_it(many):
    failures = []
    watch = failures_into(failures)
    globalLogPublisher.addObserver(watch)
    try:
        visit = Visit()
        visitor = visit.socket.protocol
        for name, *argument in many:
            take(visit, name, *argument)
            if visitor.state in LAST:
                break
        if visitor.state not in LAST:
            visit.leave()
    finally:
        globalLogPublisher.removeObserver(watch)
    assert visitor.state in LAST
    assert visitor not in visit.edge.visitors
    assert visitor.deadline is None
    assert failures == []


def failures_into(found):
    """An observer that collects what is logged as failed: mux and the sweep outlive exceptions."""
    return lambda event: found.append(event["log_failure"]) if "log_failure" in event else None
