"""Writes lines to a file from a thread of its own, so that a reader that is slow stops nobody."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO

MAX_WAITING = 8 * 1024 * 1024
"""Characters that wait to be written, at most; what is more is dropped, and counted."""

CLOSE_WITHIN = 1.0
"""Seconds that what waits has to be written when the process ends."""


CHUNK = 4096
"""Bytes that a pipe takes in one piece (PIPE_BUF, pipe(7)): workers of one server write into the same one."""


def _chunks(text: str) -> Iterator[str]:
    """C{text} in whole lines, as many at a time as fit into L{CHUNK}; a longer line is a chunk by itself."""
    chunk: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        length = len(line.encode("utf-8", "replace"))
        if size + length > CHUNK and chunk:
            yield "".join(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += length
    if chunk:
        yield "".join(chunk)


class LineWriter:
    """
    Begins its thread with the first line. What is written is flushed when nothing more waits.

    @param file: a text file. Errors of it are ignored: there is nobody to be told.
    @param notice: makes the line that says how many are missing.
    """

    def __init__(
        self, file: IO[str], limit: int = MAX_WAITING, notice: Callable[[str], str] = lambda text: text
    ) -> None:
        self._file = file
        self._notice = notice
        self._limit = limit
        self._texts: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, text: str) -> None:
        """Write whole lines, some time soon."""
        with self._wake:
            if self._size + len(text) > self._limit:
                self._dropped += text.count("\n")
                return
            self._texts.append(text)
            self._size += len(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            self._wake.notify_all()

    def close(self) -> None:
        """Wait until what waits is written, for L{CLOSE_WITHIN} seconds at most."""
        with self._wake:
            self._wake.wait_for(lambda: not self._size, CLOSE_WITHIN)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._texts)
                text = "".join(self._texts)
                self._texts.clear()
                dropped, self._dropped = self._dropped, 0
            if dropped:
                text += (
                    self._notice(f"{dropped} lines are missing here: the log was not read fast enough") + "\n"
                )
            with contextlib.suppress(OSError, ValueError):
                for chunk in _chunks(text):
                    self._file.write(chunk)
                    self._file.flush()
            with self._wake:
                self._size = sum(map(len, self._texts))
                self._wake.notify_all()
