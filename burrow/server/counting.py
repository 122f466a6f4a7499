"""
Limits how many connections each address has open, so that one address cannot use up all that the server can
keep.

A socket counts from when it is accepted until it is closed, or until its agent has shown a token: then the
limits of the token apply. Of HTTP/2 each request under way beyond the first of its connection counts as one
more, since it can have the server keep as much as a connection of HTTP/1.1. An IPv6 address counts by its
/64, which is the least that a provider gives to one customer. Each process counts its own connections.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import implementer

from burrow.addresses import Network, parse_address
from burrow.sockets import lowest_transport

TELL_EVERY = 60.0
"""Seconds for which the warning about an address at its limit is not repeated."""

MAX_TOLD = 256
"""Addresses that are warned of within L{TELL_EVERY}, at most; further ones are not logged."""

MAX_KEYS = 1024
"""Addresses whose keys are remembered."""

_HOST_BITS = 64
"""Bits of an IPv6 address that its owner chooses."""


class AddressLimit:
    """
    @param most: connections that one address may have; 0 for any number.
    @param uncounted: networks whose addresses may have any number.
    @ivar key_of: see L{_key_of}.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, most: int, uncounted: Iterable[Network] = ()) -> None:
        self._clock = clock
        self._most = most
        self._uncounted = list(uncounted)
        self._open: dict[Any, int] = {}
        self._told: dict[Any, float] = {}
        # The peers that come are mostly the same few. 3 us less for a connection.
        self.key_of = lru_cache(MAX_KEYS)(self._key_of)

    def guard(self, factory: IProtocolFactory) -> IProtocolFactory:
        """
        Wrap a factory: connections of addresses at the limit are reset, others get what the factory builds.
        """
        return _Guarded(self, factory) if self._most else factory

    def _key_of(self, host: str) -> Any:
        """The key that a peer is counted by: its address, or its /64 in IPv6. None if it is not counted."""
        address = parse_address(host)
        if address is None or any(address in network for network in self._uncounted):
            return None
        if isinstance(address, ipaddress.IPv4Address):
            return address
        return ipaddress.IPv6Network((int(address) >> _HOST_BITS << _HOST_BITS, 128 - _HOST_BITS))

    def is_full(self, address: Any) -> bool:
        """Whether an address is at the limit, which is logged now and then."""
        if self._open.get(address, 0) < self._most:
            return False
        self._warn(address)
        return True

    def add(self, address: Any) -> None:
        """Count one more connection."""
        self._open[address] = self._open.get(address, 0) + 1

    def remove(self, address: Any) -> None:
        """Count one connection less."""
        left = self._open[address] - 1
        if left:
            self._open[address] = left
        else:
            del self._open[address]

    def _warn(self, address: Any) -> None:
        now = self._clock.seconds()
        for known, when in list(self._told.items()):  # the oldest first
            if now - when < TELL_EVERY:
                break
            del self._told[known]
        if address not in self._told and len(self._told) < MAX_TOLD:
            self._told[address] = now
            self.log.warn(
                "{address} has {count} connections open, or requests of HTTP/2 under way, the limit for one "
                "address: further ones are reset (--max-connections-per-address). If it is your proxy, name "
                "it by --uncounted-address",
                address=str(address),
                count=self._most,
            )


class Counted:
    """One connection that counts, until it is closed or L{stop_counting} is called."""

    def __init__(self, limit: AddressLimit, address: Any, transport: Any) -> None:
        limit.add(address)
        self._more = 0
        self._limit: AddressLimit | None = limit
        self._address = address
        self._lost = transport.connectionLost
        self._transport = transport
        # On the transport, since its protocol may be replaced, and so that nothing runs for each byte.
        transport.connectionLost = self._connection_lost
        transport.counted = self

    def more(self) -> bool:
        """Count one more for its address. @return: whether that is not at its limit."""
        limit = self._limit
        if limit is None:
            return True
        if limit.is_full(self._address):
            return False
        limit.add(self._address)
        self._more += 1
        return True

    def less(self) -> None:
        """One that L{more} counted is over."""
        if self._limit is not None:
            self._more -= 1
            self._limit.remove(self._address)

    def stop(self) -> None:
        """Count it no longer, nor what L{more} counted."""
        limit, self._limit = self._limit, None
        if limit is not None:
            for _ in range(1 + self._more):
                limit.remove(self._address)

    def _connection_lost(self, reason: Any) -> None:
        self.stop()
        transport, self._transport = self._transport, None
        del transport.connectionLost, transport.counted  # leave no reference cycle
        self._lost(reason)


def counted(transport: Any) -> Counted | None:
    """What counts a connection; None if nothing does."""
    found: Counted | None = getattr(lowest_transport(transport), "counted", None)
    return found


def stop_counting(transport: Any) -> None:
    """Count a connection no longer: its agent is known, and other limits apply to it."""
    if (found := counted(transport)) is not None:
        found.stop()


class _ResetConnection(Protocol):
    """A connection above the limit."""

    def connectionMade(self) -> None:
        """Reset it before anything is read, since a handshake would cost more."""
        transport: Any = self.transport
        transport.abortConnection()


@implementer(IProtocolFactory)
class _Guarded:
    """Counts the connections for which another factory builds protocols."""

    def __init__(self, limit: AddressLimit, inner: IProtocolFactory) -> None:
        self._limit = limit
        self._inner = inner

    def doStart(self) -> None:
        self._inner.doStart()

    def doStop(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        address = self._limit.key_of(getattr(addr, "host", None) or "")
        if address is None:
            return self._inner.buildProtocol(addr)
        if self._limit.is_full(address):
            return _ResetConnection()
        protocol: Any = self._inner.buildProtocol(addr)
        if protocol is not None:
            connect = protocol.makeConnection

            def make_connection(transport: Any) -> None:
                del protocol.makeConnection
                Counted(self._limit, address, transport)
                connect(transport)

            # Count it not before it is connected: otherwise its connectionLost may never be called.
            protocol.makeConnection = make_connection
        result: IProtocol | None = protocol
        return result
