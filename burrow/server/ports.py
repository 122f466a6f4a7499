"""The public TCP ports: who has which, and the sockets that listen on them."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol

from burrow.errors import BadOption, Unavailable
from burrow.server.listening import Guard, TcpSockets, stop_listening


def _reason(error: CannotListenError) -> str:
    if getattr(error.socketError, "errno", None) == errno.EADDRINUSE:
        return "another program on the server's machine has it, or had it within the last minute"
    return getattr(error.socketError, "strerror", None) or str(error.socketError)


def outgoing_warning(allowed: range, settings: Path = Path("/proc/sys/net/ipv4")) -> str:
    """
    What to tell whoever chose C{allowed}: that the kernel gives some of these ports to outgoing connections,
    so that one may be busy when its tunnel opens. Empty if it gives none, or where nobody can tell.

    @param settings: where Linux keeps them: see C{ip_local_port_range} and C{ip_local_reserved_ports} in
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
        f"a tunnel's port may be busy when it is to be opened. Choose others, or keep them back: "
        f"sysctl net.ipv4.ip_local_reserved_ports={wanted}"
    )


class _Switch(Factory):
    """Listens for a tunnel that may be replaced by its successor while the socket stays."""

    noisy = False

    def __init__(self, inner: IProtocolFactory, visitors: set[Any]) -> None:
        self.inner = inner
        self._visitors = visitors

    def buildProtocol(self, addr: Any) -> Any:
        protocol: Any = self.inner.buildProtocol(addr)
        if protocol is not None:
            self._visitors.add(protocol)
            lost = protocol.connectionLost

            def connection_lost(reason: Any) -> None:
                self._visitors.discard(protocol)
                lost(reason)

            # Not wrapped in another protocol: what it provides (half-closes) must be seen.
            protocol.connectionLost = connection_lost
        return protocol


class _PortFront(Protocol):
    """A visitor of a tunnel's TCP port, until it is known who serves it: at once."""

    transport: Any

    def __init__(self, factory: PortFrontFactory, addr: IAddress) -> None:
        self._factory = factory
        self._addr = addr

    def connectionMade(self) -> None:
        """Hand it over, or serve it."""
        if self._factory.hand_over(self.transport):
            return
        protocol: Any = self._factory.inner.buildProtocol(self._addr)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)


class PortFrontFactory(Factory):
    """
    Takes the connections of the TCP port of a tunnel that another node holds.

    @param inner: serves those that stay.
    @param hand_over: says of a transport whether another process has it from now on.
    """

    noisy = False

    def __init__(self, inner: IProtocolFactory, hand_over: Callable[[Any], bool]) -> None:
        self.inner = inner
        self.hand_over = hand_over

    def buildProtocol(self, addr: Any) -> _PortFront:
        """One connection."""
        return _PortFront(self, addr)


class Ports:
    """
    @param interface: the address that public ports listen on; empty for all. @param allowed: which may be.
    @param sockets: opens them. @param guard: stands before each factory that is served.
    @ivar visitors: the connections that are open.
    """

    def __init__(
        self,
        sockets: TcpSockets,
        interface: str,
        allowed: range,
        guard: Guard = lambda factory: factory,
    ) -> None:
        self.visitors: set[Any] = set()
        self._sockets = sockets
        self._guard = guard
        self._interface = interface
        self._allowed = allowed
        self._open: dict[int, tuple[IListeningPort, _Switch]] = {}

    def check(self, port: int) -> None:
        """@raise BadOption: the port is not for tunnels."""
        if port not in self._allowed:
            first, last = self._allowed.start, self._allowed.stop - 1
            raise BadOption(f"port {port} is not possible here: the server's TCP ports are {first} to {last}")

    def candidates(self, taken: Iterable[int]) -> list[int]:
        """The ports that are neither reserved nor open, in random order, so that none is guessed."""
        busy = {*taken, *self._open}
        free = [port for port in self._allowed if port not in busy]
        random.shuffle(free)
        return free

    def listen(self, port: int, factory: IProtocolFactory, *, shared: bool = False) -> None:
        """
        Serve C{port} by C{factory} from now on, whoever served it before.

        @param shared: whether another node may have the port open, perhaps on this machine.
        @raise Unavailable: it cannot be opened now: another program has it, or had it a moment ago.
        """
        if port in self._open:
            self._open[port][1].inner = factory
            return
        switch = _Switch(factory, self.visitors)
        try:
            listening = self._sockets.listen(port, self._guard(switch), self._interface, shared=shared)
        except CannotListenError as error:
            raise Unavailable(f"the server cannot open its port {port}: {_reason(error)}") from error
        self._open[port] = listening, switch

    def served(self, port: int) -> IProtocolFactory | None:
        """What serves a port that is open, for a connection that was handed over, and is not again."""
        _, switch = self._open.get(port, (None, None))
        if switch is None:
            return None
        inner = switch.inner
        unhanded = inner.inner if isinstance(inner, PortFrontFactory) else inner
        return self._guard(_Switch(unhanded, self.visitors))

    async def close(self, port: int, factory: IProtocolFactory) -> None:
        """Stop to serve C{port}, unless another factory has it by now. Connections go on."""
        listening, switch = self._open.get(port, (None, None))
        if listening is not None and switch is not None and switch.inner is factory:
            del self._open[port]
            self._sockets.closed(port)
            await stop_listening(listening)

    async def close_all(self) -> None:
        """Stop to serve any."""
        opened, self._open = self._open, {}
        for listening, _ in opened.values():
            await stop_listening(listening)
