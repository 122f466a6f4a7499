"""Tests for L{burrow.wire.windows}."""

from burrow.wire.windows import INITIAL_WINDOW, MAX_WINDOW, GrowthBudget, ReceiveWindow


def drain(window, seconds, rtt):
    """Receive and consume half a window; return the delta."""
    half = window.size // 2
    assert window.received(half)
    delta = window.consumed(half, seconds, rtt)
    window.granted(delta)
    return delta


def test_update_comes_with_half_the_window():
    window = ReceiveWindow(GrowthBudget())
    assert window.received(INITIAL_WINDOW)
    assert window.consumed(INITIAL_WINDOW // 2 - 1, 0.0, 0.1) == 0
    assert window.consumed(1, 0.0, 0.1) == INITIAL_WINDOW // 2


def test_large_window_is_returned_in_small_parts():
    window = ReceiveWindow(GrowthBudget())
    now = 0.0
    while window.size < MAX_WINDOW:
        drain(window, now, 0.1)
        now += 0.05
    part = MAX_WINDOW // 16
    assert window.received(part)
    assert window.consumed(part - 1, now, 0.1) == 0
    assert window.consumed(1, now, 0.1) == part


def test_growth_is_measured_over_half_a_window():
    """A burst that is read at once, after a pause, does not make a fast reader."""
    window = ReceiveWindow(GrowthBudget())
    for step in range(2):
        drain(window, step * 0.01, 0.1)
    assert window.size == 2 * INITIAL_WINDOW
    for second in range(1, 20):
        for _ in range(2):
            assert window.received(INITIAL_WINDOW // 2)
            window.granted(window.consumed(INITIAL_WINDOW // 2, float(second), 0.1))
    assert window.size == 2 * INITIAL_WINDOW


def test_more_than_the_window_is_noticed():
    window = ReceiveWindow(GrowthBudget())
    assert window.received(INITIAL_WINDOW)
    assert not window.received(1)


def test_fast_reader_on_a_long_line_gets_a_larger_window():
    window = ReceiveWindow(GrowthBudget())
    now = 0.0
    for _ in range(40):
        drain(window, now, 0.1)
        now += 0.05  # half a window each half round trip: the window is the limit
    assert window.size == MAX_WINDOW


def test_window_grows_from_two_bandwidth_delay_products_on():
    for seconds, grows in ((0.1, False), (0.0999, True)):
        window = ReceiveWindow(GrowthBudget())
        drain(window, 0.0, 0.1)
        drain(window, seconds, 0.1)  # half a window in a round trip: twice that product fits the window
        assert (window.size > INITIAL_WINDOW) == grows


def test_slow_reader_keeps_the_first_window():
    window = ReceiveWindow(GrowthBudget())
    for second in range(10):
        drain(window, float(second), 0.1)
    assert window.size == INITIAL_WINDOW


def test_unknown_round_trip_grows_nothing():
    window = ReceiveWindow(GrowthBudget())
    for step in range(10):
        drain(window, step * 0.001, 0.0)
    assert window.size == INITIAL_WINDOW


def test_growth_of_all_streams_together_is_bounded_and_given_back():
    budget = GrowthBudget(INITIAL_WINDOW)
    one, two = ReceiveWindow(budget), ReceiveWindow(budget)
    for window in (one, two):
        for step in range(5):
            drain(window, step * 0.01, 0.1)
    assert (one.size, two.size) == (2 * INITIAL_WINDOW, INITIAL_WINDOW)
    one.close()
    for step in range(5, 10):
        drain(two, step * 0.01, 0.1)
    assert two.size == 2 * INITIAL_WINDOW
