"""
C{burrow server}: one process that stays, and the processes that serve, which it replaces.

The process that stays opens the main ports' sockets and serves nobody. It starts C{--workers} processes of
the same command line, which inherit the sockets, and starts one again that ends. SIGHUP replaces them: new
ones start, with new code and configuration; once they serve, the old ones are drained.

The words between the two, on pipes: the worker writes one JSON line, C{{"ready": true, "say": [lines]}}, on
file 3 when it serves. File 4 tells it by its end that the process that stays is gone: it ends at once. SIGHUP
tells it to drain. On file 5, a datagram socket, it sends a copy of each public TCP port's socket that it
opens: the port's number with the file; and the number alone when the port is nobody's any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from itertools import chain
from secrets import token_hex
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.cli.claim import Claim
from burrow.errors import BurrowError, ConfigError
from burrow.server.config import ServerConfig
from burrow.server.listening import open_sockets

INHERITED = "BURROW_INHERITED"
"""The environment variable that makes a C{burrow server} a worker: JSON, what it inherits."""

READY_FD, ALIVE_FD, KEEPER_FD = 3, 4, 5
READY_TIMEOUT = 60.0
"""Seconds a worker may take until it serves."""

STOP_TIMEOUT = 10.0
"""Seconds that a worker may take to stop beside C{stop_grace}: to say good-bye, to leave the store."""

NOW_TIMEOUT = 3.0
"""Seconds that it may take when it is asked to end now."""

_LOOK_EVERY = 0.02
_AGAIN_FIRST, _AGAIN_LIMIT = 0.1, 5.0


class WorkerEnded(BurrowError):
    """A worker ended before it served. It has said why itself."""

    told = True

    def __init__(self, code: int) -> None:
        super().__init__(f"the server process ended with exit code {code}")
        self.exit_code = code


class CannotStart(BurrowError):
    """The system lets us start no process: no memory, or as many as the user may have. That may pass."""


class _Worker(ProcessProtocol):
    """
    One process that serves.

    @ivar ready: fires with what it says once it serves; fails if it ends before.
    @ivar ended: fires with its exit code.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.ready: Deferred[dict[str, Any]] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self.leaving = False
        self.alive = True
        self._said = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Its word that it serves."""
        self._said += data
        line, newline, _ = self._said.partition(b"\n")
        if newline and not self.ready.called:
            self.ready.callback(json.loads(line))

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self.alive = False
        status: Any = reason.value
        code = status.exitCode if status.exitCode is not None else 128 + (status.signal or 0)
        if not self.ready.called:
            self.ready.errback(WorkerEnded(code))
        self.ended.callback(code)

    def signal(self, name: str) -> None:
        """Send it a signal, if it still is."""
        transport: Any = self.transport
        with contextlib.suppress(ProcessExitedAlready):
            transport.signalProcess(name)


class _Keeper:
    """Reads what one worker sends of its public TCP ports' sockets."""

    def __init__(self, reactor: Any, kept: dict[int, socket.socket]) -> None:
        self._reactor = reactor
        self._kept = kept
        self._socket, self.workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.workers_end.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        """For the reactor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For the reactor."""
        return "keeper"

    def doRead(self) -> None:
        """Something came."""
        with contextlib.suppress(OSError):
            while True:
                data, handles, _, _ = socket.recv_fds(self._socket, 100, 1)
                before = self._kept.pop(int(data), None)
                if before is not None:
                    before.close()
                if handles:
                    self._kept[int(data)] = socket.socket(fileno=handles[0])

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor."""
        self.close()

    def close(self) -> None:
        """The worker is gone."""
        if self._socket.fileno() >= 0:
            self.doRead()
            self._reactor.removeReader(self)
            self._socket.close()


class Supervisor:
    """
    The process that stays.

    @param command: the workers' command line. @param read: reads the configuration, at the start and at each
    reload. @param say: shows a person a line.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, command: list[str], read: Callable[[], ServerConfig], say: Callable[[str], None]
    ) -> None:
        self._reactor = reactor
        self._command = command
        self._read = read
        self._say = say
        self._group = token_hex(6)
        self._config = read()
        self._sockets: dict[tuple[str, str], list[socket.socket]] = {}
        self._tcp: dict[int, socket.socket] = {}
        self._workers: set[_Worker] = set()
        self._stopping = False
        self._reloading = False
        self._again = False
        self._delay = _AGAIN_FIRST
        self._generation = 0
        self._failed = 0
        self._claim: Claim | None = None
        self._nobody_serves = False

    # -- its life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Take the state folder, open the sockets and start the workers.

        @raise BurrowError: the folder, a socket or a worker cannot be had.
        """
        # Only a store of its own is in the folder: a server on Redis may have one that it cannot write.
        self._claim = Claim(self._config.state_dir, needed=not self._config.store)
        self._open(self._config)
        workers = await self._start_all(self._config)
        lines = workers[0]["say"]
        for line in lines:
            self._say(line)
        self._write_state()
        notify("READY=1")

    def _write_state(self) -> None:
        """Say how often this server was reloaded, or failed to be."""
        if self._claim is not None:
            self._claim.write(reloaded=self._generation, failed=self._failed)

    async def stop(self) -> None:
        """
        Listen no more; end all workers, which let end what runs for C{stop_grace} seconds at most. Cancelled,
        they end now. Another server may have the state folder and the ports meanwhile.
        """
        self._stopping = True
        notify("STOPPING=1")
        # Left open, the kernel would go on to accept whom nobody serves: visitors, and agents that move.
        for handle in [*chain.from_iterable(self._sockets.values()), *self._tcp.values()]:
            handle.close()
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        for worker in list(self._workers):
            worker.signal("TERM")
        try:
            await self._all_ended(self._config.stop_grace + STOP_TIMEOUT)
        except CancelledError:
            for worker in list(self._workers):
                worker.signal("INT")  # see StopSignals: to a worker it says to end now
            with contextlib.suppress(CancelledError):
                await self._all_ended(NOW_TIMEOUT)
        for worker in list(self._workers):
            worker.signal("KILL")

    async def _all_ended(self, within: float) -> None:
        """Wait until no worker is left, for so many seconds at most."""
        ends = self._reactor.seconds() + within
        while self._workers and self._reactor.seconds() < ends:
            await deferLater(self._reactor, _LOOK_EVERY)

    def reload(self) -> None:
        """Replace the workers. Asked for meanwhile, it is done once more."""
        if self._reloading:
            self._again = True
        elif not self._stopping:
            self._reloading = True
            ensureDeferred(self._reload()).addErrback(
                lambda reason: self.log.failure("the reload failed", reason)
            )

    async def _reload(self) -> None:
        notify("RELOADING=1")
        try:
            config = self._read()
            if config.store == "memory":
                raise ConfigError("a store in memory cannot be handed over: restart the server instead")
            if config.state_dir != self._config.state_dir:
                raise ConfigError("a reload cannot change the state folder: restart the server instead")
            self._open(config)
            await self._start_all(config)
        except BurrowError as error:
            self._failed += 1
            self.log.error("nothing was replaced: {error}", error=error)
        else:
            self._config = config
            self._generation += 1
            # Also one that was started meanwhile in place of one that died.
            for worker in [each for each in self._workers if not each.leaving and each.config is not config]:
                worker.leaving = True
                worker.signal("HUP")
            self._close_unused(config)
            self.log.info("replaced the server's processes: the old ones end when nothing runs on them")
        self._write_state()
        self._tell_whether_any_serves()
        notify("READY=1")
        self._reloading = False
        if self._again:
            self._again = False
            self.reload()

    # -- sockets --------------------------------------------------------------------------------------------

    @staticmethod
    def _ports(config: ServerConfig) -> list[tuple[str, str]]:
        ports = [("https", config.https_listen), ("http", config.http_listen)]
        return [(name, listen) for name, listen in ports if listen]

    def _open(self, config: ServerConfig) -> None:
        for name, listen in self._ports(config):
            if (name, listen) not in self._sockets:
                self._sockets[name, listen] = open_sockets(listen, f"--{name}")

    def _close_unused(self, config: ServerConfig) -> None:
        for key in self._sockets.keys() - set(self._ports(config)):
            for handle in self._sockets.pop(key):
                handle.close()

    # -- workers --------------------------------------------------------------------------------------------

    async def _start_all(self, config: ServerConfig) -> list[dict[str, Any]]:
        """Start as many as there are to be; all of them serve, or none is left."""
        started: list[_Worker] = []
        words = []
        try:
            # The first alone: what has to be made once, it makes.
            for count in (1, config.workers - 1):
                batch = [self._start(config) for _ in range(count)]
                started += batch
                for worker in batch:
                    words.append(await worker.ready.addTimeout(READY_TIMEOUT, self._reactor))
        except (WorkerEnded, CannotStart, TimeoutError) as error:
            for worker in started:
                worker.leaving = True
                worker.ready.addErrback(lambda reason: None)  # one reason suffices
                worker.signal("KILL")
            if isinstance(error, TimeoutError):
                raise ConfigError(f"the server did not start within {READY_TIMEOUT:.0f} s") from error
            raise
        for worker in started:
            worker.ended.addCallback(self._ended, worker)
        return words

    def _start(self, config: ServerConfig) -> _Worker:
        worker = _Worker(config)
        try:
            keeper = _Keeper(self._reactor, self._tcp)
        except OSError as error:
            raise CannotStart(f"no process can be started: {error.strerror}") from error
        files: dict[int, Any] = {0: 0, 1: 1, 2: 2, READY_FD: "r", ALIVE_FD: "w"}
        files[KEEPER_FD] = keeper.workers_end.fileno()
        inherited: dict[str, list[int]] = {}
        for name, listen in self._ports(config):
            for handle in self._sockets[name, listen]:
                number = len(files)
                files[number] = handle.fileno()
                inherited.setdefault(name, []).append(number)
        tcp = {port: len(files) + number for number, port in enumerate(self._tcp)}
        files.update({tcp[port]: handle.fileno() for port, handle in self._tcp.items()})
        words = {"group": self._group, "ports": inherited, "tcp": tcp}
        environment = {**os.environ, INHERITED: json.dumps(words)}
        try:
            self._reactor.spawnProcess(
                worker, self._command[0], self._command, env=environment, childFDs=files
            )
        except OSError as error:
            keeper.close()
            raise CannotStart(f"no process can be started: {error.strerror}") from error
        finally:
            keeper.workers_end.close()
        self._workers.add(worker)
        worker.ended.addCallback(self._gone, worker, keeper)
        return worker

    def _gone(self, code: int, worker: _Worker, keeper: _Keeper) -> int:
        keeper.close()
        self._workers.discard(worker)
        return code

    def _ended(self, code: int, worker: _Worker) -> int:
        """One that served is gone."""
        if not (worker.leaving or self._stopping):
            self.log.error("a server process ended with exit code {code}; starting another", code=code)
            self._tell_whether_any_serves()
            ensureDeferred(self._start_again()).addErrback(
                lambda reason: self.log.failure("no server process can be started", reason)
            )
        return code

    async def _start_again(self) -> None:
        while not self._stopping:
            config = self._config
            try:
                worker = self._start(config)
            except CannotStart as error:
                self.log.error("{error}; trying again", error=error)
                await self._wait_longer()
                continue
            try:
                await worker.ready.addTimeout(READY_TIMEOUT, self._reactor)
            except (WorkerEnded, TimeoutError) as error:
                worker.leaving = True
                worker.signal("KILL")
                self.log.error("{error}; trying again", error=error)
                await self._wait_longer()
                continue
            if self._config is not config:  # a reload was quicker, and started as many as there are to be
                worker.leaving = True
                worker.signal("HUP")
                return
            self._delay = _AGAIN_FIRST
            worker.ended.addCallback(self._ended, worker)
            self._tell_whether_any_serves()
            return

    def _tell_whether_any_serves(self) -> None:
        """Have systemd show that nobody serves, and when somebody does again: for it, we stay ready."""
        nobody = not any(worker.ready.called and not worker.leaving for worker in self._workers)
        if nobody != self._nobody_serves:
            self._nobody_serves = nobody
            notify("STATUS=no server process runs; starting another" if nobody else "STATUS=serving again")

    async def _wait_longer(self) -> None:
        delay, self._delay = self._delay, min(self._delay * 2, _AGAIN_LIMIT)
        await deferLater(self._reactor, delay)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), if it started us as a service of C{Type=notify} or C{notify-reload}."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):
        return
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)


def on_hangup(reactor: Any, action: Callable[[], None]) -> None:
    """Call C{action} in the reactor at each SIGHUP, where there is one."""
    number = getattr(signal, "SIGHUP", None)
    if number is not None:
        signal.signal(number, lambda *_: reactor.callFromThread(action))


def command_line() -> list[str]:
    """This process's own command line, for a worker."""
    return [sys.executable, "-m", "burrow.cli.main", *sys.argv[1:]]
