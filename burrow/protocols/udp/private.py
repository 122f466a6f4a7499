"""On the server: a visitor of a private tunnel of datagrams, who comes by a stream and not by a UDP port."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from burrow.protocols.udp.stream import DatagramStream


class StreamVisitor(DatagramStream):
    """
    A stream of an agent's that stands for one address at a UDP port. It ends when the port's protocol forgets
    the address, as after C{--idle} seconds.

    @param protocol: what serves the kind's UDP ports, for this visitor alone: a
        L{UdpVisitors<burrow.protocols.udp.visitors.UdpVisitors>} or the like.
    @param address: who the visitor is, for that protocol.
    """

    def __init__(self, clock: Any, protocol: Any, address: tuple[str, int]) -> None:
        super().__init__()
        self._clock = clock
        self._protocol = protocol
        self._address = address

    def connectionMade(self) -> None:
        """The visitor is there."""
        super().connectionMade()
        self._protocol.began = self._began
        self._protocol.transport = _Port(self, self._clock)
        self._protocol.startProtocol()

    def _began(self, visitor: Any, address: str) -> None:
        visitor.on_end = self.close

    def datagram_received(self, datagram: bytes) -> None:
        """From the visitor."""
        self._protocol.datagramReceived(datagram, self._address)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor has left, or was forgotten."""
        self._protocol.stopProtocol()


class _Port:
    """What a protocol needs of its UDP port."""

    def __init__(self, stream: StreamVisitor, clock: Any) -> None:
        self._stream = stream
        self.reactor = clock

    def write(self, datagram: bytes, address: object = None) -> None:
        """To the visitor; what is late is dropped and counted there."""
        self._stream.send(datagram)

    def getHost(self) -> IAddress:
        """There is no port: the stream's own address."""
        host: IAddress = self._stream.transport.getHost()
        return host
