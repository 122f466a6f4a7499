"""
What SIGTERM, SIGINT (Ctrl-C) and SIGBREAK ask for: the first to stop, once what runs has ended; the next to
end now.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

NAMES = ("SIGTERM", "SIGINT", "SIGBREAK")

ONE_REQUEST = 0.1
"""Seconds within which two signals are one request: timeout(1) sends SIGTERM to a process and its group."""


class StopSignals:
    """
    @param stop: called in the reactor at the first signal. @param now: called at each later one.
    @param worker: whether this process is one of a server's that another has started. A service manager may
        send SIGTERM to all of them, so SIGTERM only ever asks to stop there, and SIGINT to end now.
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
        """Take the signals over. To be called once the reactor runs, which takes them when it starts."""
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, lambda number, frame: self._reactor.callFromThread(self.asked, number))

    def asked(self, number: int) -> None:
        """A signal came."""
        now = self._reactor.seconds()
        first = self._asked is None
        if self._asked is None:
            self._asked = now
        if first:
            self._stop()
        if number != signal.SIGTERM if self._worker else now - self._asked > ONE_REQUEST:
            self._now()
