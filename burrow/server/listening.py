"""
Sockets that listen: opened here, inherited from the process that started this one, or shared with another.

A server that is replaced leaves its sockets to its successor, so that no connection is refused in between:
those of the two main ports are inherited, one socket with one queue; those of public TCP ports, which come
and go, are handed to the process that stays (L{TcpSockets}).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory

from burrow.descriptors import EXHAUSTED, Shortage
from burrow.errors import ConfigError
from burrow.values import split_listen

ACCEPT_AGAIN = 0.25
"""Seconds until a port that had no file descriptor for who came tries again."""

BACKLOG = 1024
"""Connections that wait in the kernel to be accepted."""

Guard = Callable[[IProtocolFactory], IProtocolFactory]
"""Wraps a factory that is served to strangers: see L{burrow.server.counting}."""

_SHARE: int | None = getattr(socket, "SO_REUSEPORT", None)


def _open(host: str, port: int, *, share: bool) -> socket.socket:
    """@raise OSError: it cannot be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    handle = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share and _SHARE is not None:
            handle.setsockopt(socket.SOL_SOCKET, _SHARE, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        handle.setblocking(False)
        handle.bind((host, port))
        handle.listen(BACKLOG)
    except OSError:
        handle.close()
        raise
    return handle


def open_sockets(listen: str, option: str) -> list[socket.socket]:
    """
    The sockets of C{HOST:PORT}: one, or for all interfaces two where one does not take both IPv6 and IPv4.

    @param option: what chooses another address.
    @raise ConfigError: none can be opened.
    """
    host, port = split_listen(listen)
    opened: list[socket.socket] = []
    failure: OSError | None = None
    for interface in [host] if host else ["::", "0.0.0.0"]:
        try:
            opened.append(_open(interface, port, share=False))
        except OSError as error:
            failure = error
            continue
        port = opened[-1].getsockname()[1]
        if interface != "::" or not opened[-1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            break
    if not opened:
        reason = failure.strerror if failure is not None else "no address"
        raise ConfigError(f"cannot listen on {listen}: {reason}; choose another with {option} HOST:PORT")
    return opened


def adopt(reactor: Any, handle: socket.socket, factory: IProtocolFactory) -> Any:
    """
    Serve a socket that listens; it is the reactor's from now on.

    @return: an L{IListeningPort}. @raise OSError: no file descriptor is left.
    """
    host, port = handle.getsockname()[:2]
    with handle:  # the reactor has a duplicate
        if hasattr(reactor, "adoptStreamPort"):
            return wait_when_exhausted(
                reactor, reactor.adoptStreamPort(handle.fileno(), handle.family, factory)
            )
    return reactor.listenTCP(port, factory, interface=host, backlog=BACKLOG)


class _Accepting:
    """
    A socket that listens, for Twisted's port, that waits where no file descriptor is left for who comes: who
    waits in the kernel's queue may be served in a moment, or by another process.

    Twisted would accept and close them by a spare descriptor; once a thread has taken that, its port would be
    readable for ever, and the reactor busy with it.
    """

    def __init__(self, reactor: Any, port: Any) -> None:
        self._reactor = reactor
        self._port = port
        self._socket = port.socket
        self._again: IDelayedCall | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def accept(self) -> tuple[socket.socket, Any]:
        """See C{socket.accept}. @raise BlockingIOError: nobody can be taken now."""
        try:
            accepted: tuple[socket.socket, Any] = self._socket.accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            Shortage.of(self._reactor).met(error.errno)
            self._port.stopReading()
            if self._again is None:
                self._again = self._reactor.callLater(ACCEPT_AGAIN, self._go_on)
            raise BlockingIOError(errno.EAGAIN, "no file descriptor is left") from error
        return accepted

    def _go_on(self) -> None:
        self._again = None
        if not self._port.disconnecting:
            self._port.startReading()

    def close(self) -> None:
        """See C{socket.close}."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._socket.close()


def wait_when_exhausted(reactor: Any, port: Any) -> Any:
    """Have a port of the reactor's accept nobody while no file descriptor is left. @return: the port."""
    if getattr(port, "socket", None) is not None:  # else it is a fake's, or of a reactor without sockets
        port.socket = _Accepting(reactor, port)
    return port


class Listeners:
    """
    The main ports' sockets.

    @param inherited: file descriptors of sockets that listen, by port name; others are opened.
    @param guard: stands before each factory that is served.
    """

    def __init__(
        self, reactor: Any, inherited: Mapping[str, Sequence[int]], guard: Guard = lambda factory: factory
    ) -> None:
        self._reactor = reactor
        self._guard = guard
        self._inherited = dict(inherited)
        self._listening: list[IListeningPort] = []

    def listen(self, name: str, listen: str, factory: IProtocolFactory) -> int:
        """
        Serve a port by C{factory}: "https" or "http". @return: its number.

        @raise ConfigError: it cannot be opened.
        """
        numbers = self._inherited.pop(name, None)
        if numbers is None:
            handles = open_sockets(listen, f"--{name}")
        else:
            handles = [socket.socket(fileno=number) for number in numbers]
        port: int = handles[0].getsockname()[1]
        guarded = self._guard(factory)
        try:
            for handle in handles:
                self._listening.append(adopt(self._reactor, handle, guarded))
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen}: {error.strerror}") from error
        return port

    async def close(self) -> None:
        """Listen no more. A socket that another process has, too, goes on there."""
        listening, self._listening = self._listening, []
        for port in listening:
            await stop_listening(port)


class TcpSockets:
    """
    The sockets of public TCP ports, which come and go.

    A port is one socket for all processes of a C{burrow server}: the process that stays (the keeper) gets a
    copy of each and gives it to those that it starts. Two that open a port each share it by SO_REUSEPORT.

    @param inherited: file descriptors by port. @param keeper: a datagram socket to the process that stays.
    """

    def __init__(
        self, reactor: Any, inherited: Mapping[int, int] | None = None, keeper: socket.socket | None = None
    ) -> None:
        self._reactor = reactor
        self._keeper = keeper
        self._inherited = {port: socket.socket(fileno=number) for port, number in (inherited or {}).items()}

    def listen(self, port: int, factory: IProtocolFactory, interface: str, *, shared: bool) -> Any:
        """
        Serve a port.

        @param shared: whether another process of the same service may, too. If not, one in use is another's.
        @return: an L{IListeningPort}.
        @raise CannotListenError: it is in use.
        """
        if _SHARE is None or not hasattr(self._reactor, "adoptStreamPort"):
            return self._reactor.listenTCP(port, factory, interface=interface, backlog=BACKLOG)
        handle = self._inherited.pop(port, None)
        if handle is None:
            try:
                handle = self._open(interface, port, shared=shared)
            except OSError as error:
                raise CannotListenError(interface, port, error) from error
            self._tell(port, [handle.fileno()])
        try:
            return adopt(self._reactor, handle, factory)
        except OSError as error:
            self.closed(port)
            raise CannotListenError(interface, port, error) from error

    @staticmethod
    def _open(interface: str, port: int, *, shared: bool) -> socket.socket:
        if not interface:
            try:
                return TcpSockets._open("::", port, shared=shared)  # takes IPv4, too
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise
                interface = "0.0.0.0"  # a machine without IPv6
        if not shared:
            _open(interface, port, share=False).close()
        return _open(interface, port, share=True)

    def closed(self, port: int) -> None:
        """The port belongs to no live tunnel any more."""
        self._tell(port, [])

    def close_unused(self) -> None:
        """Close what was inherited and is nobody's: connections to it are refused from now on."""
        inherited, self._inherited = self._inherited, {}
        for port, handle in inherited.items():
            handle.close()
            self._tell(port, [])

    def _tell(self, port: int, handles: list[int]) -> None:
        if self._keeper is not None:
            # If it is too busy to listen, a successor opens the port itself.
            with contextlib.suppress(OSError):
                socket.send_fds(self._keeper, [str(port).encode()], handles)


async def stop_listening(listening: IListeningPort) -> None:
    """Stop a socket that listens; returns once it is closed. Connections that wait to be accepted are."""
    accept = getattr(listening, "doRead", None)
    if accept is not None and getattr(listening, "connected", False):
        listening.numberAccepts = BACKLOG  # type: ignore[attr-defined]  # else as many as came last time
        accept()
    stopping = listening.stopListening()
    if stopping is not None:
        await stopping
