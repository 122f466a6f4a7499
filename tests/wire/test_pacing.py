"""Tests for L{burrow.wire.pacing}: on a simulated line, by example and at random."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burrow.wire.pacing import (
    FIRST_WINDOW,
    MAX_FRAME,
    MAX_PULL,
    MAX_WINDOW,
    MIN_PULL,
    MIN_WINDOW,
    QUEUE,
    SHARED_FOR,
    SHARED_PULL,
    SILENCE,
    Pacer,
)
from tests.wire.line import Line, Sender

MBIT = 1e6 / 8


def settled(round_trip):
    """Seconds after which a sender knows its line."""
    return max(3.0, 25 * round_trip)


def tolerated(rate):
    """Seconds of queue that are none: L{QUEUE}, or two of the smallest messages, and what one cycle adds."""
    return 7 * QUEUE + 8 * MIN_PULL / rate


def bulk(line, count=1, apart=0.0):
    senders = [Sender(line) for _ in range(count)]
    for number, sender in enumerate(senders):
        line.at(number * apart, sender.start)
    return senders


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.floats(5.5, 9), st.floats(-4, -0.6))
@example(5.0, -4.0)
@example(9.0, -1.0)
@example(10.0, -3.0)
@example(7.3, -2.0)
def test_line_is_full_and_its_queue_empty(rate, round_trip):
    rate, round_trip = 10**rate / 8, 10**round_trip
    line = Line(rate, round_trip)
    (sender,) = bulk(line)
    begin = settled(round_trip) + 4 * FIRST_WINDOW / rate
    line.run(begin + 10)
    # Of 3,400 random lines one in 300 was below 95 %, and the least 93.4 %: there a pull is just too short.
    assert sender.rate(begin, begin + 10) >= 0.92 * rate
    assert sender.wait(begin) <= tolerated(rate) + round_trip / 8


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([20, 100]),
    st.floats(-3, -1),
    st.floats(0, 0.01),
    st.floats(-3.3, -1.5),
    st.integers(0, 1000),
)
def test_line_that_jitters_is_used(rate, round_trip, jitter, slot, seed):
    """At each moment the line takes a little longer, by up to ten milliseconds each way."""
    rate, round_trip = rate * MBIT, 10**round_trip
    line = Line(rate, round_trip, jitter=jitter, slot=10**slot, seed=seed)
    (sender,) = bulk(line)
    line.run(20)
    assert sender.rate(8, 20) >= 0.8 * rate
    assert sender.wait(8) <= 0.1


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([5, 20, 100]), st.floats(-3, -1), st.floats(0.2, 3))
def test_two_share_a_line(rate, round_trip, apart):
    rate, round_trip = rate * MBIT, 10**round_trip
    line = Line(rate, round_trip)
    senders = bulk(line, 2, apart)
    line.run(15)
    assert sum(sender.rate(7, 15) for sender in senders) >= 0.95 * rate
    assert senders[0].wait(7) <= 0.25 + 20 * MIN_PULL / rate


@pytest.mark.parametrize(("before", "after"), [(100, 5), (5, 100), (20, 10)])
def test_line_that_changes_its_rate(before, after):
    line = Line(before * MBIT, 0.02)
    (sender,) = bulk(line)
    line.run(5)
    line.rate = after * MBIT
    line.run(12)
    assert sender.rate(7, 12) >= 0.95 * line.rate
    assert sender.wait(8) <= tolerated(line.rate)


@pytest.mark.parametrize("batch", [0.01, 0.04])
@pytest.mark.parametrize("round_trip", [0.001, 0.02, 0.1])
def test_answers_that_come_in_batches(batch, round_trip):
    line = Line(20 * MBIT, round_trip, batch=batch)
    (sender,) = bulk(line)
    line.run(16)
    assert sender.rate(6, 16) >= 0.93 * line.rate
    assert sender.wait(6) <= 4 * batch


def test_answers_that_are_lost():
    line = Line(20 * MBIT, 0.02, lost=0.3)
    (sender,) = bulk(line)
    sender.sweep()
    line.run(10)
    assert sender.rate(5, 10) >= 0.9 * line.rate


def test_peer_that_answers_nothing_is_sent_all():
    line = Line(20 * MBIT, 0.02, lost=1.0)
    (sender,) = bulk(line)
    sender.sweep()
    line.run(SILENCE + 5)
    assert sender.rate(SILENCE + 1, SILENCE + 5) >= 0.95 * line.rate


def test_line_that_became_longer_is_taken_for_what_it_is():
    line = Line(20 * MBIT, 0.02)
    (sender,) = bulk(line)
    line.run(5)
    line.delay = 0.05
    line.run(15)
    assert sender.rate(8, 15) >= 0.95 * line.rate
    assert sender.wait(8) <= tolerated(line.rate)


def test_what_the_user_does_not_fill_shrinks_nothing():
    line = Line(100 * MBIT, 0.05)
    (sender,) = bulk(line)
    line.run(5)
    window = sender.pacer.window
    sender.backlog = 0
    for step in range(1000):
        line.at(5 + step * 0.01, sender.offer, 5000)
    line.run(20)
    assert sender.pacer.window >= 0.8 * window
    assert sender.pacer.pull >= 5000


def test_pause_is_forgotten():
    line = Line(100 * MBIT, 0.05)
    (sender,) = bulk(line)
    line.run(5)
    sender.backlog = 0
    line.run(65)
    sender.backlog = None
    line.at(65, sender.flush)
    line.run(70)
    assert sender.rate(65.1, 70) >= 0.95 * line.rate
    assert sender.wait(66) <= tolerated(line.rate)


def test_new_connection_begins_anew():
    old, new = Line(1000 * MBIT, 0.001), Line(1 * MBIT, 0.05)
    (sender,) = bulk(old)
    old.run(3)
    sender.pacer.reset()
    assert (sender.pacer.window, sender.pacer.full) == (FIRST_WINDOW, False)
    assert not sender.pacer.answered(next(sender.pings) - 1, 3.0)  # a late answer of the old one
    moved = Sender(new, pacer=sender.pacer)
    new.now = new.free = 3.0
    moved.start()
    new.run(10)
    assert moved.rate(6, 10) >= 0.95 * new.rate
    assert moved.wait(6) <= tolerated(new.rate)


def test_short_answers_go_out_at_once_and_cost_no_pings():
    """Of many small messages few carry a ping."""
    line = Line(1000 * MBIT, 0.0002)
    sender = Sender(line, 0)
    for step in range(10_000):
        line.at(step * 0.0005, sender.offer, 1200)
    line.run(6)
    assert next(sender.pings) < 10_000 / 20
    assert sender.wait(0, 0.99) < 0.001


def test_heartbeats_answers_change_nothing_else():
    pacer = Pacer()
    pacer.measured(0.02, 0.0)
    assert not pacer.answered(7, 0.1)
    assert (pacer.window, pacer.full) == (FIRST_WINDOW, False)


def test_ping_numbers_wrap():
    pacer = Pacer()
    numbers = [0xFFFFFFFE, 0xFFFFFFFF, 0, 1]
    for number in numbers:
        pacer.sent(20_000, 0.0, True, number)
    assert pacer.full
    assert pacer.answered(0, 0.01)
    assert not pacer.full
    assert not pacer.answered(0xFFFFFFFF, 0.01)
    assert pacer.answered(1, 0.01)


def test_pulls_are_short_for_a_while_after_small_frames_beside_bulk():
    pacer = Pacer()
    pacer._resize(MAX_WINDOW)  # of a fast line
    usual = pacer.pull, pacer.frame
    assert usual == (MAX_PULL, MAX_PULL // 4)
    pacer.sent(70_000, 1.0, True, shared=True)
    assert (pacer.pull, pacer.frame) == (SHARED_PULL, MAX_FRAME)
    pacer.sent(60_000, 1.0 + SHARED_FOR / 2, True)
    assert pacer.pull == SHARED_PULL
    pacer.sent(60_000, 1.0 + SHARED_FOR, True)
    assert (pacer.pull, pacer.frame) == usual
    pacer.sent(70_000, 2.0, True, shared=True)
    pacer.reset()
    pacer._resize(MAX_WINDOW)
    assert (pacer.pull, pacer.frame) == usual


@given(st.data())
def test_any_calls_keep_the_bounds(data):
    """Whatever is sent and answered, at whatever times: sizes are in bounds, and nothing waits for ever."""
    pacer, now, ping, waiting = Pacer(), 0.0, 0, []
    for _ in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.sampled_from([0.0, 0.0001, 0.01, 0.5, 20.0]))
        action = data.draw(st.sampled_from(["send", "send", "answer", "sweep", "stray", "reset"]))
        if action == "send" and not pacer.full:
            if pacer.due:
                waiting.append(ping)
            pacer.sent(
                data.draw(st.integers(1, MAX_PULL)),
                now,
                data.draw(st.booleans()),
                ping if pacer.due else None,
                data.draw(st.booleans()),
            )
            ping += 1
        elif action == "answer" and waiting:
            pacer.answered(waiting.pop(0), now)
        elif action == "sweep":
            pacer.sweep(now)
        elif action == "stray":
            pacer.answered(data.draw(st.integers(0, 0xFFFFFFFF)), now)
        elif action == "reset":
            pacer.reset()
            waiting.clear()
        assert pacer.window >= MIN_WINDOW
        assert MIN_PULL <= pacer.pull <= MAX_PULL
        assert pacer.frame <= max(MAX_FRAME, pacer.pull // 4)
    for _ in range(100):
        if not pacer.full:
            break
        now += 1.0
        pacer.sweep(now)
    assert not pacer.full


def full_window(pacer, begin, answered, pings=4):
    """A window in so many messages at C{begin}, each with a ping, and their answers at C{answered}."""
    amount, first = pacer.window // pings, round(begin * 1000)
    for number in range(pings):
        pacer.sent(amount, begin, True, first + number)
    for number in range(pings):
        assert pacer.answered(first + number, answered)


def on_line(round_trip):
    """A pacer that knows its line's own round trip."""
    pacer = Pacer()
    pacer.measured(round_trip, 0.0)
    return pacer


