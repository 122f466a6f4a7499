"""The program that C{burrow run} starts: its port, its signals, its end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from burrow.errors import ConfigError
from burrow.program.sockets_of import listening

SOON, LATER = 0.1, 2.0
"""Seconds between two looks for its port, before one is found and after."""

PASSED = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
OF_TERMINAL = ("SIGINT", "SIGQUIT")
"""Signals that a terminal sends to all processes in its foreground: the program has them already."""


def program_path(command: Sequence[str]) -> str:
    """Where a command's program is. @raise ConfigError: nowhere."""
    if sys.platform == "win32":
        raise ConfigError("burrow run is not for Windows: start the program, and burrow http PORT beside it")
    path = shutil.which(command[0])
    if path is None:
        raise ConfigError(f"there is no program {command[0]!r}: give its path, or install it")
    return path


_TIED = """
import ctypes, os, signal, sys
for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[3:])
"""
"""
Becomes a program that gets SIGTERM when the process that started it ends in whatever way (PR_SET_PDEATHSIG,
prctl(2)). Signals are as before: Python ignores two, and a program would go on to.
"""


def tied(path: str, arguments: list[str]) -> tuple[str, list[str]]:
    """A command that ends with this process, on Linux; elsewhere as it is."""
    if not sys.platform.startswith("linux") or not sys.executable:
        return path, arguments
    python = sys.executable
    return python, [python, "-I", "-S", "-c", _TIED, str(os.getpid()), path, *arguments]


class Child(ProcessProtocol):
    """
    @param command: the program and its arguments. @param environ: its environment.
    @param files: the soft limit of its open files; None for this process's.
    @ivar ended: fires with its exit code, as shells have it: 128 and the signal's number if it died by one.
    """

    def __init__(
        self, reactor: Any, command: Sequence[str], environ: Mapping[str, str], files: int | None
    ) -> None:
        self._reactor = reactor
        self._command = list(command)
        self._environ = dict(environ)
        self._files = files
        self._process: Any = None
        self.ended: Deferred[int] = Deferred()

    def start(self) -> None:
        """Start it, in this process's group and on its terminal. @raise ConfigError: there is none such."""
        path, arguments = program_path(self._command), self._command
        if self._files is not None:
            script = f'ulimit -S -n {self._files}; exec "$0" "$@"'
            path, arguments = "/bin/sh", ["sh", "-c", script, path, *self._command[1:]]
        path, arguments = tied(path, arguments)
        self._process = self._reactor.spawnProcess(
            self, path, arguments, env=self._environ, childFDs={0: 0, 1: 1, 2: 2}
        )

    @property
    def pid(self) -> int:
        """Its number; 0 if it does not run."""
        return int((self._process and self._process.pid) or 0)

    def processEnded(self, reason: Failure) -> None:
        """See L{ProcessProtocol}."""
        error: Any = reason.value
        code = error.exitCode if error.signal is None else 128 + error.signal
        self.ended.callback(code or 0)

    def send(self, number: int) -> None:
        """Send it a signal."""
        try:
            self._process.signalProcess(number)
        except (ProcessExitedAlready, AttributeError):
            return

    def pass_signals(self) -> None:
        """From now on it gets the signals that this process is sent. Call it while the reactor runs."""
        of_terminal = os.isatty(0)
        for name in PASSED:
            number = getattr(signal, name)
            signal.signal(number, _ignore if of_terminal and name in OF_TERMINAL else self._from_signal)

    def _from_signal(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self.send, number)


def _ignore(number: int, frame: object) -> None:
    """Do nothing. (An ignored signal would be ignored in programs that are started later, too.)"""


class PortWatch:
    """
    Looks where a program listens.

    @param pid: returns its number; 0 if it does not run. @param words: its command, in which a port may be.
    @param found: called with C{HOST:PORT} when it is found, and when it is another one.
    """

    def __init__(
        self,
        reactor: Any,
        pid: Callable[[], int],
        words: Sequence[str],
        found: Callable[[str], object],
        look: Callable[[int], list[str]] = listening,
    ) -> None:
        self._pid = pid
        self._words = " ".join(words[1:])
        self._tell = found
        self._look_at = look
        self._found = ""
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin."""
        self._loop.start(SOON)

    def stop(self) -> None:
        """End."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        pid = self._pid()
        found = self._look_at(pid) if pid else []
        if not found or self._found in found:
            return
        # A port that is in the command is the one that is meant: there may be one for a debugger.
        named = [one for one in found if one.rpartition(":")[2] in self._words]
        self._found = (named or found)[0]
        self._tell(self._found)
        self._loop.interval = LATER
