"""A worker process: it serves with the sockets that it inherited, until the parent has it drain or stop."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from burrow.hangup import on_hangup
from burrow.server.config import ServerConfig
from burrow.server.listening import TcpSockets
from burrow.server.service import BurrowServer
from burrow.supervisor.pipe import ALIVE_FD, KEEPER_FD, READY_FD, Inherited, ready_line


class _Parent(Protocol):
    """
    The pipes to the parent.

    @ivar needed: whether this process exits when the parent has died. False once it ends by itself.
    """

    needed = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The parent died: exit now, so that no orphan keeps the ports."""
        if self.needed:
            os._exit(1)


async def work(
    reactor: Any,
    config: ServerConfig,
    inherited: Inherited,
    greeting: Callable[[BurrowServer], Sequence[str]],
) -> None:
    """
    Serve until SIGHUP asks to drain, and then until no stream is left, for C{config.drain} seconds at most.
    Cancelled, the server stops.

    @param greeting: the lines that the first worker has the parent print once it serves.
    @raise BurrowError: the server cannot start.
    """
    parent = _Parent()
    cast(Any, StandardIO)(parent, stdin=ALIVE_FD, stdout=READY_FD, reactor=reactor)
    try:
        server = BurrowServer(
            reactor,
            config,
            inherited=inherited.ports,
            tcp_sockets=TcpSockets(reactor, inherited.tcp, socket.socket(fileno=KEEPER_FD)),
            group=inherited.group,
        )
        server.startService()
        drain: Deferred[None] = Deferred()
        try:
            await server.ready
            on_hangup(reactor, lambda: None if drain.called else drain.callback(None), also_ignored=True)
            cast(Any, parent.transport).write(ready_line(greeting(server)))
            await drain
            await server.drain(config.drain)
        finally:
            await server.stopService()
    finally:
        parent.needed = False
