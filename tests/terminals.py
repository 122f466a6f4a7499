"""Programs on a pseudo-terminal, as a person would see them."""

import contextlib
import os
import termios
import time
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).parents[1]


class Terminal:
    """A program on a pseudo-terminal, which pyte reads."""

    def __init__(self, command, *, size=(80, 24), env=None):
        environ = {
            **os.environ,
            "TERM": "xterm-256color",
            "PYTHONPATH": str(ROOT),
            "PS1": "ready> ",
            **(env or {}),
        }
        if "NO_COLOR" not in (env or {}):
            environ.pop("NO_COLOR", None)
        self.child = pexpect.spawn(
            command[0], command[1:], dimensions=size[::-1], env=environ, cwd=str(ROOT), timeout=30
        )
        self.before = termios.tcgetattr(self.child.child_fd)
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.output = b""

    def read(self):
        """@return: whether anything came within a moment."""
        try:
            data = self.child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return False
        except pexpect.EOF:
            return False
        self.output += data
        self.stream.feed(data)
        return True

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def shows(self, text, patience=60):
        """Wait until the screen has this text."""
        deadline = time.monotonic() + patience
        while text not in self.text:
            self.read()
            assert time.monotonic() < deadline, f"{text!r} is not shown:\n{self.text}"

    def shows_no_more(self, text, patience=60):
        """Wait until the screen does not have this text."""
        deadline = time.monotonic() + patience
        while text in self.text:
            self.read()
            assert time.monotonic() < deadline, f"{text!r} is shown still:\n{self.text}"

    def wait(self):
        """Wait for its end. @return: the exit code, negative for a signal."""
        deadline = time.monotonic() + 60
        while self.child.isalive():
            self.read()
            assert time.monotonic() < deadline, self.text
        while self.read():
            pass
        return self.child.exitstatus if self.child.signalstatus is None else -self.child.signalstatus

    def is_clean(self):
        """Whether the terminal is as it was: its mode, cursor, and no alternate screen."""
        entered, left = self.output.rfind(b"\x1b[?1049h"), self.output.rfind(b"\x1b[?1049l")
        shown = self.output.rfind(b"\x1b[?25h") > self.output.rfind(b"\x1b[?25l")
        return left >= entered and (shown or entered < 0) and self.mode() == self.before

    def mode(self):
        mode = termios.tcgetattr(self.child.child_fd)
        mode[3] &= ~getattr(termios, "PENDIN", 0)
        return mode

    def close(self):
        with contextlib.suppress(pexpect.ExceptionPexpect):
            self.child.close(force=True)
