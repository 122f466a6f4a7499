"""
Connections that a trusted balancer of TCP passes on (C{--proxy-protocol-from}): the header of the PROXY
protocol before their first byte says who the visitor is.

Source: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. A connection of the balancer's without a
header is reset: nobody could tell whose it is. From any other address nothing is read as a header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from struct import unpack_from
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.addresses import Network, is_in
from burrow.clock import cancel
from burrow.mux.control import tcp_address
from burrow.protocols.proxy_header import SIGNATURE
from burrow.server.counting import AddressLimit
from burrow.sockets import swap_protocol

HEADER_WITHIN = 10.0
"""Seconds for the header."""

MAX_V1 = 107
"""Bytes of a header of version 1, at most, as its source says."""

MAX_V2 = 4096
"""Bytes of what a header of version 2 says, at most: addresses, and fields that nobody here needs."""

TELL_EVERY = 60.0
"""Seconds for which the warning about a wrong header is not repeated."""

Address = IPv4Address | IPv6Address


class WrongHeader(ValueError):
    """There is no header, or one that breaks the protocol."""


def read_header(data: bytes) -> tuple[Address | None, bytes] | None:
    """
    Read the header at the beginning of a connection.

    @return: the visitor's address, None if it is the balancer's own connection or not known, and what follows
        the header; None while more bytes are needed.
    @raise WrongHeader: there is none.
    """
    if data.startswith(SIGNATURE) or (len(data) < len(SIGNATURE) and SIGNATURE.startswith(data)):
        return _read_v2(data)
    line, found, rest = data.partition(b"\r\n")
    if not found:
        if len(data) >= MAX_V1 or not (data.startswith(b"PROXY ") or b"PROXY ".startswith(data)):
            raise WrongHeader("it does not begin with one")
        return None
    words = line.split(b" ")
    if len(line) + 2 > MAX_V1 or words[0] != b"PROXY" or len(words) < 2:
        raise WrongHeader("it does not begin with one")
    if words[1] == b"UNKNOWN":
        return None, rest
    kinds = {b"TCP4": 4, b"TCP6": 6}
    if words[1] not in kinds or len(words) != 6 or not words[4].isdigit():
        raise WrongHeader("its line of text is wrong")
    return _address(words[2].decode("latin-1"), int(words[4]), kinds[words[1]]), rest


def _read_v2(data: bytes) -> tuple[Address | None, bytes] | None:
    if len(data) < 16:
        return None
    command, family, length = unpack_from("!BBH", data, 12)
    if command not in (0x20, 0x21) or length > MAX_V2:
        raise WrongHeader("its version or its length is wrong")
    if len(data) < 16 + length:
        return None
    rest = data[16 + length :]
    sizes = {0x11: 4, 0x21: 16}  # AF_INET and AF_INET6, SOCK_STREAM
    if command == 0x20 or family not in sizes:
        return None, rest
    size = sizes[family]
    if length < 2 * size + 4:
        raise WrongHeader("its addresses are cut off")
    host = ipaddress.ip_address(data[16 : 16 + size])
    (port,) = unpack_from("!H", data, 16 + 2 * size)
    return _address(str(host), port, host.version), rest


def _address(host: str, port: int, version: int) -> Address:
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise WrongHeader("its address is none") from error
    if address.version != version or not 0 <= port < 65_536:
        raise WrongHeader("its address is none")
    return tcp_address(host, port)


def is_from(transport: Any, address: Address) -> None:
    """Have a transport say that its peer is C{address}, here and where it is handed over to."""
    transport.getPeer = lambda: address
    transport.balanced = address


class Balanced:
    """
    @param trusted: the balancers. @param limit: counts the visitors' addresses; the balancers' own must be
        uncounted.
    """

    log = Logger()

    def __init__(self, clock: Any, trusted: Iterable[Network], limit: AddressLimit) -> None:
        self.clock = clock
        self._trusted = list(trusted)
        self._limit = limit
        self._told = float("-inf")

    def wrap(self, factory: IProtocolFactory) -> IProtocolFactory:
        """A factory that reads headers where they are due, and gives visitors to C{factory}."""
        return _Factory(self, factory, self._limit.guard(factory)) if self._trusted else factory

    def trusts(self, host: str) -> bool:
        """Whether connections from an address begin with a header."""
        return is_in(host, self._trusted)

    def warn(self, host: str, why: object) -> None:
        """A balancer's header was wrong."""
        now = self.clock.seconds()
        if now - self._told >= TELL_EVERY:
            self._told = now
            self.log.warn(
                "a connection from {host} is reset, since --proxy-protocol-from has it and its PROXY header "
                "is missing or wrong: {why}",
                host=host,
                why=why,
            )


class _Factory(Factory):
    noisy = False

    def __init__(self, balanced: Balanced, direct: IProtocolFactory, counted: IProtocolFactory) -> None:
        self._balanced = balanced
        self._direct = direct
        self._counted = counted

    def buildProtocol(self, addr: Any) -> Any:
        if self._balanced.trusts(getattr(addr, "host", None) or ""):
            return _Header(self._balanced, self._counted, addr)
        return self._direct.buildProtocol(addr)


class _Header(Protocol):
    """Reads the header of one connection."""

    transport: Any

    def __init__(self, balanced: Balanced, factory: IProtocolFactory, addr: Any) -> None:
        self._balanced = balanced
        self._factory = factory
        self._addr = addr
        self._data = b""
        self._timeout: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin the time for it."""
        self._timeout = self._balanced.clock.callLater(HEADER_WITHIN, self._refuse, "it did not come in time")

    def dataReceived(self, data: bytes) -> None:
        """Some of the header, or all, and what follows."""
        self._data += data
        try:
            read = read_header(self._data)
        except WrongHeader as error:
            self._refuse(error)
            return
        if read is None:
            return
        self._stop()
        address, rest = read
        if address is not None:
            is_from(self.transport, address)
        protocol: Any = self._factory.buildProtocol(address or self._addr)
        if protocol is None:
            self.transport.abortConnection()
            return
        transport = self.transport
        swap_protocol(transport, protocol)
        if rest:
            transport.protocol.dataReceived(rest)

    def _refuse(self, why: object) -> None:
        self._stop()
        self._balanced.warn(self._addr.host, why)
        self.transport.abortConnection()

    def _stop(self) -> None:
        cancel(self._timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It was lost before its header was read."""
        self._stop()


def handed_over(factory: IProtocolFactory, host: str, port: int) -> IProtocolFactory:
    """
    For a connection that another process handed over and whose header is read: what builds the protocol of a
    visitor from that address.
    """
    return _HandedOver(factory, tcp_address(host, port))


class _HandedOver(Factory):
    noisy = False

    def __init__(self, factory: IProtocolFactory, address: Address) -> None:
        self._factory = factory
        self._address = address

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol, whose transport says that address."""
        protocol: Any = self._factory.buildProtocol(self._address)
        if protocol is None:
            return None
        connect = protocol.makeConnection

        def make_connection(transport: Any) -> None:
            protocol.makeConnection = connect
            is_from(transport, self._address)
            connect(transport)

        protocol.makeConnection = make_connection
        return protocol
