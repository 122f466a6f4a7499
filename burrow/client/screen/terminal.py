"""
A terminal that a program has for itself: raw keys, the alternate screen, and all of it given back at the end.

It is opened anew, with an open file description of its own, so that it can be read and written without
blocking: one flag on standard output would be on the shell's, too. A terminal that takes no output (a dead
SSH connection) delays nobody: what waits for it is bounded by one frame, and its user makes no other
meanwhile.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

try:
    import termios
except ImportError:  # Windows: there the agent prints lines
    termios = None  # type: ignore[assignment]

_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
"""The alternate screen, no cursor, no wrapping at the margin."""

_LEAVE = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

_LEAVE_WITHIN = 0.2
"""Seconds that a terminal has to take the end of the screen."""

_READ = 1024
_SUSPEND, _QUIT = "SIGTSTP", "SIGQUIT"


def can_show(environ: Mapping[str, str], output: int = 1) -> bool:
    """
    Whether a screen can be shown: standard output is this process's terminal, which it has in the foreground,
    and that understands control sequences.
    """
    if termios is None or environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return False
    try:
        return os.isatty(output) and os.tcgetpgrp(output) == os.getpgrp()
    except OSError:  # it is some other process's terminal
        return False


@implementer(IReadWriteDescriptor)
class Terminal:
    """
    The terminal of this process.

    @param on_data: called with the bytes of keys. @param on_change: called when all has to be drawn anew: the
        size is another, or the terminal was given back and taken again. @param on_drained: called when it
        has taken what it was given. @param on_gone: called once when it was closed.
    @ivar busy: whether bytes wait until the terminal takes them.
    @ivar active: whether the terminal is taken: not while the process is stopped, or in the background.
    """

    def __init__(
        self,
        reactor: Any,
        on_data: Callable[[bytes], None],
        on_change: Callable[[], None],
        on_drained: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._on_data = on_data
        self._on_change = on_change
        self._on_drained = on_drained
        self._on_gone = on_gone
        self._fd = -1
        self._before: Any = None
        self._out = b""
        self._handlers: dict[int, Any] = {}
        self.active = False

    # -- beginning and end ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the terminal. @raise OSError: it cannot be opened."""
        self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            self._before = termios.tcgetattr(self._fd)
        except termios.error as error:
            os.close(self._fd)
            raise OSError(*error.args) from error
        atexit.register(self.give_back)
        for name, handler in (
            ("SIGWINCH", self._in_reactor(self._changed)),
            ("SIGCONT", self._in_reactor(self._continued)),
            (_SUSPEND, self._in_reactor(self._suspended)),
            (_QUIT, self._quit),
        ):
            number = getattr(signal, name, None)
            if number is not None:
                self._handlers[number] = signal.signal(number, handler)
        self._take()

    def close(self) -> None:
        """Give the terminal back for good. May be called more than once."""
        if self._fd < 0:
            return
        self.give_back()
        atexit.unregister(self.give_back)
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._handlers.clear()
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        os.close(self._fd)
        self._fd = -1

    def give_back(self) -> None:
        """
        Make the terminal as it was. It needs no reactor, and may be called at any time, by a signal's handler
        too.
        """
        if not self.active:
            return
        self.active = False
        self._out = b""
        with contextlib.suppress(OSError, termios.error):
            select.select([], [self._fd], [], _LEAVE_WITHIN)
            os.write(self._fd, _LEAVE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def _take(self) -> None:
        """Make it raw, and show the alternate screen, if this process is in the foreground."""
        try:
            if not self._in_foreground():
                return
            mode = termios.tcgetattr(self._fd)
            mode[0] &= ~termios.IXON  # Ctrl-S would only look as if all had come to a stop
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        except (OSError, termios.error):
            return
        self.active = True
        self._reactor.addReader(self)
        self.write(_ENTER)

    def _in_foreground(self) -> bool:
        return os.tcgetpgrp(self._fd) == os.getpgrp()

    # -- signals --------------------------------------------------------------------------------------------

    def _in_reactor(self, act: Callable[[], None]) -> Callable[..., None]:
        return lambda number, frame: self._reactor.callFromThread(act)

    def _changed(self) -> None:
        if self.active:
            self._on_change()

    def _suspended(self) -> None:
        """Ctrl-Z: stop like any program, with the terminal as it was."""
        if self._fd < 0:
            return
        self.give_back()
        self._reactor.removeReader(self)  # who reads in the background is stopped
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # here the process stands still until SIGCONT
        signal.signal(signal.SIGTSTP, handler)
        self._continued()

    def _continued(self) -> None:
        """The process goes on: with C{fg} in the foreground, with C{bg} without a screen."""
        if self._fd >= 0:
            # If it was stopped by SIGSTOP, somebody else may have changed the terminal meanwhile.
            self.active = False
            self._out = b""
            self._reactor.removeReader(self)
            self._take()
            self._changed()

    def check(self) -> None:
        """
        See whether the process is in the foreground now: shells send no signal when they bring one there
        that runs. To be called once a second.
        """
        with contextlib.suppress(OSError):
            if self._fd >= 0 and self._in_foreground() is not self.active:
                self._continued()

    def _quit(self, number: int, frame: object) -> None:
        r"""Ctrl-\ ends the process at once, as it does others, but with the terminal as it was."""
        self.give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    # -- input and output -----------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._fd)
        except OSError:
            columns, lines = 0, 0
        return columns or 80, lines or 24

    @property
    def busy(self) -> bool:
        """Whether bytes wait."""
        return bool(self._out)

    def write(self, data: bytes) -> None:
        """Write, now or as soon as the terminal takes it. Nothing happens while it is not active."""
        if self.active:
            waiting, self._out = bool(self._out), self._out + data
            if not waiting:
                self.doWrite()
                if self._out:
                    self._reactor.addWriter(self)

    def doWrite(self) -> None:
        """Write what waits, as far as the terminal takes it."""
        try:
            while self._out:
                self._out = self._out[os.write(self._fd, self._out) :]
        except BlockingIOError:
            return
        except OSError:
            self._gone()
            return
        self._reactor.removeWriter(self)
        self._on_drained()

    def doRead(self) -> None:
        """Keys were pressed, or the terminal was closed."""
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if self.active:
                self._on_data(data)
        elif self._hung_up():
            self._gone()

    def _hung_up(self) -> bool:
        """Whether there is no terminal any more. In the background, reading fails, too."""
        try:
            os.tcgetpgrp(self._fd)
        except OSError:
            return True
        return False

    def _gone(self) -> None:
        self.active = False
        self._out = b""
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._on_gone()

    def fileno(self) -> int:
        """See L{IReadWriteDescriptor}."""
        return self._fd

    def logPrefix(self) -> str:
        """See L{IReadWriteDescriptor}."""
        return "terminal"

    def connectionLost(self, reason: object) -> None:
        """The reactor says that it was closed, or stops."""
        if self._fd >= 0:
            if self._hung_up():
                self._gone()
            else:
                self.give_back()
