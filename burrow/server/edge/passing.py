"""
Connections on the TLS port whose TLS is the tunnel's: they are known by the server name of their ClientHello,
and passed on as they came, from their first byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress

from burrow.policy.client_ca import ClientCAs
from burrow.policy.shown import IsShown
from burrow.protocols.access import CLIENT_CA
from burrow.server.greeting import Greeting
from burrow.server.ports import Ports
from burrow.server.route import IRoute

MAX_EARLY = 64 * 1024
"""Bytes of a visitor, its ClientHello included, kept while its tunnel is waited for, and one read."""


class Passing:
    """
    @param greeting: says how a host is reached, and what its visitors are asked for.
    @param now: returns the time, in seconds since the epoch.
    @param ports: counts the connections, and tells of them, as of those to TCP ports.
    @ivar visitors: the connections that are open, and those that wait for their tunnel.
    """

    def __init__(self, greeting: Greeting, ports: Ports, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.reach_of = greeting.reach_of
        self.asks = greeting.asks_certificate
        self.find = greeting.of_sni
        self.visitors = ports.visitors
        self._build = ports.build

    def fits(self, route: IRoute, shown: IsShown) -> bool:
        """Whether a visitor whose TLS ended here showed the certificate that its tunnel wants, if any."""
        cas: ClientCAs | None = route.options.get(CLIENT_CA.key)
        if cas is None:
            return True
        presented = shown.presented()
        return presented is not None and not cas.judge(presented, self._now())

    def protocol(self, route: IRoute, host: str, addr: IAddress) -> Any:
        """
        The protocol of a connection that is about to be passed on; None if its tunnel refuses it. A kind is
        anybody's code: any exception may come.
        """
        factory = getattr(route, "factory", None) or route.kind.visitor_factory(route)
        return self._build(route.name, route.kind.name, factory, addr, host)
