"""Tests for L{burrow.descriptors}."""

import errno
import os
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from burrow import descriptors
from burrow.descriptors import LOW, TELL_EVERY, Shortage, exhausted, low_warning, raise_limit


class Limits:
    """What the C{resource} module knows. C{highest}: what setrlimit takes at most."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

    def __init__(self, soft, hard, highest=1 << 20):
        self.now = soft, hard
        self.highest = highest

    def getrlimit(self, kind):
        return self.now

    def setrlimit(self, kind, limits):
        if limits[0] == self.RLIM_INFINITY or limits[0] > self.highest:
            raise ValueError("not possible")
        self.now = limits


@pytest.mark.parametrize(
    ("limits", "soft"),
    [
        (Limits(256, 4096), 4096),
        (Limits(64, 64), 64),
        (Limits(256, Limits.RLIM_INFINITY, 20_000), 10_240),  # macOS
        (Limits(256, Limits.RLIM_INFINITY, 5000), 4096),
        (Limits(20_000, Limits.RLIM_INFINITY, 30_000), 20_000),
    ],
)
def test_limit_is_raised_as_far_as_it_goes(monkeypatch, limits, soft):
    hard = limits.now[1]
    monkeypatch.setattr(descriptors, "resource", limits)
    raise_limit()
    assert limits.now == (soft, hard)


@pytest.mark.parametrize(("soft", "warned"), [(LOW - 1, True), (LOW, False), (Limits.RLIM_INFINITY, False)])
def test_low_limit_is_warned_of(monkeypatch, soft, warned):
    monkeypatch.setattr(descriptors, "resource", Limits(soft, soft))
    assert bool(low_warning()) == warned
    assert not warned or ("LimitNOFILE=" in low_warning() and f"only {soft} files" in low_warning())


def test_system_without_limits(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", None)
    raise_limit()
    assert low_warning() == ""


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.ENOENT, False), (None, False)]
)
def test_whether_one_is_left(monkeypatch, number, said):
    def fail(path, flags):
        raise OSError(number, os.strerror(number))

    if number is not None:
        monkeypatch.setattr(descriptors, "os", SimpleNamespace(**{**vars(os), "open": fail}))
    assert exhausted() == said


def test_told_once_a_minute_whoever_meets_it():
    clock, events = Clock(), []
    globalLogPublisher.addObserver(events.append)
    try:
        for _ in range(3):
            Shortage.of(clock).met(errno.EMFILE)
        clock.advance(TELL_EVERY - 1)
        Shortage.of(clock).met(errno.ENFILE)
        assert len(events) == 1
        assert "LimitNOFILE=" in events[0]["advice"]
        clock.advance(1)
        Shortage.of(clock).met(errno.ENFILE)
        assert len(events) == 2
        assert "fs.file-max" in events[1]["advice"]
        Shortage.of(Clock()).met(errno.EMFILE)
        assert len(events) == 3  # another process's, as it were
    finally:
        globalLogPublisher.removeObserver(events.append)
