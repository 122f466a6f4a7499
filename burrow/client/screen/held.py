"""Standard error while the screen has the terminal: held back until the terminal is given back."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

KEPT = 200
"""Lines that are held, at most; of more the oldest are forgotten."""


_WRONG = re.compile(r"burrow: |\S+ (?:warn|error|critical) +")
"""How lines begin that a person has to see now: see L{burrow.cli.run}."""


def is_same_terminal(stream: Any, output: int = 1) -> bool:
    """Whether a stream leads to the terminal that the file descriptor C{output} leads to."""
    try:
        number = stream.fileno()
        return os.isatty(number) and os.path.sameopenfile(number, output)
    except (OSError, ValueError, AttributeError):
        return False


class HeldErrors(io.TextIOBase):
    """
    Takes the place of C{sys.stderr}.

    @param told: called with what is wrong: what warnings and errors say, without their time.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._part = ""
        self._real: TextIO | None = None

    def begin(self) -> None:
        """Hold back what is written from now on."""
        self._real = sys.stderr
        sys.stderr = self

    def end(self) -> None:
        """Write what was held back. May be called more than once."""
        real, self._real = self._real, None
        if real is None:
            return
        if sys.stderr is self:
            sys.stderr = real
        with contextlib.suppress(OSError, ValueError):
            real.writelines(f"{line}\n" for line in (*self._lines, self._part) if line)
            real.flush()

    def writable(self) -> bool:
        """See L{io.IOBase}."""
        return True

    def write(self, text: str) -> int:
        """Hold C{text} back."""
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self._lines.append(line)
            wrong = _WRONG.match(line)
            if wrong is not None:
                self._told(line[wrong.end() :])
        return len(text)

    def fileno(self) -> int:
        """That of the real one."""
        real: Any = self._real or sys.__stderr__
        return int(real.fileno())
