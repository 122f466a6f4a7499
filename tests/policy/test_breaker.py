"""Tests for L{burrow.policy.breaker}."""

import pytest
from twisted.internet.task import Clock

from burrow.policy.breaker import CircuitBreaker, parse_break
from tests.policy.test_fields import visit


class Circuit:
    def __init__(self, text="2/30s"):
        self.clock = Clock()
        self.rule = CircuitBreaker(parse_break(text), self.clock.seconds)

    def ask(self):
        """A request. Returns what tells its end, or the answer that it got here."""
        one = visit()
        answer = self.rule.visit(one)
        return one.on_end[0] if answer is None else answer


def test_circuit_opens_tries_and_closes():
    circuit = Circuit()
    circuit.ask()(502)
    circuit.ask()(200)
    circuit.ask()(500)
    circuit.ask()(404)  # no failure of the service's
    circuit.ask()(503)
    circuit.ask()(504)
    answer = circuit.ask()
    assert (answer.status, dict(answer.fields)) == (503, {b"Retry-After": b"30"})
    circuit.clock.advance(30)
    tried = circuit.ask()
    assert circuit.ask().status == 503  # one at a time
    tried(502)
    assert circuit.ask().status == 503
    circuit.clock.advance(30)
    circuit.ask()(200)
    circuit.ask()(502)
    assert callable(circuit.ask())


def test_circuit_is_tried_again_after_a_visitor_that_left():
    circuit = Circuit()
    circuit.ask()(502)
    circuit.ask()(502)
    circuit.clock.advance(31)
    circuit.ask()(0)
    assert callable(circuit.ask())  # a try that has no end yet
    assert circuit.ask().status == 503
    circuit.clock.advance(30)
    assert callable(circuit.ask())


@pytest.mark.parametrize("text", ["", "5", "0/5s", "5/0", "a/b"])
def test_impossible_breaks(text):
    with pytest.raises(ValueError, match="5/30s"):
        parse_break(text)
