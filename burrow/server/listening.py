"""
Listening sockets: opened here, inherited from the parent process, or shared with another process.

A server that is replaced leaves its sockets to its successor, so that no connection is refused in between.
The successor inherits those of the two main ports; those of public TCP ports, which come and go, are kept by
the parent process (L{TcpSockets}).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater

from burrow.addresses import ListenAddress
from burrow.descriptors import EXHAUSTED, Shortage
from burrow.errors import ConfigError
from burrow.protocols.udp.framing import MAX_DATAGRAM
from burrow.server.port_closing import BACKLOG, HANDSHAKES_END, drop_new_connections, stop_listening

ACCEPT_AGAIN = 0.25
"""Seconds until a port accepts again, after no file descriptor was left for a connection."""

Guard = Callable[[IProtocolFactory], IProtocolFactory]
"""Wraps a factory that serves public connections: see L{burrow.server.counting}."""

_SHARE: int | None = getattr(socket, "SO_REUSEPORT", None)


def _open(host: str, port: int, *, share: bool) -> socket.socket:
    """Open a listening socket. @raise OSError: it cannot be opened."""
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
        # On Linux what is accepted begins so, too: see L{burrow.reactor.transports.Port}.
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        handle.setblocking(False)
        handle.bind((host, port))
        handle.listen(BACKLOG)
    except OSError:
        handle.close()
        raise
    return handle


def open_sockets(listen: ListenAddress, option: str) -> list[socket.socket]:
    """
    Open the sockets of an address: one, or two for all interfaces if one cannot accept both IPv6 and IPv4.

    @param option: the option that sets the address, for the error.
    @raise ConfigError: none can be opened.
    """
    host, port = listen.host, listen.port
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
    Serve a listening socket, which the reactor owns from now on.

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
    A listening socket for Twisted's port that stops accepting for a while when no file descriptor is left.
    New connections wait in the kernel's queue, to be served later or by another process.

    Twisted by itself would accept and close them with a spare descriptor. If a thread has taken that one, the
    port stays readable, and the reactor is busy without end.
    """

    def __init__(self, reactor: Any, port: Any) -> None:
        self._reactor = reactor
        self._port = port
        self._socket = port.socket
        self._again: IDelayedCall | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def accept(self) -> tuple[socket.socket, Any]:
        """See C{socket.accept}. @raise BlockingIOError: no connection can be accepted now."""
        try:
            accepted: tuple[socket.socket, Any] = self._socket.accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            Shortage.of(self._reactor).met(error.errno)
            self._port.stopReading()
            if self._again is None:
                self._again = self._reactor.callLater(ACCEPT_AGAIN, self._accept_again)
            raise BlockingIOError(errno.EAGAIN, "no file descriptor is left") from error
        return accepted

    def _accept_again(self) -> None:
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
    """Make a port of the reactor stop accepting while no file descriptor is left. @return: the port."""
    if getattr(port, "socket", None) is not None:  # else a fake, or a reactor without sockets
        port.socket = _Accepting(reactor, port)
    return port


class Listeners:
    """
    The sockets of the main ports.

    @param inherited: file descriptors of listening sockets, by port name; other ports are opened.
    @param guard: wraps each factory.
    """

    def __init__(
        self, reactor: Any, inherited: Mapping[str, Sequence[int]], guard: Guard = lambda factory: factory
    ) -> None:
        self._reactor = reactor
        self._guard = guard
        self._inherited = dict(inherited)
        self._listening: list[Any] = []
        self._own: list[Any] = []

    def listen(self, name: str, listen: ListenAddress, factory: IProtocolFactory) -> int:
        """
        Serve a port by C{factory}. @return: its number.

        @param name: "https", "http", "admin" or "metrics". @param listen: its address.
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
                listening = adopt(self._reactor, handle, guarded)
                self._listening.append(listening)
                if numbers is None:
                    self._own.append(listening)
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen}: {error.strerror}") from error
        return port

    async def close(self, *, for_good: bool = False) -> None:
        """
        Stop listening. A socket that another process has too keeps listening there.

        @param for_good: whether none has, from now on. Then it returns L{HANDSHAKES_END} later. It is for the
            parent process to drop new connections to those that were inherited from it.
        """
        if for_good and self._listening:
            for port in self._own:
                drop_new_connections(port.socket)
            await deferLater(self._reactor, HANDSHAKES_END)
        listening, self._listening, self._own = self._listening, [], []
        for port in listening:
            await stop_listening(port)


class TcpSockets:
    """
    The sockets of tunnels' public ports, which come and go.

    All processes of a C{burrow server} share one socket per port: the parent process (the keeper) gets a copy
    of each and gives it to the processes that it starts. If two processes open a port each, they share it by
    SO_REUSEPORT.

    @param inherited: file descriptors by port. @param keeper: a datagram socket to the parent process.
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

        @param shared: whether another process of the same service may have it open too.
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
            self._tell_keeper(port, [handle.fileno()])
        try:
            return adopt(self._reactor, handle, factory)
        except OSError as error:
            self.closed(port)
            raise CannotListenError(interface, port, error) from error

    def listen_for_datagrams(self, port: int, protocol: DatagramProtocol, interface: str) -> Any:
        """
        Serve a UDP port, which no other process shares. @return: an L{IListeningPort}.

        @raise CannotListenError: it is in use.
        """
        kinds = (interface,) if interface else ("::", "0.0.0.0")  # "::" takes IPv4, too, where there is IPv6
        for number, each in enumerate(kinds, 1):
            try:
                return self._reactor.listenUDP(port, protocol, interface=each, maxPacketSize=MAX_DATAGRAM)
            except CannotListenError as error:
                if number == len(kinds) or getattr(error.socketError, "errno", None) == errno.EADDRINUSE:
                    raise
        raise AssertionError("one of them is the last")

    @staticmethod
    def _open(interface: str, port: int, *, shared: bool) -> socket.socket:
        if not interface:
            try:
                return TcpSockets._open("::", port, shared=shared)  # accepts IPv4 too
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise
                interface = "0.0.0.0"  # a machine without IPv6
        if not shared:
            _open(interface, port, share=False).close()
        return _open(interface, port, share=True)

    def closed(self, port: int) -> None:
        """No open tunnel has the port any more: the keeper closes its copy."""
        self._tell_keeper(port, [])

    def close_unused(self) -> None:
        """Close the inherited sockets that no tunnel uses: connections to them are refused from now on."""
        inherited, self._inherited = self._inherited, {}
        for port, handle in inherited.items():
            handle.close()
            self._tell_keeper(port, [])

    def _tell_keeper(self, port: int, handles: list[int]) -> None:
        if self._keeper is not None:
            # If the keeper is too busy to receive it, a successor opens the port itself.
            with contextlib.suppress(OSError):
                socket.send_fds(self._keeper, [str(port).encode()], handles)
