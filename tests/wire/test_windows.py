"""Tests for L{burrow.wire.windows}."""

from hypothesis import given
from hypothesis import strategies as st

from burrow.wire.windows import (
    EARNED,
    INITIAL_WINDOW,
    LEAST_WINDOW,
    MAX_WINDOW,
    UNREAD,
    Allowance,
    GrowthBudget,
    ReceiveWindow,
    Told,
    first_window,
)


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


def test_growth_of_a_larger_window_is_measured_over_half_of_it_too():
    """Three eighths that are read at once say nothing."""
    window, now = ReceiveWindow(GrowthBudget()), 0.0
    while window.size < 1 << 20:
        drain(window, now, 0.1)
        now += 0.01
    drain(window, 100.0, 0.1)
    part = (1 << 20) // 8
    for now in (100.001, 100.002, 100.003, 200.0):
        assert window.received(part)
        window.granted(window.consumed(part, now, 0.1))
        assert window.size == 1 << 20


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


def test_windows_under_an_allowance_begin_smaller_and_smaller():
    allowance, sizes = Allowance(100), []
    for _ in range(100):
        first = first_window(allowance)
        sizes.append(ReceiveWindow(GrowthBudget(), allowance).size)
        assert sizes[-1] == first
    assert sizes[0] == INITIAL_WINDOW
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == LEAST_WINDOW
    assert sum(sizes) <= UNREAD
    assert first_window(None) == INITIAL_WINDOW


def test_the_peer_may_send_what_yamux_allows_though_it_is_asked_for_less():
    allowance = Allowance(100)
    windows = [ReceiveWindow(GrowthBudget(), allowance) for _ in range(100)]
    for window in windows:
        assert window.received(INITIAL_WINDOW)
        assert not window.received(1)


def test_small_window_is_doubled_when_half_of_it_is_read():
    allowance = Allowance(100)
    small = [ReceiveWindow(GrowthBudget(), allowance) for _ in range(100)][-1]
    size = small.size
    while small.size < INITIAL_WINDOW:
        assert small.received(size // 2)
        assert small.consumed(size // 2 - 1, 0.0, 0.0) == 0
        assert small.consumed(1, 0.0, 0.0) == size // 2 + size
        small.granted(size // 2 + size)
        size *= 2
        assert small.size == size
    assert drain(small, 0.0, 0.0) == INITIAL_WINDOW // 2


def test_little_is_earned_by_reading_some_of_many():
    allowance = Allowance(100)
    windows = [ReceiveWindow(GrowthBudget(), allowance) for _ in range(100)]
    read = 0
    for _ in range(4):
        for window in windows:
            read += window.size // 2
            drain(window, 0.0, 0.0)
            assert sum(each.size for each in windows) <= UNREAD + min(2 * read, EARNED)
    assert sum(each.size for each in windows) > (UNREAD + EARNED) * 0.9


def test_growth_under_an_allowance_is_that_of_one_stream():
    allowance, budget = Allowance(4), GrowthBudget()
    windows = [ReceiveWindow(budget, allowance) for _ in range(4)]
    now = 0.0
    for _ in range(100):
        for window in windows:
            drain(window, now, 0.1)
            now += 0.001
    assert sum(window.size for window in windows) <= MAX_WINDOW + 4 * INITIAL_WINDOW
    assert max(window.size for window in windows) > INITIAL_WINDOW
    before = budget.left
    for window in windows:
        window.close()
    assert budget.left > before
    assert budget.left == GrowthBudget().left
    assert allowance.growth.left == MAX_WINDOW
    alone = ReceiveWindow(budget, allowance)
    while alone.size < MAX_WINDOW // 2:
        assert drain(alone, now, 0.1)
        now += 0.001


def test_what_was_refused_by_an_allowance_is_not_taken_of_the_session():
    allowance, budget = Allowance(1), GrowthBudget()
    allowance.growth = GrowthBudget(0)
    window = ReceiveWindow(budget, allowance)
    for step in range(5):
        drain(window, step * 0.001, 0.1)
    assert window.size == INITIAL_WINDOW
    assert budget.left == GrowthBudget().left


def test_told_window_grows_by_its_round_trips_alone():
    for rtt, grows in ((0.0, False), (0.1, True)):
        window = ReceiveWindow(GrowthBudget(), Told(20_000))
        assert window.size == first_window(Told(20_000)) == 20_000
        for step in range(5):
            drain(window, step * 0.001, rtt)
        assert (window.size > 20_000) == grows


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 300_000), st.booleans()), max_size=200),
    st.sampled_from([0.0, 0.001, 0.1]),
)
def test_no_more_is_under_way_than_an_allowance_says(streams, steps, rtt):
    """
    Peers that do as they are told send as much as they may; any of it is read, and streams end. What has come
    and is not read, and may come, is bounded, nothing ever stops for good, and all is given back.
    """
    allowance, budget = Allowance(streams), GrowthBudget()
    windows, credit, held = [], [], []

    def begin():
        credit.append(first_window(allowance))
        held.append(0)
        windows.append(ReceiveWindow(budget, allowance))

    for _ in range(streams):
        begin()
    assert sum(credit) <= UNREAD
    read = now = 0
    for at, amount, ends in steps:
        at %= streams
        now += 0.0001
        window = windows[at]
        assert window.received(credit[at])
        held[at] += credit[at]
        credit[at] = 0
        amount = min(amount, held[at])
        held[at] -= amount
        read += amount
        delta = window.consumed(amount, now, rtt)
        window.granted(delta)
        credit[at] += delta
        if ends:
            window.close()
            for each in (windows, credit, held):
                del each[at]
            begin()
        bound = UNREAD + min(2 * read, EARNED) + (MAX_WINDOW if rtt else 0)
        assert sum(credit) + sum(held) <= bound
        assert all(each.size >= LEAST_WINDOW for each in windows)
        # One of which all was read has more than half of its window.
        assert all(
            more > each.size // 2 - 1
            for each, more, has in zip(windows, credit, held, strict=True)
            if not has
        )
    for window in windows:
        window.close()
    assert budget.left == GrowthBudget().left
    assert allowance.growth.left == MAX_WINDOW
    assert first_window(allowance) == INITIAL_WINDOW
