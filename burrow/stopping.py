"""
SIGTERM, SIGINT (Ctrl-C) and SIGBREAK: the first asks the process to stop when running work has ended, the
next to end at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

NAMES = ("SIGTERM", "SIGINT", "SIGBREAK")

ONE_REQUEST = 0.1
"""Seconds in which two signals count as one: timeout(1) sends SIGTERM to a process and to its group."""


class StopSignals:
    """
    @param stop: called in the reactor's thread at the first signal. @param now: called at each later one.
    @param worker: whether this is a worker process of a server. A service manager may send SIGTERM to all
        processes of a server, so in a worker SIGTERM only asks to stop, and SIGINT to end at once.
    """

    def __init__(
        self, reactor: Any, stop: Callable[[], None], now: Callable[[], None], *, worker: bool = False
    ) -> None:
        self._reactor = reactor
        self._stop = stop
        self._now = now
        self._worker = worker
        self._asked: float | None = None

    def install(self) -> None:
        """Install the handlers. Call this when the reactor runs, since it installs its own when it starts."""
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, lambda number, frame: self._reactor.callFromThread(self.asked, number))

    def asked(self, number: int) -> None:
        """Called in the reactor's thread for each signal."""
        now = self._reactor.seconds()
        first = self._asked is None
        if self._asked is None:
            self._asked = now
        if first:
            self._stop()
        if number != signal.SIGTERM if self._worker else now - self._asked > ONE_REQUEST:
            self._now()
