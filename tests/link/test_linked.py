"""Tests for L{burrow.link.linked}: an agent's session, its troubles and its good-bye."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from burrow.link.linked import Linked
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.testing import MemoryCarrier, SessionPair


@pytest.fixture
def pair():
    return SessionPair()


@pytest.fixture
def linked(pair):
    return Linked(pair.agent, None, "session")


def test_session_that_cannot_be_resumed(pair, linked):
    assert not linked.resumable
    assert linked.attached
    pair.agent.abort()
    pair.pump()
    assert not linked.resumable
    assert not linked.attached


def test_session_that_outlives_its_connection(pair):
    session = Session(pair.clock, client=True)
    lifeline = Lifeline(pair.clock, session, grace=10.0)
    linked = Linked(session, lifeline, "session")
    trouble = linked.trouble()
    assert linked.resumable is lifeline
    assert not linked.attached
    carrier = MemoryCarrier(lifeline)
    lifeline.attach_carrier(carrier, 0)
    assert linked.attached
    assert not trouble.called
    carrier.lose()
    assert trouble.called
    assert linked.resumable is lifeline
    assert not linked.attached
    trouble = linked.trouble()
    pair.clock.advance(10)
    assert trouble.called
    assert not linked.resumable


def test_server_that_goes_away_is_trouble_and_to_be_left(pair, linked):
    trouble = linked.trouble()
    assert not linked.leaving
    pair.server.go_away()
    pair.pump()
    assert linked.leaving is True
    assert trouble.called


def test_lost_session_is_trouble(pair, linked):
    trouble = linked.trouble()
    pair.server.abort()
    pair.pump()
    assert trouble.called
    assert not linked.leaving


def test_one_that_waits_may_have_another_wait_no_longer(linked):
    told = []
    first, second = linked.trouble(), linked.trouble()
    first.addCallback(lambda _: second.cancel())
    second.addErrback(told.append)
    linked.report_trouble()
    assert first.called
    assert len(told) == 1  # and was not told a second time
    linked.report_trouble()


def goodbye(linked, clock):
    done = []
    Deferred.fromCoroutine(linked.say_goodbye(clock, "enough")).addCallback(done.append)
    return done


def test_goodbye_that_the_server_hears(pair, linked):
    done = goodbye(linked, pair.clock)
    assert not done
    pair.pump()
    assert done
    assert pair.agent.lost
    assert pair.server_carrier.peer_code == 1000
    assert goodbye(linked, pair.clock)  # it is over: there is nothing to wait for
    assert not pair.clock.getDelayedCalls()


def test_goodbye_that_the_server_does_not_hear(pair, linked):
    pair.agent_carrier.blocked = pair.server_carrier.blocked = True
    done = goodbye(linked, pair.clock)
    pair.clock.advance(0.9)
    pair.pump()
    assert not done
    pair.clock.advance(0.1)
    assert done
    pair.pump()
    assert pair.agent.lost


def test_session_that_is_lost_after_its_goodbye_timed_out_tells_nobody_twice(pair, linked):
    done = goodbye(linked, pair.clock)
    pair.clock.advance(1)
    pair.agent.carrier_lost(Failure(ConnectionLost("late")))
    assert len(done) == 1
