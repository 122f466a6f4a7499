"""
Writes lines from a thread of its own, so that a reader that is slow, or stuck, stops nobody.

A pipe may be full for ever, and a file on a dead network drive, too. What is open as standard output or error
is shared with other programs, so it cannot be made non-blocking.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator

EVERY = 0.05
"""Seconds for which lines are collected."""

CLOSE_WITHIN = 1.0
"""Seconds that what waits has to be written at the end."""

CHUNK = 4096
"""Bytes that a pipe takes in one piece (PIPE_BUF, pipe(7)): workers of one server write into the same one."""


def _chunks(data: bytes) -> Iterator[bytes]:
    """C{data} in whole lines, as many at a time as fit into L{CHUNK}; a longer line is a chunk by itself."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + CHUNK) + 1 or data.index(b"\n", start) + 1
        yield data[start:end]
        start = end


class LineWriter:
    """
    Begins its thread with the first line.

    @param descriptor: where to. @param limit: characters that wait, or are being written, at most; what is
        more is dropped, and counted.
    @param missing: makes the line that says how many lines were dropped.
    @param broken: called in the thread with the first error when it cannot be written. Such lines are lost;
        later ones are tried all the same.
    """

    def __init__(
        self,
        descriptor: int,
        limit: int,
        missing: Callable[[int], str],
        broken: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._missing = missing
        self._broken: Callable[[OSError], None] | None = broken
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._state = threading.Condition()
        self._come = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, text: str) -> None:
        """Write lines, of which the last is without its end, within L{EVERY} seconds. Any thread may call."""
        size = len(text) + 1
        with self._state:
            if self._closed.is_set():
                return
            if self._size + size > self._limit:
                self._dropped += text.count("\n") + 1
            else:
                self._size += size
                self._lines.append(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        if not self._come.is_set():
            self._come.set()

    def close(self) -> None:
        """
        Wait until what waits is written, for L{CLOSE_WITHIN} seconds at most; later lines are dropped. May be
        called more than once.
        """
        if not self._closed.is_set():
            self._closed.set()
            with self._state:
                self._state.wait_for(lambda: not self._size, CLOSE_WITHIN)

    def _run(self) -> None:
        while True:
            self._come.wait()
            self._closed.wait(EVERY)
            with self._state:
                self._come.clear()
                lines, self._lines = self._lines, []
                dropped, self._dropped = self._dropped, 0
                size = self._size
            if dropped:
                lines.append(self._missing(dropped))
            self._write("\n".join([*lines, ""]).encode("utf-8", "backslashreplace"))
            with self._state:
                self._size -= size
                self._state.notify_all()

    def _write(self, data: bytes) -> None:
        try:
            for chunk in _chunks(data):
                while chunk:
                    chunk = chunk[os.write(self._descriptor, chunk) :]
        except OSError as error:
            broken, self._broken = self._broken, None
            if broken is not None:
                broken(error)
