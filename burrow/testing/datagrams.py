"""UDP in memory: the two ends of a L{MemoryTunnel<burrow.testing.tunnel.MemoryTunnel>} of datagrams."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

Address = tuple[str, int]


class DatagramVisitor:
    """
    A visitor of a UDP port, at an address of its own.

    @ivar received: the datagrams that came back.
    """

    def __init__(self, protocol: DatagramProtocol, address: Address) -> None:
        self.received: list[bytes] = []
        self._protocol = protocol
        self._address = address

    def send(self, datagram: bytes) -> None:
        """Send to the port; the tunnel has to be pumped."""
        self._protocol.datagramReceived(datagram, self._address)


class MemoryPort:
    """The transport of a tunnel's UDP port, as L{IUDPTransport} has it."""

    def __init__(self, reactor: Any, protocol: DatagramProtocol) -> None:
        self.reactor = reactor
        self._protocol = protocol
        self._visitors: dict[Address, DatagramVisitor] = {}
        protocol.makeConnection(self)  # type: ignore[arg-type] # as much of a transport as is used

    def visit(self) -> DatagramVisitor:
        """One visitor more."""
        address = "192.0.2.1", 50_000 + len(self._visitors)
        self._visitors[address] = DatagramVisitor(self._protocol, address)
        return self._visitors[address]

    def write(self, datagram: bytes, address: Address) -> None:
        """To a visitor."""
        self._visitors[address].received.append(datagram)


class MemorySocket:
    """
    A socket of the agent's, connected to the upstream, which a test plays.

    @ivar received: the datagrams for the upstream. @ivar closed: whether the agent closed it.
    """

    def __init__(self, protocol: DatagramProtocol) -> None:
        self.received: list[bytes] = []
        self.closed = False
        self._protocol = protocol
        self._upstream: Address = ("127.0.0.1", 0)

    def answer(self, datagram: bytes) -> None:
        """The upstream sends; the tunnel has to be pumped."""
        self._protocol.datagramReceived(datagram, self._upstream)

    def connect(self, host: str, port: int) -> None:
        """See L{IUDPTransport<twisted.internet.interfaces.IUDPTransport>}."""
        self._upstream = host, port

    def write(self, datagram: bytes, addr: Address | None = None) -> None:
        """Likewise."""
        self.received.append(datagram)

    def stopListening(self) -> None:
        """Likewise."""
        self.closed = True


class DatagramClock(Clock):
    """A clock that opens sockets in memory. @ivar sockets: all of them, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[MemorySocket] = []

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> MemorySocket:
        """See L{IReactorUDP<twisted.internet.interfaces.IReactorUDP>}."""
        opened = MemorySocket(protocol)
        self.sockets.append(opened)
        protocol.makeConnection(opened)  # type: ignore[arg-type] # likewise
        return opened