def test_sizes_of_a_new_connection():
    pacer = Pacer()
    assert (pacer.window, pacer.pull, pacer.frame) == (65_536, 16_384, 16_384)
    assert (pacer.full, pacer.due) == (False, False)


@pytest.mark.parametrize(
    ("round_trip", "window", "pull", "frame"),
    [
        (0.1, 1 << 20, 10_180, 10_180),  # a millisecond of 103
        (0.01, 1 << 20, 80_659, 20_164),  # of 13; a quarter of the pull in a frame
        (0.0001, 1 << 20, 262_144, 65_536),  # a quarter of the window at most
        (0.0001, 1 << 19, 131_072, 32_768),
        (1.0, 1 << 20, 2048, 2048),
        (0.1, 1, 2048, 2048),
    ],
)
def test_pulls_are_a_millisecond_of_the_line(round_trip, window, pull, frame):
    pacer = on_line(round_trip)
    pacer._resize(window)
    assert (pacer.window, pacer.pull, pacer.frame) == (max(window, 4096), pull, frame)


def test_small_messages_with_nothing_behind_them_are_not_measured():
    """A small one has less than half a pull."""
    pacer = Pacer()
    for _ in range(100):
        pacer.sent(8191, 0.0, False)
        assert (pacer.due, pacer.full) == (False, False)
    pacer.sent(8192, 0.0, False)
    assert not pacer.due
    pacer.sent(8192, 0.0, False)
    assert pacer.due  # 16 KiB without a ping
    pacer = Pacer()
    pacer.sent(100, 0.0, True)
    assert pacer.due  # something waits, and no ping is under way
    pacer.sent(100, 0.0, True, 1)
    assert not pacer.due
    pacer.sent(16_383, 0.0, True)
    assert not pacer.due
    pacer.sent(1, 0.0, True)
    assert pacer.due


