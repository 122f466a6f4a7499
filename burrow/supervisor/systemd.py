"""What systemd is told of the state of the service: sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import LoopingCall

from burrow.repeat import repeating


def notify(state: str) -> None:
    """
    Tell systemd a state, as in C{READY=1}, if it started this process as a service of C{Type=notify} or
    C{notify-reload}. A state that it does not take is lost.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):
        return
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)


def feed_watchdog(reactor: Any, environ: Mapping[str, str] = os.environ) -> LoopingCall | None:
    """
    Tell systemd twice in its C{WatchdogSec=} that this process's reactor runs: one that stands still is ended
    and started anew (sd_watchdog_enabled(3)). Call it when the service is ready.

    @return: what tells it; None if systemd does not ask for it, or asks another process.
    """
    period, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period.isascii() or not period.isdigit() or int(period) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    telling = repeating(reactor, lambda: notify("WATCHDOG=1"), "telling systemd's watchdog")
    telling.start(int(period) / 2_000_000)
    return telling
