"""Tests for L{bench.simulate}: a small version of what docs/scale.md tells."""

from bench.simulate import Simulation


def test_agents_of_a_node_that_died_are_back_on_the_others():
    storm = Simulation(500, 3, rate=400.0).run()
    assert storm.half <= storm.all
    assert storm.all < 500 / 800 + 0.5  # what two nodes need for them, and the first attempt's delay
    assert storm.attempts == 1.0
    assert storm.dials <= 500
    assert storm.operations <= 500 * 3 + 3 * 2 * 11  # each agent's own, and the nodes' readings


def test_the_same_seed_gives_the_same_figures():
    assert Simulation(100, 3, seed=3).run() == Simulation(100, 3, seed=3).run()


def test_connections_that_find_no_room_come_again():
    """Two nodes that take ten agents a second: whoever waits too long dials again, and all come back."""
    storm = Simulation(300, 3, rate=10.0).run()
    assert storm.attempts > 1.0
    assert 15.0 <= storm.all < 60.0
