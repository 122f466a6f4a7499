"""Asks DNS about the domains of users, without blocking."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.logger import Logger
from twisted.names import client, dns
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DomainError
from twisted.python.failure import Failure

from burrow.addresses import ListenAddress
from burrow.errors import BurrowError

_TRIES = (1, 3, 5)
"""Seconds that each attempt takes, at most."""


_EXPECTED = (
    DomainError,
    DNSQueryTimeoutError,
    TimeoutError,  # of UDP, after the last attempt
    ConnectError,  # of TCP, after an answer that was cut
    ConnectionClosed,
    OSError,
    ValueError,
)


class DnsFailed(BurrowError):
    """DNS did not answer, or with an error: whether there is a record is not known."""


class Leads(NamedTuple):
    """
    Where a name leads.

    @ivar names: those that it is an alias of (CNAME), in lower case. @ivar addresses: IPv4 and IPv6.
    """

    names: set[str]
    addresses: set[str]


def _text(name: Any) -> str:
    """A name in an answer, in lower case. @raise DnsFailed: it is none of a host."""
    try:
        return str(name).lower().rstrip(".")
    except UnicodeDecodeError as error:
        raise DnsFailed("DNS answers with a name that is not in ASCII") from error


class Dns:
    """
    @param server: who is asked; None for those that this machine asks.
    """

    log = Logger()

    def __init__(self, reactor: Any, server: ListenAddress | None = None) -> None:
        self._reactor = reactor
        self._server = server
        self._resolver: Any = None
        self._told = False

    async def _ask(self, name: str, kind: int) -> list[Any]:
        """The answers to a question; none if there is no such record."""
        if self._resolver is None:  # it opens a file
            servers = None if self._server is None else [(self._server.host, self._server.port)]
            self._resolver = client.Resolver(
                resolv="/etc/resolv.conf" if servers is None else None,
                servers=servers,
                timeout=_TRIES,
                reactor=self._reactor,
            )
        try:
            answers, _, _ = await self._resolver.query(dns.Query(name, kind, dns.IN))
        except DNSNameError:
            return []
        except Exception as error:
            # Twisted does not document what a resolver raises, and messages of strangers' servers cause it.
            if not isinstance(error, _EXPECTED) and not self._told:
                self._told = True
                self.log.failure("the resolver failed, which is told once", failure=Failure())
            raise DnsFailed(f"DNS does not answer for {name} ({type(error).__name__})") from error
        return [answer.payload for answer in answers if answer.payload is not None]

    async def leads(self, name: str) -> Leads:
        """Where a name leads. @raise DnsFailed: nobody knows."""
        names, addresses = set(), set()
        for kind in (dns.A, dns.AAAA):
            for payload in await self._ask(name, kind):
                if isinstance(payload, dns.Record_CNAME):
                    names.add(_text(payload.name))
                elif isinstance(payload, dns.Record_A):
                    addresses.add(payload.dottedQuad())
                elif isinstance(payload, dns.Record_AAAA):
                    addresses.add(socket.inet_ntop(socket.AF_INET6, payload.address))
        return Leads(names, addresses)

    async def texts(self, name: str) -> list[str]:
        """The TXT records of a name. @raise DnsFailed: nobody knows."""
        return [
            b"".join(payload.data).decode("utf-8", "replace")
            for payload in await self._ask(name, dns.TXT)
            if isinstance(payload, dns.Record_TXT)
        ]
