"""Tests for L{burrow.wire.fair}."""

from burrow.wire.fair import RoundRobin


def test_turns_come_in_order_and_once():
    turns = RoundRobin()
    for stream_id in (3, 1, 3, 5):
        turns.add(stream_id)
    assert [turns.pop()[0], turns.pop()[0], turns.pop()[0]] == [3, 1, 5]
    assert not turns.order


def test_discarded_stream_has_no_turn():
    turns = RoundRobin()
    turns.add(1)
    turns.add(3)
    turns.discard(1)
    turns.discard(9)
    assert turns.pop()[0] == 3
    assert not turns.order
