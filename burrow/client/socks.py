"""
C{burrow connect --socks}: a SOCKS5 proxy (RFC 1928) on this machine, by which all private tunnels that the
token may use are reached as C{NAME.burrow}, at any port.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from burrow.addresses import ListenAddress
from burrow.client.connecting import Connector, open_port
from burrow.clock import cancel
from burrow.errors import BurrowError, NoSuchTunnel, NotAllowed
from burrow.mux.pipe import PipeEnd
from burrow.values import parse_label
from burrow.wording import shown

SUFFIX = ".burrow"
"""What the names of private tunnels end with here."""

ASKED_WITHIN = 30.0
"""Seconds that a program has to say where it wants to go."""

_MAX = 1024
"""Bytes of that, at most: a greeting has 257, a request 262."""

_SUCCEEDED, _FAILED, _NOT_ALLOWED, _UNREACHABLE, _NO_COMMAND, _NO_ADDRESS = 0, 1, 2, 4, 7, 8  # section 6


class WrongRequest(BurrowError):
    """A program asked for what is not possible here; the text says what is. @ivar code: of the reply."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def name_of(host: str) -> str:
    """The tunnel that a host stands for. @raise WrongRequest: it is none of ours."""
    name = host.lower().rstrip(".").removesuffix(SUFFIX)
    try:
        if host.lower().rstrip(".").endswith(SUFFIX) and parse_label(name) == name:
            return name
    except ValueError:
        pass
    raise WrongRequest(
        _NOT_ALLOWED, f"{shown(host)} is no private tunnel: this proxy leads to NAME{SUFFIX} alone"
    )


def read_request(data: bytes) -> tuple[str, bytes] | None:
    """
    Read a request (section 4). @return: the host, and what is behind it; None while more is needed.

    @raise WrongRequest: it cannot be done.
    """
    if len(data) < 5:
        return None
    version, command, _, kind, length = data[:5]
    if version != 5:
        raise WrongRequest(_FAILED, "a program broke the SOCKS protocol")
    if command == 3:
        raise WrongRequest(
            _NO_COMMAND,
            "a program asked for UDP, which this proxy does not carry: write "
            "`burrow connect NAME --listen PORT` for a tunnel of kind udp",
        )
    if command != 1:
        raise WrongRequest(_NO_COMMAND, "a program asked for more than a connection, which is all there is")
    if kind != 3:
        raise WrongRequest(
            _NO_ADDRESS,
            "a program asked for an address: have it send names to the proxy (socks5h://, remote DNS)",
        )
    if len(data) < 7 + length:
        return None
    return data[5 : 5 + length].decode("latin-1"), data[7 + length :]


class Socks(PipeEnd):
    """A program's connection: its greeting, its request, and then the tunnel's bytes."""

    def __init__(self, factory: SocksFactory) -> None:
        self._factory = factory
        self._data = b""
        self._greeted = False
        self._connecting: Deferred[Any] | None = None
        self._timeout: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """The program speaks first."""
        self.transport.setTcpNoDelay(True)
        self._timeout = self._factory.clock.callLater(ASKED_WITHIN, self._late)

    def dataReceived(self, data: bytes) -> None:
        """More of the greeting or the request; or for the tunnel."""
        if self.other is not None:
            super().dataReceived(data)
            return
        self._data += data
        try:
            if not self._greeted and not self._greet():
                return
            request = None if self._connecting is not None else read_request(self._data)
            if request is None:
                if self._connecting is None and len(self._data) > _MAX:
                    raise WrongRequest(_FAILED, "a program broke the SOCKS protocol")
                return
            host, self._data = request
            name = name_of(host)
        except WrongRequest as error:
            self._refuse(error.code, Failure(error))
            return
        self._stop()
        PipeEnd.connectionMade(self)  # from here on it is read when it is joined
        self._connecting = Deferred.fromCoroutine(self._connect(name))
        self._connecting.addErrback(self._failed)

    def _greet(self) -> bool:
        """Answer the greeting (section 3), once it is whole. @return: whether it is."""
        if self._data[:1] not in (b"", b"\5"):
            self._late()
            return False
        if len(self._data) < 2 or len(self._data) < 2 + self._data[1]:
            return False
        methods, self._data = self._data[2 : 2 + self._data[1]], self._data[2 + self._data[1] :]
        if 0 not in methods:
            self.transport.write(b"\5\xff")
            self.transport.loseConnection()
            return False
        self._greeted = True
        self.transport.write(b"\5\0")
        return True

    async def _connect(self, name: str) -> None:
        remote = await self._factory.connector.connect(name, self)
        early, self._data = self._data, b""
        if early:
            remote.transport.write(early)

    def agreed(self) -> None:
        """The server has agreed: the reply goes before the tunnel's first byte."""
        self._reply(_SUCCEEDED)

    def _reply(self, code: int) -> None:
        self.transport.write(bytes([5, code, 0, 1]) + bytes(6))

    def _failed(self, reason: Failure) -> None:
        if self.transport is None or not self.transport.connected:
            return
        code = _FAILED
        if reason.check(NoSuchTunnel):
            code = _UNREACHABLE
        elif reason.check(NotAllowed):
            code = _NOT_ALLOWED
        self._refuse(code, reason)

    def _refuse(self, code: int, reason: Failure) -> None:
        self._stop()
        self._factory.failed(reason)
        self._reply(code)
        self.transport.loseConnection()

    def _late(self) -> None:
        """It speaks no SOCKS5, or nothing."""
        self._stop()
        self.transport.abortConnection()

    def _stop(self) -> None:
        cancel(self._timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The program has left, perhaps before it was joined."""
        self._stop()
        if self._connecting is not None and self.other is None:
            self._connecting.cancel()
        super().connectionLost(reason)


class SocksFactory(Factory):
    """
    @param failed: called with the failure of a connection that could not be joined.
    """

    noisy = False

    def __init__(self, clock: Any, connector: Connector, failed: Any) -> None:
        self.clock = clock
        self.connector = connector
        self.failed = failed

    def buildProtocol(self, addr: Any) -> Socks:
        """The protocol of one more connection."""
        return Socks(self)


class SocksPort:
    """
    The proxy's port.

    @param failed: see L{SocksFactory}. @ivar address: where it listens. @ivar scheme: of the proxy's URL.
    """

    scheme = "socks5h"

    def __init__(self, connector: Connector, address: ListenAddress, failed: Any) -> None:
        self.address = address
        self._connector = connector
        self._failed = failed
        self._port: Any = None

    def open(self) -> None:
        """Open it. @raise ConfigError: it is busy."""
        reactor = self._connector.reactor
        factory = SocksFactory(reactor, self._connector, self._failed)
        self._port = open_port(reactor.listenTCP, self.address, factory, "--socks")
        self.address = replace(self.address, port=self._port.getHost().port)

    async def settle(self) -> None:
        """There is nothing to ask for: which tunnel is meant, each connection says."""

    async def close(self) -> int:
        """Close it. @return: datagrams that were dropped: it carries none."""
        await maybeDeferred(self._port.stopListening)
        return 0
