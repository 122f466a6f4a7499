"""
How many connections each address has open: no address has all that a server can keep.

A socket counts from when it is accepted until it is closed, or until its agent has shown a token: from then
on what the token may have bounds it. Counted is what one customer of a provider has at least: an IPv4
address, or an IPv6 /64. Each process counts its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import implementer

from burrow.mux.control import plain_address
from burrow.server.edge.forwarded import network_of
from burrow.sockets import lowest_transport

TELL_EVERY = 60.0
"""Seconds until it is told again that an address is at its limit."""

MAX_TOLD = 256
"""Addresses that are told of within L{TELL_EVERY}; of more nobody is told."""

_HOST_BITS = 64
"""Bits of an IPv6 address that its owner chooses."""


class AddressLimit:
    """
    @param most: connections that one address may have; 0 for any number.
    @param uncounted: addresses and networks (CIDR) that may have any number.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, most: int, uncounted: Iterable[str] = ()) -> None:
        self._clock = clock
        self._most = most
        self._uncounted = [network_of(network) for network in uncounted]
        self._open: dict[Any, int] = {}
        self._told: dict[Any, float] = {}

    def guard(self, factory: IProtocolFactory) -> IProtocolFactory:
        """The same factory for those who are below the limit; others' connections are reset."""
        return _Guarded(self, factory) if self._most else factory

    def of(self, host: str) -> Any:
        """What a peer is counted as: its address, or the /64 of it in IPv6. None if it is not counted."""
        try:
            address = ipaddress.ip_address(plain_address(host))
        except ValueError:
            return None
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in network for network in self._uncounted):
            return None
        if isinstance(address, ipaddress.IPv4Address):
            return address
        return ipaddress.IPv6Network((int(address) >> _HOST_BITS << _HOST_BITS, 128 - _HOST_BITS))

    def full(self, address: Any) -> bool:
        """Whether an address has as many connections as it may have; told in the log now and then."""
        if self._open.get(address, 0) < self._most:
            return False
        self._tell(address)
        return True

    def took(self, address: Any) -> None:
        """One more is open."""
        self._open[address] = self._open.get(address, 0) + 1

    def gave_back(self, address: Any) -> None:
        """One less."""
        left = self._open[address] - 1
        if left:
            self._open[address] = left
        else:
            del self._open[address]

    def _tell(self, address: Any) -> None:
        now = self._clock.seconds()
        for known, when in list(self._told.items()):  # the oldest first
            if now - when < TELL_EVERY:
                break
            del self._told[known]
        if address not in self._told and len(self._told) < MAX_TOLD:
            self._told[address] = now
            self.log.warn(
                "{address} has {count} connections open, as many as one address may have: more are reset "
                "(--max-connections-per-address); if it is a proxy of yours, name it by --uncounted-address",
                address=str(address),
                count=self._most,
            )


class _Place:
    """One connection that counts, until it is closed or L{release} says that it counts no more."""

    def __init__(self, limit: AddressLimit, address: Any, transport: Any) -> None:
        limit.took(address)
        self._limit: AddressLimit | None = limit
        self._address = address
        self._lost = transport.connectionLost
        self._transport = transport
        # At the socket, since the protocol on it may be replaced, and nothing need be asked for each byte.
        transport.connectionLost = self._connection_lost
        transport.place = self

    def give_back(self) -> None:
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.gave_back(self._address)

    def _connection_lost(self, reason: Any) -> None:
        self.give_back()
        transport, self._transport = self._transport, None
        del transport.connectionLost, transport.place  # no cycle is left
        self._lost(reason)


def release(transport: Any) -> None:
    """Count a connection no more: who has it is known, and bounded otherwise."""
    place = getattr(lowest_transport(transport), "place", None)
    if place is not None:
        place.give_back()


class _Reset(Protocol):
    """A connection too many."""

    def connectionMade(self) -> None:
        """Nothing is read: a handshake would cost more than it."""
        transport: Any = self.transport
        transport.abortConnection()


@implementer(IProtocolFactory)
class _Guarded:
    """Builds what the factory inside builds, and counts it."""

    def __init__(self, limit: AddressLimit, inner: IProtocolFactory) -> None:
        self._limit = limit
        self._inner = inner

    def doStart(self) -> None:
        self._inner.doStart()

    def doStop(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        address = self._limit.of(getattr(addr, "host", None) or "")
        if address is None:
            return self._inner.buildProtocol(addr)
        if self._limit.full(address):
            return _Reset()
        protocol: Any = self._inner.buildProtocol(addr)
        if protocol is not None:
            connect = protocol.makeConnection

            def make_connection(transport: Any) -> None:
                del protocol.makeConnection
                _Place(self._limit, address, transport)
                connect(transport)

            # Counted only then: a socket that is never connected is never lost.
            protocol.makeConnection = make_connection
        result: IProtocol | None = protocol
        return result
