"""The public ports of tunnels: opens and closes them, and serves each by the factory of its tunnel."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

from burrow.errors import BadOption, Unavailable
from burrow.mux.control import visitor_address
from burrow.server.datagram_ports import DatagramPorts
from burrow.server.listening import Guard, TcpSockets
from burrow.server.port_closing import stop_listening
from burrow.sockets import swap_protocol
from burrow.traffic.counts import Connections
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record
from burrow.traffic.watched import watch


def _reason(error: CannotListenError) -> str:
    if getattr(error.socketError, "errno", None) == errno.EADDRINUSE:
        return "another program on the server's machine has it, or had it within the last minute"
    return getattr(error.socketError, "strerror", None) or str(error.socketError)


def outgoing_warning(allowed: range, settings: Path = Path("/proc/sys/net/ipv4")) -> str:
    """
    The warning that the kernel gives some of the ports in C{allowed} to outgoing connections, so that one may
    be busy when its tunnel opens. Empty if it gives none, or the system does not tell.

    @param settings: the folder of Linux's C{ip_local_port_range} and C{ip_local_reserved_ports}: see
        Documentation/networking/ip-sysctl.rst.
    """
    try:
        first, last = map(int, (settings / "ip_local_port_range").read_text().split())
        reserved = (settings / "ip_local_reserved_ports").read_text().strip()
    except (OSError, ValueError):
        return ""
    given = set(range(max(first, allowed.start), min(last + 1, allowed.stop)))
    for item in filter(None, reserved.split(",")):
        start, _, stop = item.partition("-")
        given.difference_update(range(int(start), int(stop or start) + 1))
    if not given:
        return ""
    wanted = f"{allowed.start}-{allowed.stop - 1}"
    return (
        f"--tcp-ports {wanted} shares ports with outgoing connections of this machine ({first} to {last}): "
        f"a tunnel's port may be busy when it is to be opened. Choose others, or reserve them: "
        f"sysctl net.ipv4.ip_local_reserved_ports={wanted}"
    )


HandOver = Callable[[Any], bool]
"""
Offers a transport, before anything is read or written, to another process; returns whether that has it now.
"""


class _PortFactory(Factory):
    """
    Serves a port by the factory of its tunnel, which can be exchanged while the socket stays open.

    @ivar inner: that factory.
    @ivar hand_over: offers each connection to another process first; None to serve all here.
    """

    noisy = False

    def __init__(
        self,
        inner: IProtocolFactory,
        hand_over: HandOver | None,
        build: Callable[[IProtocolFactory, Any], Any],
    ) -> None:
        self.inner = inner
        self.hand_over = hand_over
        self._build = build

    def buildProtocol(self, addr: Any) -> Any:
        if self.hand_over is not None:
            return _Offer(self, self.hand_over, addr)
        return self.serve(addr)

    def without_hand_over(self) -> _PortFactory:
        """The same for connections that were handed over."""
        return _PortFactory(self.inner, None, self._build)

    def serve(self, addr: Any) -> Any:
        """The protocol that serves one connection here; None if its tunnel refuses it."""
        return self._build(self.inner, addr)


class _Offer(Protocol):
    """Hands a new connection to another process, or has it served here."""

    transport: Any

    def __init__(self, port_factory: _PortFactory, hand_over: HandOver, addr: Any) -> None:
        self._port_factory = port_factory
        self._hand_over = hand_over
        self._addr = addr

    def connectionMade(self) -> None:
        """See L{IProtocol<twisted.internet.interfaces.IProtocol>}."""
        if self._hand_over(self.transport):
            return
        protocol = self._port_factory.serve(self._addr)
        if protocol is None:
            self.transport.abortConnection()
            return
        swap_protocol(self.transport, protocol)


class Ports:
    """
    @param interface: the address that public ports listen on; empty for all.
    @param allowed: the ports that tunnels may have. @param sockets: opens them.
    @param guard: wraps each factory. @param traffic: is told of connections.
    @param behind: wraps each whose connections come as the network has them: see
        L{Balanced<burrow.server.balanced.Balanced>}.
    @ivar visitors: the protocols of the open connections that are none of HTTP, those to SNI names, too.
    @ivar counts: how long those that ended took.
    """

    def __init__(
        self,
        sockets: TcpSockets,
        interface: str,
        allowed: range,
        guard: Guard = lambda factory: factory,
        traffic: Traffic | None = None,
        behind: Guard = lambda factory: factory,
    ) -> None:
        self._behind = behind
        self.visitors: set[Any] = set()
        self.counts = Connections()
        self._traffic = traffic or Traffic()
        self._sockets = sockets
        self._guard = guard
        self._interface = interface
        self._allowed = allowed
        self._open: dict[int, tuple[IListeningPort, _PortFactory]] = {}
        self._datagrams = DatagramPorts(sockets, interface, self.visitors, self.counts, self._traffic)

    def check(self, port: int) -> None:
        """Check a port that an agent asks for. @raise BadOption: tunnels may not have it."""
        if port not in self._allowed:
            first, last = self._allowed.start, self._allowed.stop - 1
            these = f"{first}" if first == last else f"one from {first} to {last}"
            raise BadOption(
                f"port {port} is not possible here: ask for {these}, or for none, and the server chooses"
            )

    def candidates(self) -> list[int]:
        """The ports that are not open here, in random order, so that strangers cannot guess the next."""
        free = [port for port in self._allowed if not self.is_open(port)]
        random.shuffle(free)
        return free

    def is_open(self, port: int) -> bool:
        """Whether a tunnel has a port, or is about to."""
        return port in self._open or port in self._datagrams

    def listen(
        self,
        port: int,
        factory: IProtocolFactory,
        *,
        tunnel: str,
        kind: str,
        shared: bool = False,
        hand_over: HandOver | None = None,
    ) -> None:
        """
        Serve C{port} by C{factory} from now on; it replaces the factory that served the port before.

        @param tunnel: the tunnel's name. @param kind: its kind.
        @param shared: whether another node, perhaps on this machine, may have the port open too.
        @param hand_over: hands visitors to the process that holds the tunnel.
        @raise Unavailable: another program has the port, or had it a moment ago.
        """
        if isinstance(factory, DatagramProtocol):
            try:
                self._datagrams.listen(port, factory, tunnel, kind)
            except CannotListenError as error:
                raise Unavailable(f"the server cannot open its UDP port {port}: {_reason(error)}") from error
            return
        if port in self._open:
            port_factory = self._open[port][1]
            port_factory.inner, port_factory.hand_over = factory, hand_over
            return
        port_factory = _PortFactory(factory, hand_over, partial(self.build, tunnel, kind))
        try:
            listening = self._sockets.listen(
                port, self._guard(self._behind(port_factory)), self._interface, shared=shared
            )
        except CannotListenError as error:
            raise Unavailable(f"the server cannot open its port {port}: {_reason(error)}") from error
        self._open[port] = listening, port_factory

    def served(self, port: int) -> IProtocolFactory | None:
        """
        The factory of an open port, for a connection that was handed over, and is not handed over again.
        """
        _, served = self._open.get(port, (None, None))
        return None if served is None else self._guard(served.without_hand_over())

    def build(self, tunnel: str, kind: str, factory: IProtocolFactory, addr: Any, host: str = "") -> Any:
        """
        The protocol of one connection of a visitor, which is counted and told to those who listen until it
        ends; None if its tunnel refuses it.

        @param tunnel, kind, factory: see L{listen}.
        @param host: the name that it asked for; empty at a port of the tunnel's own.
        """
        protocol: Any = factory.buildProtocol(addr)
        if protocol is None:
            self.counts.refused += 1
            return None
        began = time.monotonic()
        if self._traffic.listening:
            record = Record(kind, tunnel, visitor_address(addr.host, addr.port), host=host)
            watch(self._traffic, record, protocol)
            self._traffic.begun(record)
        self.visitors.add(protocol)
        lost = protocol.connectionLost

        def connection_lost(reason: Any) -> None:
            self.visitors.discard(protocol)
            self.counts.took(time.monotonic() - began)
            lost(reason)

        # Not wrapped in another protocol, which would hide the interfaces that it provides (half-closes).
        protocol.connectionLost = connection_lost
        return protocol

    async def close(self, port: int, factory: IProtocolFactory) -> None:
        """Close C{port}, unless another factory serves it by now. Its connections continue."""
        if isinstance(factory, DatagramProtocol):
            await self._datagrams.close(port, factory)
            return
        listening, port_factory = self._open.get(port, (None, None))
        if listening is not None and port_factory is not None and port_factory.inner is factory:
            del self._open[port]
            self._sockets.closed(port)
            await stop_listening(listening)

    async def close_all(self) -> None:
        """Close all ports."""
        opened, self._open = self._open, {}
        for listening, _ in opened.values():
            await stop_listening(listening)
        await self._datagrams.close_all()
