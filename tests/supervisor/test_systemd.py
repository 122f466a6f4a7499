"""Tests for L{burrow.supervisor.systemd}: what the watchdog is told."""

import os
import socket

import pytest
from twisted.internet.task import Clock

from burrow.supervisor.systemd import feed_watchdog


def test_the_watchdog_is_told_twice_in_its_time(tmp_path, monkeypatch):
    clock = Clock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        telling = feed_watchdog(clock, {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())})
        clock.advance(9)
        assert systemd.recv(100) == b"WATCHDOG=1"
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
        clock.advance(1)
        assert systemd.recv(100) == b"WATCHDOG=1"
        telling.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "\u00b2"},
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ],
)
def test_no_watchdog_is_told(environ):
    clock = Clock()
    assert feed_watchdog(clock, environ) is None
    assert clock.getDelayedCalls() == []
