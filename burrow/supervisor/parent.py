"""
The parent: opens the main ports' sockets, starts C{--workers} processes that serve with them, starts another
where one ends, and at SIGHUP replaces all of them.

To replace them it starts new ones, with the code and the configuration of now; once those serve, the old ones
drain. If one of the new ones does not serve, the old ones stay.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from itertools import chain
from secrets import token_hex
from typing import Any

from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow.addresses import ListenAddress
from burrow.errors import BurrowError, ConfigError
from burrow.server.config import ServerConfig
from burrow.server.listening import open_sockets
from burrow.server.port_closing import drop_new_connections
from burrow.supervisor.claim import Claim
from burrow.supervisor.pipe import READY_TIMEOUT
from burrow.supervisor.process import CannotStart, WorkerEnded, WorkerProcess, start_worker
from burrow.supervisor.systemd import feed_watchdog, notify

STOP_TIMEOUT = 10.0
"""Seconds that a worker may take to stop beside C{stop_grace}: to close its sessions and leave the store."""

NOW_TIMEOUT = 3.0
"""Seconds that a worker may take to end when it is asked to end at once."""

_POLL_EVERY = 0.02
_RETRY_FIRST, _RETRY_LIMIT = 0.1, 5.0


class Supervisor:
    """
    The parent of one C{burrow server}.

    @param command: the workers' command line.
    @param read: reads the configuration, when this is made and at each reload. It raises L{BurrowError}.
    @param say: shows a person a line.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        read: Callable[[], ServerConfig],
        say: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._command = command
        self._read = read
        self._say = say
        self._group = token_hex(6)
        self._config = read()
        self._sockets: dict[tuple[str, ListenAddress], list[socket.socket]] = {}
        self._tcp: dict[int, socket.socket] = {}
        self._workers: set[WorkerProcess] = set()
        self._stopping = False
        self._reloading = False
        self._reload_again = False
        self._delay = _RETRY_FIRST
        self._reloads = 0
        self._failed_reloads = 0
        self._claim: Claim | None = None
        self._told_idle = False

    # -- start, stop and reload ---------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Take the state folder, open the sockets and start the workers.

        @raise BurrowError: the folder or a socket is not available, or a worker does not serve.
        """
        # With Redis there may be no state folder that can be written; with SQLite the store is in it.
        self._claim = Claim(self._config.state_dir, needed=not self._config.store)
        self._open(self._config)
        greetings = await self._start_all(self._config)
        for line in greetings[0]:
            self._say(line)
        self._write_state()
        notify("READY=1")
        feed_watchdog(self._reactor)

    def _write_state(self) -> None:
        """Tell C{burrow server reload} how many reloads there were, and how many failed."""
        if self._claim is not None:
            self._claim.write(reloaded=self._reloads, failed=self._failed_reloads)

    async def stop(self) -> None:
        """
        Close the sockets and end all workers, which let running work end for C{stop_grace} seconds at most.
        Cancelled, they end at once. Another server may take the state folder and the ports meanwhile.
        """
        self._stopping = True
        notify("STOPPING=1")
        # The kernel goes on to accept connections for a socket that is open here, and no worker serves them.
        main_ports = list(chain.from_iterable(self._sockets.values()))
        for handle in main_ports:
            drop_new_connections(handle)
        for handle in [*main_ports, *self._tcp.values()]:
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
                worker.signal("INT")  # a worker ends at once then: see StopSignals
            with contextlib.suppress(CancelledError):
                await self._all_ended(NOW_TIMEOUT)
        for worker in list(self._workers):
            worker.signal("KILL")

    async def _all_ended(self, within: float) -> None:
        """Wait until no worker is left, for C{within} seconds at most."""
        ends = self._reactor.seconds() + within
        while self._workers and self._reactor.seconds() < ends:
            await deferLater(self._reactor, _POLL_EVERY)

    def reload(self) -> None:
        """Replace the workers. A reload that is asked for during another one follows it."""
        if self._reloading:
            self._reload_again = True
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
            self._failed_reloads += 1
            self.log.error("nothing was replaced: {error}", error=error)
        else:
            self._config = config
            self._reloads += 1
            # Among them may be one that was started during the reload in place of one that died.
            for worker in [each for each in self._workers if each.config is not config]:
                if not worker.dismissed:
                    worker.dismiss("HUP")
            self._close_unused(config)
            self._start_missing()
            self.log.info("replaced the server's processes: the old ones end when nothing runs on them")
        self._write_state()
        self._tell_whether_any_serves()
        notify("READY=1")
        self._reloading = False
        if self._reload_again:
            self._reload_again = False
            self.reload()

    # -- sockets of the main ports --------------------------------------------------------------------------

    def _open(self, config: ServerConfig) -> None:
        for name, listen in config.listens:
            if (name, listen) not in self._sockets:
                self._sockets[name, listen] = open_sockets(listen, f"--{name}")

    def _close_unused(self, config: ServerConfig) -> None:
        for key in self._sockets.keys() - set(config.listens):
            for handle in self._sockets.pop(key):
                handle.close()

    # -- workers --------------------------------------------------------------------------------------------

    async def _start_all(self, config: ServerConfig) -> list[list[str]]:
        """
        Start C{config.workers} workers.

        @return: what each says once it serves.
        @raise BurrowError: one does not serve. Then those that were started are killed.
        """
        started: list[WorkerProcess] = []
        greetings = []
        try:
            # The first one alone, since it makes what all share: the database, the CA, the first certificate.
            for count in (1, config.workers - 1):
                batch = [self._start(config) for _ in range(count)]
                started += batch
                for worker in batch:
                    greetings.append(await worker.ready.addTimeout(READY_TIMEOUT, self._reactor))
        except (WorkerEnded, CannotStart, TimeoutError) as error:
            for worker in started:
                worker.ready.addErrback(lambda reason: None)  # the first reason is told, no other
                worker.dismiss("KILL")
            if isinstance(error, TimeoutError):
                raise ConfigError(f"the server did not start within {READY_TIMEOUT:.0f} s") from error
            raise
        for worker in started:
            worker.ended.addCallback(self._ended, worker)
        return greetings

    def _start(self, config: ServerConfig) -> WorkerProcess:
        """@raise CannotStart: the system starts no process now."""
        ports = {name: self._sockets[name, listen] for name, listen in config.listens}
        worker = start_worker(self._reactor, self._command, config, self._group, ports, self._tcp)
        self._workers.add(worker)

        def forget(code: int) -> int:
            self._workers.discard(worker)
            return code

        worker.ended.addCallback(forget)
        return worker

    def _ended(self, code: int, worker: WorkerProcess) -> int:
        """A worker that served has ended: start another, unless it was asked to end."""
        if not (worker.dismissed or self._stopping):
            self.log.error("a server process ended with exit code {code}; starting another", code=code)
            self._tell_whether_any_serves()
            self._start_missing()
        return code

    def _missing(self) -> int:
        """How many workers of the configuration of now are neither there nor being started."""
        there = [each for each in self._workers if each.config is self._config and not each.dismissed]
        return self._config.workers - len(there)

    def _start_missing(self) -> None:
        for _ in range(self._missing()):
            ensureDeferred(self._start_again()).addErrback(
                lambda reason: self.log.failure("no server process can be started", reason)
            )

    async def _start_again(self) -> None:
        """
        Start one worker; try until it serves or this stops. Whether one is missing is asked at each try: a
        reload meanwhile may have started all that are needed, or left one out that died before it was over.
        """
        while not self._stopping and self._missing() > 0:
            config = self._config
            worker = None
            try:
                worker = self._start(config)
                await worker.ready.addTimeout(READY_TIMEOUT, self._reactor)
            except (CannotStart, WorkerEnded, TimeoutError) as error:
                if worker is not None:
                    worker.dismiss("KILL")
                self.log.error("{error}; trying again", error=error)
                delay, self._delay = self._delay, min(self._delay * 2, _RETRY_LIMIT)
                await deferLater(self._reactor, delay)
                continue
            if self._config is not config:  # a reload was done meanwhile
                if not worker.dismissed:
                    worker.dismiss("HUP")
                continue
            self._delay = _RETRY_FIRST
            worker.ended.addCallback(self._ended, worker)
            self._tell_whether_any_serves()
            return

    def _tell_whether_any_serves(self) -> None:
        """Tell systemd when no worker serves, and when one does again: the service stays ready meanwhile."""
        idle = not any(worker.ready.called and not worker.dismissed for worker in self._workers)
        if idle != self._told_idle:
            self._told_idle = idle
            notify("STATUS=no server process runs; starting another" if idle else "STATUS=serving again")
