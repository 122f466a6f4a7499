"""
The local port of C{burrow connect --listen}: a TCP port, or a UDP port if the tunnel carries datagrams.

Which of them, the server says. Until it does, the TCP port is open, whose connections wait for the tunnel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from burrow.addresses import ListenAddress
from burrow.client.connecting import MAX_CONNECTIONS, Asking, Connector, Listening, open_port
from burrow.errors import BurrowError
from burrow.mux.control import DATAGRAMS, ConnectHead
from burrow.protocols.udp.framing import MAX_DATAGRAM
from burrow.protocols.udp.visitors import UdpVisitors

MAX_SOURCES = 48
"""
Local programs' sockets that have streams, at most; of more, those that were never answered, or are silent for
longest, are forgotten. Less than L{MAX_CONNECTIONS}, since a stream that ends is open for a while.
"""

IDLE = 3600.0
"""Seconds until a silent socket is forgotten, if the server, which goes by the tunnel's C{idle}, does not."""

ASK_AGAIN = 5.0
"""Seconds until the server is asked again what the tunnel carries."""

REFUSED_FOR = 1.0
"""Seconds for which a socket is not asked for again that was refused: its datagrams are dropped."""

TELL_EVERY = 5.0
"""Seconds for which a refusal is not told again: a program may send a thousand datagrams a second."""

_POLL = 0.05

Told = Callable[[Failure], None]


class _Carrying(Asking):
    """
    A stream that carries datagrams as soon as the server agrees, for one local socket. It is the route of a
    L{UdpVisitor<burrow.protocols.udp.visitors.UdpVisitor>}.
    """

    requests = 0

    def __init__(self, name: str) -> None:
        super().__init__(ConnectHead(name, DATAGRAMS))
        self._rest = b""

    def agreed(self, rest: bytes) -> None:
        """See L{Asking}."""
        self._rest = rest

    def connect(self, protocol: Any, visitor: str, scheme: str) -> None:
        """Give the stream to a visitor's protocol."""
        lost = protocol.connectionLost

        def connection_lost(reason: Failure = connectionDone) -> None:
            self.connectionLost(reason)
            lost(reason)

        protocol.connectionLost = connection_lost
        self.transport.become(protocol, self._rest)


class _Tunnel:
    """The private tunnel, for L{UdpVisitors}."""

    def __init__(self, connector: Connector, name: str, failed: Told) -> None:
        self._connector = connector
        self._name = name
        self._failed = failed
        self._told = float("-inf")

    async def found(self) -> _Carrying:
        """A stream to it. @raise BurrowError: there is none; it was told, and some time has passed."""
        connector = self._connector
        while connector.count >= MAX_CONNECTIONS:  # those that were forgotten have not ended yet
            await deferLater(connector.reactor, _POLL)
        carrying = _Carrying(self._name)
        try:
            await connector.ask(carrying)
        except BurrowError:
            now = connector.reactor.seconds()
            if now - self._told >= TELL_EVERY:
                self._told = now
                self._failed(Failure())
            await deferLater(connector.reactor, REFUSED_FOR)
            raise
        return carrying


class LocalPort:
    """
    Joins a local port to one tunnel.

    @param failed: called with the failure of a connection, or of a socket's datagrams, that could not be
        joined; and with the server's refusal to say what the tunnel carries.
    @ivar address: where it listens. @ivar scheme: "tcp" or "udp".
    """

    scheme = "tcp"

    def __init__(self, connector: Connector, name: str, address: ListenAddress, failed: Told) -> None:
        self.address = address
        self._connector = connector
        self._reactor = connector.reactor
        self._name = name
        self._failed = failed
        self._any = address.port == 0
        self._visitors: UdpVisitors | None = None
        self._port: Any = None

    def open(self) -> None:
        """Open the TCP port. @raise ConfigError: it is busy."""
        factory = Listening(self._connector, self._name, self._failed)
        self._port = self._listen(self._reactor.listenTCP, self.address.port, factory)

    async def settle(self) -> None:
        """
        Ask what the tunnel carries, until the server says it, and open the UDP port instead if it is
        datagrams.

        @raise ConfigError: that is busy.
        """
        told = ""
        while True:
            try:
                carries = await self._connector.carries(self._name)
                break
            except BurrowError as error:
                if str(error) != told:
                    told = str(error)
                    self._failed(Failure(type(error)(f"{told}; asking again every {ASK_AGAIN:.0f} s")))
            await deferLater(self._reactor, ASK_AGAIN)
        if carries == DATAGRAMS:
            await self.close()
            self.scheme = "udp"
            tunnel = _Tunnel(self._connector, self._name, self._failed)
            visitors = self._visitors = UdpVisitors(tunnel, IDLE, MAX_SOURCES)
            port = 0 if self._any else self.address.port
            self._port = self._listen(self._reactor.listenUDP, port, visitors, maxPacketSize=MAX_DATAGRAM)

    def _listen(self, listen: Callable[..., Any], port: int, what: Any, **more: Any) -> Any:
        opened = open_port(listen, replace(self.address, port=port), what, "--listen", **more)
        self.address = replace(self.address, port=opened.getHost().port)
        return opened

    async def close(self) -> int:
        """Close the port. @return: datagrams that were dropped."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        return 0 if self._visitors is None else self._visitors.dropped
