"""The public UDP ports: opens and closes them, and serves each by the protocol of its tunnel."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from burrow.server.listening import TcpSockets
from burrow.traffic.counts import Times
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record


class DatagramPorts:
    """
    @param sockets: opens them. @param interface: the address that the ports listen on; empty for all.
    @param visitors: gets what has a stream, as L{UdpVisitor<burrow.protocols.udp.visitors.UdpVisitor>}.
    @param counts: is told how long each was there. @param traffic: is told of each.
    """

    def __init__(
        self, sockets: TcpSockets, interface: str, visitors: set[Any], counts: Times, traffic: Traffic
    ) -> None:
        self._sockets = sockets
        self._interface = interface
        self._visitors = visitors
        self._counts = counts
        self._traffic = traffic
        self._open: dict[int, tuple[Any, _Port]] = {}

    def __contains__(self, port: int) -> bool:
        return port in self._open

    def listen(self, port: int, protocol: Any, tunnel: str, kind: str) -> None:
        """
        Serve a port by C{protocol}, which replaces the one before. @raise CannotListenError: it is in use.
        """
        protocol.began = lambda visitor, address: self._begin(visitor, address, tunnel, kind)
        if port in self._open:
            self._open[port][1].replace(protocol)
            return
        served = _Port(protocol)
        self._open[port] = self._sockets.listen_for_datagrams(port, served, self._interface), served

    def _begin(self, visitor: Any, address: str, tunnel: str, kind: str) -> None:
        """An address is new."""
        began, record = time.monotonic(), None
        self._visitors.add(visitor)
        if self._traffic.listening:
            record = Record(kind, tunnel, address)
            self._traffic.begun(record)

        def counted(received: int, sent: int) -> None:
            if record is not None:
                record.received += received
                record.sent += sent

        def ended() -> None:
            self._visitors.discard(visitor)
            self._counts.took(time.monotonic() - began)
            if record is not None:
                self._traffic.ended(record)

        visitor.counted, visitor.on_end = counted, ended

    async def close(self, port: int, protocol: Any) -> None:
        """Close a port, unless another protocol serves it by now. Its visitors' streams end."""
        listening, served = self._open.get(port, (None, None))
        if listening is not None and served is not None and served.inner is protocol:
            del self._open[port]
            await listening.stopListening()

    async def close_all(self) -> None:
        """Close all ports."""
        opened, self._open = self._open, {}
        for listening, _ in opened.values():
            await listening.stopListening()


class _Port(DatagramProtocol):
    """Serves a port by the protocol of its tunnel, which can be exchanged while the socket stays open."""

    transport: Any

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def startProtocol(self) -> None:
        self.inner.transport = self.transport
        self.inner.startProtocol()

    def stopProtocol(self) -> None:
        self.inner.stopProtocol()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.inner.datagramReceived(datagram, addr)

    def replace(self, inner: Any) -> None:
        """Another protocol serves it from now on: addresses get new streams."""
        before, self.inner = self.inner, inner
        self.startProtocol()
        before.stopProtocol()
