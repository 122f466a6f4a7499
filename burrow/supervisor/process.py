"""The parent's side of one worker process: its start, its end, and the sockets that it opens."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from burrow.errors import BurrowError
from burrow.server.config import ServerConfig
from burrow.supervisor.pipe import ALIVE_FD, KEEPER_FD, READY_FD, Inherited, lines_to_say


class WorkerEnded(BurrowError):
    """A worker ended before it served. It wrote the reason on standard error itself."""

    told = True

    def __init__(self, code: int) -> None:
        super().__init__(f"the server process ended with exit code {code}")
        self.exit_code = code


class CannotStart(BurrowError):
    """The system starts no process now: it has no memory, or the user has as many processes as allowed."""


class WorkerProcess(ProcessProtocol):
    """
    One worker process.

    @ivar config: the configuration that it was started with.
    @ivar ready: fires with the lines that it says once it serves; fails with L{WorkerEnded} if it never does.
    @ivar ended: fires with its exit code; for a signal 128 and its number.
    @ivar dismissed: whether the parent asked it to end, so that none is started in its place.
    """

    def __init__(self, config: ServerConfig, keeper: PortKeeper) -> None:
        self.config = config
        self.ready: Deferred[list[str]] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self.dismissed = False
        self._keeper = keeper
        self._received = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """The worker's L{ready_line<burrow.supervisor.pipe.ready_line>} or a part of it."""
        self._received += data
        line, newline, _ = self._received.partition(b"\n")
        if newline and not self.ready.called:
            self.ready.callback(lines_to_say(line))

    def processEnded(self, reason: Failure) -> None:
        """The process has ended and its pipes are closed."""
        status: Any = reason.value
        code = status.exitCode if status.exitCode is not None else 128 + (status.signal or 0)
        if not self.ready.called:
            self.ready.errback(WorkerEnded(code))
        self._keeper.close()
        self.ended.callback(code)

    def signal(self, name: str) -> None:
        """Send a signal, as in "TERM"; nothing happens if the process has ended."""
        transport: Any = self.transport
        with contextlib.suppress(ProcessExitedAlready):
            transport.signalProcess(name)

    def dismiss(self, name: str) -> None:
        """Send a signal that makes the worker end: "HUP" when its streams have ended, "KILL" at once."""
        self.dismissed = True
        self.signal(name)


class PortKeeper:
    """
    Receives copies of the sockets of public TCP ports that one worker opens.

    @param kept: where they are kept, by port, for the workers that are started later.
    """

    def __init__(self, reactor: Any, kept: dict[int, socket.socket]) -> None:
        self._reactor = reactor
        self._kept = kept
        self._socket, self.workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.workers_end.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        """See L{IFileDescriptor<twisted.internet.interfaces.IFileDescriptor>}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See L{ILoggingContext<twisted.internet.interfaces.ILoggingContext>}."""
        return "keeper"

    def doRead(self) -> None:
        """Read all datagrams that have come."""
        with contextlib.suppress(OSError):
            while True:
                data, handles, _, _ = socket.recv_fds(self._socket, 100, 1)
                before = self._kept.pop(int(data), None)
                if before is not None:
                    before.close()
                if handles:
                    self._kept[int(data)] = socket.socket(fileno=handles[0])

    def connectionLost(self, reason: Failure) -> None:
        """See L{IFileDescriptor<twisted.internet.interfaces.IFileDescriptor>}."""
        self.close()

    def close(self) -> None:
        """Read what the worker sent before it ended, and close the socket."""
        if self._socket.fileno() >= 0:
            self.doRead()
            self._reactor.removeReader(self)
            self._socket.close()


def start_worker(
    reactor: Any,
    command: Sequence[str],
    config: ServerConfig,
    group: str,
    ports: Mapping[str, Sequence[socket.socket]],
    kept: dict[int, socket.socket],
) -> WorkerProcess:
    """
    Start a worker process.

    @param command: its command line. @param group: see L{Inherited}.
    @param ports: the main ports' sockets, which it inherits, by "https", "http" and "admin".
    @param kept: the public TCP ports' sockets, by port; it inherits them, and what it opens is added.
    @raise CannotStart: the system starts none now.
    """
    try:
        keeper = PortKeeper(reactor, kept)
    except OSError as error:
        raise CannotStart(f"no process can be started: {error.strerror}") from error
    files: dict[int, Any] = {0: 0, 1: 1, 2: 2, READY_FD: "r", ALIVE_FD: "w"}
    files[KEEPER_FD] = keeper.workers_end.fileno()

    def add(handle: socket.socket) -> int:
        number = len(files)
        files[number] = handle.fileno()
        return number

    inherited = Inherited(
        group,
        {name: [add(handle) for handle in handles] for name, handles in ports.items()},
        {port: add(handle) for port, handle in kept.items()},
    )
    worker = WorkerProcess(config, keeper)
    try:
        reactor.spawnProcess(
            worker, command[0], command, env={**os.environ, **inherited.variable()}, childFDs=files
        )
    except OSError as error:
        keeper.close()
        raise CannotStart(f"no process can be started: {error.strerror}") from error
    finally:
        keeper.workers_end.close()
    return worker