def test_no_more_than_the_window_is_under_way():
    pacer = Pacer()
    pacer.sent(65_535, 0.0, True, 1)
    assert not pacer.full
    pacer.sent(1, 0.0, True)
    assert pacer.full
    pacer = Pacer()
    pacer.sent(200_000, 0.0, True)  # without a ping nothing would end the wait
    assert not pacer.full


@pytest.mark.parametrize(
    ("round_trip", "patience"), [(0.0, 10.0), (0.01, 1.0), (1.0, 4.012), (2.0, 8.012), (5.0, 10.0)]
)
def test_missing_answers_are_waited_for_four_round_trips(round_trip, patience):
    """A second at least, and ten at most: after these the peer is sent all."""
    pacer = on_line(round_trip)
    pacer.sent(FIRST_WINDOW, 100.0, True, 1)
    pacer.sweep(100.0 + patience - 0.001)
    assert (pacer.full, pacer.due) == (True, False)
    pacer.sweep(100.0 + patience + 0.001)
    assert (pacer.full, pacer.due) == (False, True)
    pacer.sweep(109.9)
    assert pacer.window == FIRST_WINDOW or patience == SILENCE
    pacer.sweep(110.1)
    assert pacer.window == MAX_WINDOW
    assert not pacer.answered(1, 111.0)


