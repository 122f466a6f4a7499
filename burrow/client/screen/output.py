"""
Lines on standard output that never wait for who reads them.

A pipe may be full for ever, and a file on a dead network drive, too. What is open on file descriptor 1 is
shared with other programs, so it cannot be made non-blocking; a thread of its own writes to it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

EVERY = 0.05
"""Seconds for which lines are collected."""

MAX_WAITING = 1024 * 1024
"""Characters that wait, at most, beside those being written. Further lines are dropped, and counted."""

LAST = 0.5
"""Seconds that the last lines have at the end."""


class LineOutput:
    """
    Writes lines in batches.

    @param dropped: makes the line that says how many were dropped.
    @param broken: called on the reactor thread with the error when it cannot be written; lines are dropped
        from then on.
    """

    def __init__(
        self,
        reactor: Any,
        dropped: Callable[[int], str],
        broken: Callable[[OSError], None],
        descriptor: int = 1,
    ) -> None:
        self._reactor = reactor
        self._dropped_line = dropped
        self._broken = broken
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._due: Any = None
        self._handed = b""
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._closed = False

    def write(self, line: str) -> None:
        """Write a line, within L{EVERY} seconds."""
        size = len(line)
        if self._size + size > MAX_WAITING or self._closed:
            self._dropped += 1
            return
        self._size += size
        self._lines.append(line)
        if self._due is None:
            self._due = self._reactor.callLater(EVERY, self._hand_over)

    def _hand_over(self) -> None:
        """Give the thread what has come; if it still writes, try again later."""
        self._due = None
        if not self._idle.is_set():
            self._due = self._reactor.callLater(EVERY, self._hand_over)
            return
        if self._dropped:
            self._lines.append(self._dropped_line(self._dropped))
            self._dropped = 0
        if self._lines:
            self._lines.append("")
            self._handed = "\n".join(self._lines).encode("utf-8", "backslashreplace")
            self._lines = []
            self._size = 0
            self._idle.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
                self._thread.start()
            self._wake.set()

    def close(self) -> None:
        """Write what waits, for L{LAST} seconds at most; then drop it. May be called more than once."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._idle.wait(LAST if self._lines else 0):
            self._hand_over()
            if self._due is not None:
                self._due.cancel()
                self._due = None
        self._idle.wait(LAST)
        self._closed = True
        self._wake.set()

    def _run(self) -> None:
        """The thread."""
        while True:
            self._wake.wait()
            self._wake.clear()
            data = self._handed
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                self._reactor.callFromThread(self._failed, error)
            self._handed = b""
            self._idle.set()
            if self._closed:
                return

    def _failed(self, error: OSError) -> None:
        if not self._closed:
            self._closed = True
            self._broken(error)
