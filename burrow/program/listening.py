"""C{burrow.listen}: visitors' connections for the program itself, without a port on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any

from burrow.client.tunnels import find_kind
from burrow.errors import BurrowError, ConfigError
from burrow.program.api import plan_forward
from burrow.program.tunnel import Tunnel
from burrow.protocols.base import Reach
from burrow.wording import PROGRAM

BACKLOG = 128
"""Connections that wait to be accepted, at most; who comes then waits in the agent, 10 s at most."""

MAX_LINE = 107
"""Bytes of the line that tells a visitor's address (the PROXY protocol, version 1, section 2.1)."""

HEAD_WITHIN = 10.0
"""Seconds for that line, which the agent writes at once."""


class Connection:
    """
    One visitor's connection.

    @ivar socket: blocking. @ivar visitor: the visitor's address, C{(host, port)}; None if the tunnel's kind
        does not tell it.
    """

    def __init__(self, socket: socket.socket, visitor: tuple[str, int] | None) -> None:
        self.socket = socket
        self.visitor = visitor

    def __enter__(self) -> socket.socket:
        return self.socket

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()


class _Door:
    """A UNIX socket in a folder that this user alone can enter."""

    def __init__(self) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError("burrow.listen needs UNIX sockets, which are missing here: use burrow.forward")
        self.folder = tempfile.mkdtemp(prefix="burrow-")
        self.path = os.path.join(self.folder, "listen")
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.bind(self.path)
            self.socket.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise ConfigError(f"burrow.listen cannot use {self.folder}: {error.strerror}") from error

    def close(self) -> None:
        self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Listener:
    """
    A tunnel whose visitors the program serves itself. Close it, or use C{with}.

    @ivar tunnel: the L{Tunnel}. @ivar url: where visitors reach it.
    """

    def __init__(self, tunnel: Tunnel, door: _Door, told: bool) -> None:
        self.tunnel = tunnel
        self.url = tunnel.url
        self._door = door
        self._told = told

    def accept(self, timeout: float | None = None) -> Connection:
        """
        Wait for a visitor.

        @param timeout: seconds. @raise TimeoutError: none came in time.
        @raise BurrowError: the listener is closed.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if ends is None else max(ends - time.monotonic(), 0.0)
            try:
                self._door.socket.settimeout(left)
                accepted, _ = self._door.socket.accept()
            except TimeoutError:
                raise TimeoutError(f"no visitor came to {self.url} within {timeout:g} s") from None
            except OSError as error:
                raise BurrowError(f"the listener of {self.url} is closed") from error
            accepted.settimeout(HEAD_WITHIN)
            with contextlib.suppress(OSError, ValueError):
                visitor = _visitor(_line(accepted)) if self._told else None
                accepted.settimeout(None)
                return Connection(accepted, visitor)
            accepted.close()  # it left before its first byte

    def __iter__(self) -> Iterator[Connection]:
        """All visitors, until the listener is closed."""
        with contextlib.suppress(BurrowError):
            while True:
                yield self.accept()

    def close(self, *, now: bool = False) -> None:
        """
        Take no more visitors, and close the tunnel, once what the program has sent is with its visitors.

        @param now: do not wait for that; else C{stop_grace} seconds at most, and for silent connections not.
        """
        with contextlib.suppress(OSError):
            self._door.socket.shutdown(socket.SHUT_RDWR)  # wakes who waits
        self._door.close()
        self.tunnel.close(now=now)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(now=kind is not None)


class AsyncListener:
    """The same under asyncio. @ivar tunnel: the L{Tunnel}. @ivar url: where visitors reach it."""

    def __init__(self, tunnel: Tunnel, door: _Door, told: bool) -> None:
        self.tunnel = tunnel
        self.url = tunnel.url
        self._door = door
        self._told = told

    async def accept(
        self,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, tuple[str, int] | None]:
        """Wait for a visitor: its streams, and its address as L{Connection} has it."""
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._door.socket)
            reader, writer = await asyncio.open_unix_connection(sock=accepted)
            if not self._told:
                return reader, writer, None
            with contextlib.suppress(OSError, ValueError, TimeoutError):
                async with asyncio.timeout(HEAD_WITHIN):
                    return reader, writer, _visitor(await reader.readline())
            writer.close()  # it left before its first byte


def listen(kind: str = "tcp", *, name: str | None = None, **options: Any) -> Listener:
    """
    Open a tunnel whose visitors' connections the program accepts::

        with burrow.listen("tcp") as listener:
            print(listener.url)
            with listener.accept() as connection:
                connection.sendall(b"hello")

    @param kind: "tcp", "http" (bytes of HTTP/1.1), or any other whose upstream is a socket.
    @param name, options: as of L{forward<burrow.program.api.forward>}.
    @raise BurrowError: the tunnel cannot be opened.
    """
    door = _Door()
    try:
        plan, told = _plan(door, kind, name, options)
        return Listener(plan.open(), door, told)
    except BaseException:
        door.close()
        raise


@contextlib.asynccontextmanager
async def alisten(
    kind: str = "tcp", *, name: str | None = None, **options: Any
) -> AsyncIterator[AsyncListener]:
    """
    The same under asyncio::

        async with burrow.alisten("tcp") as listener:
            reader, writer, visitor = await listener.accept()
    """
    door = _Door()
    try:
        plan, told = _plan(door, kind, name, options)
        async with await plan.aopen() as tunnel:
            door.socket.setblocking(False)
            yield AsyncListener(tunnel, door, told)
    finally:
        door.close()


def _plan(door: _Door, kind: str, name: str | None, options: dict[str, Any]) -> tuple[Any, bool]:
    """What to open, and whether its connections begin with the visitor's address."""
    if options.get("proxy_protocol"):
        raise ConfigError("burrow.listen tells each visitor's address itself: leave proxy_protocol out")
    reach = find_kind(kind, PROGRAM).reach
    if reach is Reach.UDP_PORT:
        raise ConfigError(f"burrow.listen takes connections, and tunnels of kind {kind} have none: write tcp")
    if kind == "files":
        raise ConfigError("burrow.listen takes connections itself: write tcp, tls or http, or burrow.forward")
    told = kind in ("tcp", "tls")
    if told:
        options = {**options, "proxy_protocol": "v1"}
    return plan_forward(f"unix:{door.path}", name, kind, options), told


def _line(connection: socket.socket) -> bytes:
    """The first line, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > MAX_LINE:
            raise ValueError("no line")
        line += byte
    return line


def _visitor(line: bytes) -> tuple[str, int] | None:
    """C{PROXY TCP4 SOURCE DESTINATION PORT PORT}. @raise ValueError: the line is none."""
    words = line.decode("ascii").split()
    if words[:1] != ["PROXY"]:
        raise ValueError("no address")
    return (words[2], int(words[4])) if len(words) == 6 else None