def test_sweep_leaves_alone_whoever_waits_for_nothing():
    pacer = Pacer()
    pacer.sent(100, 0.0, False)
    pacer.sweep(1000.0)
    assert (pacer.window, pacer.due) == (FIRST_WINDOW, False)


def test_all_is_sent_before_the_end():
    pacer = Pacer()
    pacer.sent(FIRST_WINDOW, 0.0, True, 1)
    pacer.finish()
    assert (pacer.full, pacer.due, pacer.pull) == (False, False, MAX_PULL)
    pacer.sent(MAX_PULL, 0.0, True)
    assert not pacer.full


def test_window_grows_by_twice_what_is_answered_at_once():
    pacer = on_line(0.1)
    for number in range(4):
        pacer.sent(16_384, 1.0, True, number)
    for number in range(4):
        pacer.answered(number, 1.1)
        assert pacer.window == 65_536 + 32_768 * (number + 1)
    full_window(pacer, 2.0, 2.1)
    assert pacer.window == 3 * 196_608


def test_line_that_is_full_gets_what_it_carried():
    """64 KiB in 0.2 s; of its own 0.1 s and half of the tolerated queue, the time of two small messages."""
    pacer = on_line(0.1)
    full_window(pacer, 1.0, 1.2)
    assert pacer.window == int(327_680 * (0.1 + 0.0125 / 2))
    before = pacer.window
    full_window(pacer, 1.2, 1.4)  # was sent before that could be seen
    assert pacer.window == before


def test_cut_takes_three_quarters_at_most():
    pacer = on_line(0.1)
    full_window(pacer, 1.0, 4.0)
    assert pacer.window == FIRST_WINDOW // 4


def test_line_that_was_not_kept_full_is_not_cut():
    pacer = on_line(0.1)
    for number in range(4):
        pacer.sent(4096, 1.0, False, number)
    for number in range(4):
        pacer.answered(number, 1.2)
    assert pacer.window >= FIRST_WINDOW


def test_times_that_are_little_longer_grow_the_window_by_a_64th():
    """Between a half and all of the queue that is tolerated: here of 0.1 / 12 s."""
    pacer = on_line(0.1)
    pacer._resize(1 << 20)
    full_window(pacer, 1.0, 1.106)
    window = pacer.window
    assert window == 1 << 20
    full_window(pacer, 2.0, 2.106)
    assert pacer.window - window == pytest.approx(window / 64, rel=0.01)


def test_queue_that_cuts_do_not_shorten_is_somebody_elses():
    """Or the line became longer: its own round trip is taken anew, and the window stays."""
    pacer, now = on_line(0.1), 1.0
    windows = []
    for _ in range(6):
        full_window(pacer, now, now + 0.2)
        windows.append(pacer.window)
        now += 0.2
    assert windows[0] == windows[1]
    assert windows[2] < windows[1]
    assert windows[4] == windows[3] == windows[2]
    assert pacer._base == pytest.approx(0.2)


def test_line_is_looked_at_empty_when_none_of_its_times_was_as_short_for_long():
    pacer, now = on_line(0.1), 0.5
    while not pacer._probing:
        full_window(pacer, now, now + 0.101)
        now += 0.101
    assert now > 10
    assert pacer.window < pacer._before_cuts
