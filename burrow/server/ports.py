"""The public TCP ports: who has which, and the sockets that listen on them."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol

from burrow.errors import BadOption, Unavailable
from burrow.server.listening import Guard, TcpSockets, stop_listening
from burrow.sockets import swap_protocol


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


HandOver = Callable[[Any], bool]
"""Says of a transport, before anything is read or written, whether another process has it from now on."""


class _Switch(Factory):
    """
    Listens for a tunnel that may be replaced by its successor while the socket stays.

    @ivar hand_over: what is asked of each connection before it is served here; None to ask nothing.
    """

    noisy = False

    def __init__(self, inner: IProtocolFactory, hand_over: HandOver | None, visitors: set[Any]) -> None:
        self.inner = inner
        self.hand_over = hand_over
        self._visitors = visitors

    def buildProtocol(self, addr: Any) -> Any:
        if self.hand_over is not None:
            return _Front(self, self.hand_over, addr)
        return self.serve(addr)

    def serve(self, addr: Any) -> Any:
        """What serves one connection here."""
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


class _Front(Protocol):
    """A connection until it is known who serves it: at once."""

    transport: Any

    def __init__(self, switch: _Switch, hand_over: HandOver, addr: Any) -> None:
        self._switch = switch
        self._hand_over = hand_over
        self._addr = addr

    def connectionMade(self) -> None:
        """Hand it over, or serve it."""
        if self._hand_over(self.transport):
            return
        protocol = self._switch.serve(self._addr)
        if protocol is None:
            self.transport.abortConnection()
            return
        swap_protocol(self.transport, protocol)


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

    def candidates(self) -> list[int]:
        """The ports that are not open here, in random order, so that none is guessed."""
        free = [port for port in self._allowed if port not in self._open]
        random.shuffle(free)
        return free

    def listen(
        self,
        port: int,
        factory: IProtocolFactory,
        *,
        shared: bool = False,
        hand_over: HandOver | None = None,
    ) -> None:
        """
        Serve C{port} by C{factory} from now on, whoever served it before.

        @param shared: whether another node may have the port open, perhaps on this machine.
        @param hand_over: hands visitors to the process that holds the tunnel.
        @raise Unavailable: it cannot be opened now: another program has it, or had it a moment ago.
        """
        if port in self._open:
            switch = self._open[port][1]
            switch.inner, switch.hand_over = factory, hand_over
            return
        switch = _Switch(factory, hand_over, self.visitors)
        try:
            listening = self._sockets.listen(port, self._guard(switch), self._interface, shared=shared)
        except CannotListenError as error:
            raise Unavailable(f"the server cannot open its port {port}: {_reason(error)}") from error
        self._open[port] = listening, switch

    def served(self, port: int) -> IProtocolFactory | None:
        """What serves a port that is open, for a connection that was handed over, and is not again."""
        _, switch = self._open.get(port, (None, None))
        return None if switch is None else self._guard(_Switch(switch.inner, None, self.visitors))

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
