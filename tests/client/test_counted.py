"""Tests for L{burrow.client.counted}: what kinds count is told when it has changed."""

from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from burrow.client.counted import EVERY, CountsTold, counted_by, sentences
from burrow.protocols.kind import TunnelKind


class Words(TunnelKind):
    name = "words"
    summary = "counts words"


class Letters(TunnelKind):
    name = "letters"
    summary = "counts letters"


@pytest.fixture
def agent():
    """An agent with two tunnels of kind words, and one of kind letters. C{kinds}: both."""
    kinds = Words(), Letters()
    wanted = [SimpleNamespace(request=SimpleNamespace(kind=kind)) for kind in (kinds[0], *kinds)]
    return SimpleNamespace(reactor=Clock(), wanted=SimpleNamespace(all=wanted), kinds=kinds)


@pytest.fixture
def told(agent):
    found = []
    telling = CountsTold(agent, lambda kind, counts: found.append((kind, counts)))
    telling.start()
    return found, telling


def test_each_kind_has_its_counts_once_in_the_order_of_names(agent):
    assert counted_by(agent) == {}
    agent.kinds[0].counts.update(long_ones=1234, short=2)
    agent.kinds[1].counts["all"] += 3
    assert list(counted_by(agent).items()) == [
        ("letters", {"all": 3}),
        ("words", {"long_ones": 1234, "short": 2}),
    ]
    assert sentences(counted_by(agent)) == ["letters: 3 all", "words: 1,234 long ones, 2 short"]


def test_what_has_changed_is_told_after_a_while_and_nothing_else(agent, told):
    found, _ = told
    agent.reactor.advance(EVERY)
    assert found == []
    agent.kinds[0].counts["short"] += 1
    agent.kinds[0].counts["short"] += 1
    assert found == []
    agent.reactor.advance(EVERY)
    assert found == [("words", {"short": 2})]
    agent.kinds[1].counts["all"] += 1
    agent.reactor.pump([EVERY] * 3)
    assert found[1:] == [("letters", {"all": 1})]


def test_the_last_counts_are_told_at_the_end(agent, told):
    found, telling = told
    agent.kinds[0].counts["short"] += 1
    telling.stop()
    telling.stop()
    assert found == [("words", {"short": 1})]
    assert agent.reactor.getDelayedCalls() == []
