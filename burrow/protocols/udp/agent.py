"""On the agent: a visitor's stream of datagrams, joined to a socket that is connected to the upstream."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, DNSLookupError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol, connectionDone
from twisted.python.failure import Failure

from burrow.protocols.udp.framing import MAX_DATAGRAM
from burrow.protocols.udp.stream import DatagramStream
from burrow.protocols.upstream import Upstream

MAX_EARLY = 16
"""Datagrams that wait until the upstream's name is resolved, at most; later ones are dropped."""


class UdpForward(DatagramStream):
    """
    One visitor. The socket is its own, so that the upstream tells visitors apart by their ports.

    @ivar refused: why there is no socket, in words that a visitor may read; or empty.
    """

    refused = ""

    def __init__(self, reactor: Any, upstream: Upstream, counts: Counter[str] | None = None) -> None:
        super().__init__(counts)
        self._reactor = reactor
        self._upstream = upstream
        self._socket: _Socket | None = None
        self._early: list[bytes] = []
        self._resolving: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """A visitor came."""
        super().connectionMade()
        self._begin()

    def _begin(self) -> None:
        opening = Deferred.fromCoroutine(self._open())
        if self._socket is None:
            self._resolving = opening
        opening.addErrback(self._failed)

    async def _open(self) -> None:
        host = "127.0.0.1" if self._upstream.host == "localhost" else self._upstream.host
        try:
            ipaddress.ip_address(host)
        except ValueError:
            host = await self._reactor.resolve(host, timeout=(1, 3, 6))
        opened = _Socket(self, host, self._upstream.port)
        everywhere = "::" if ":" in host else "0.0.0.0"
        self._reactor.listenUDP(0, opened, interface=everywhere, maxPacketSize=MAX_DATAGRAM)
        self._socket, self._resolving = opened, None
        for datagram in self._early:
            opened.send(datagram)
        self._early.clear()

    def _failed(self, reason: Failure) -> None:
        self._resolving = None
        if reason.check(CancelledError):
            return
        if reason.check(DNSLookupError, CannotListenError, OSError):
            self.refused = f"datagrams cannot be sent to {self._upstream}"
            self.log.warn("{text}: {error}", text=self.refused, error=reason.value)
        else:
            self.log.failure("forwarding to {upstream} failed", reason, upstream=str(self._upstream))
        self.transport.abortConnection()

    def datagram_received(self, datagram: bytes) -> None:
        """From the visitor."""
        if self._socket is not None:
            self._socket.send(datagram)
        elif len(self._early) < MAX_EARLY:
            self._early.append(datagram)
            if self._resolving is None:
                self._begin()
        else:
            self.drop()

    def socket_closed(self) -> None:
        """The reactor closed it. A new one is opened for the next datagram."""
        self._socket = None
        self.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server forgot the visitor, or the session is lost."""
        if self._resolving is not None:
            self._resolving.cancel()
        if self._socket is not None:
            self._socket.close()


class _Socket(DatagramProtocol):
    """A socket that is connected to the upstream: the kernel drops what comes from elsewhere."""

    transport: Any

    def __init__(self, stream: UdpForward, host: str, port: int) -> None:
        self._stream = stream
        self._to = host, port
        self._closing = False

    def startProtocol(self) -> None:
        """The socket is open."""
        self.transport.connect(*self._to)

    def send(self, datagram: bytes) -> None:
        """Send to the upstream. What the network refuses is counted: a datagram may always be lost."""
        try:
            self.transport.write(datagram)
        except (OSError, MessageLengthError):
            self._stream.drop()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """From the upstream."""
        self._stream.send(datagram)

    def connectionRefused(self) -> None:
        """ICMP says that nothing listens there. It may be started later: the visitor tries again."""
        self._stream.drop()

    def stopProtocol(self) -> None:
        """The socket is closed. Twisted's own reactor on epoll does so at what ICMP tells."""
        if not self._closing:
            self._stream.socket_closed()

    def close(self) -> None:
        """Close the socket."""
        self._closing = True
        if self.transport is not None:
            self.transport.stopListening()
