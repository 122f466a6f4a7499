"""Slow work in threads, a little at a time."""

import pytest
from twisted.internet.defer import Deferred

from burrow.policy.means import Busy
from burrow.server.slow_work import AT_ONCE, WAITING, SlowWork


def test_a_little_at_a_time_and_no_more_than_may_wait():
    running, done = [], []

    def run(function, *arguments):
        running.append(Deferred())
        return running[-1].addCallback(lambda _: function(*arguments))

    work = SlowWork(None, run)
    results = [work(lambda number: number * 2, number) for number in range(WAITING)]
    for one in results:
        one.addBoth(done.append)
    assert len(running) == AT_ONCE
    refused = []
    work(print).addErrback(refused.append)
    refused[0].trap(Busy)
    results[1].cancel()  # its visitor left; the thread goes on
    assert len(running) == AT_ONCE
    for number in range(WAITING):
        running[number].callback(None)
    assert len(running) == WAITING
    assert [one for one in done if isinstance(one, int)] == [0, *range(4, 2 * WAITING, 2)]
    work(lambda: 5).addCallback(done.append)
    running[-1].callback(None)
    assert done[-1] == 5


def test_what_fails_fails_alone():
    def run(function, *arguments):
        made = Deferred()
        made.callback(None)
        return made.addCallback(lambda _: function(*arguments))

    work = SlowWork(None, run)
    for _ in range(WAITING * 2):
        failures = []
        work(lambda: 1 / 0).addErrback(failures.append)
        with pytest.raises(ZeroDivisionError):
            failures[0].raiseException()
