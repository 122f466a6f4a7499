"""
Connections on the TLS port whose TLS is the tunnel's: they are known by the server name of their ClientHello,
and passed on as they came, from their first byte.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from burrow.protocols.base import Reach
from burrow.server.ports import Ports
from burrow.server.route import IRoute

MAX_EARLY = 64 * 1024
"""Bytes of a visitor, its ClientHello included, kept while its tunnel is waited for, and one read."""

ReachOf = Callable[[str], "Reach | Deferred[Reach | None] | None"]
"""See L{Routes.reach_of<burrow.server.routes.Routes.reach_of>}."""


class Passing:
    """
    @param reach_of: says how a host is reached.
    @param find: see L{Routes.of_sni<burrow.server.routes.Routes.of_sni>}.
    @param ports: counts the connections, and tells of them, as of those to TCP ports.
    @ivar visitors: the connections that are open, and those that wait for their tunnel.
    """

    def __init__(self, reach_of: ReachOf, find: Callable[[str], Awaitable[IRoute]], ports: Ports) -> None:
        self.reach_of = reach_of
        self.find = find
        self.visitors = ports.visitors
        self._build = ports.build

    def protocol(self, route: IRoute, host: str, addr: IAddress) -> Any:
        """
        The protocol of a connection that is about to be passed on; None if its tunnel refuses it. A kind is
        anybody's code: any exception may come.
        """
        factory = getattr(route, "factory", None) or route.kind.visitor_factory(route)
        return self._build(route.name, route.kind.name, factory, addr, host)
