"""What a TLS hello for a host is answered with: whose the TLS is, and whether a certificate is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from burrow.protocols.access import CLIENT_CA
from burrow.protocols.base import Kind, Reach
from burrow.server.hosts import Hosts
from burrow.server.nodes.cluster import Cluster
from burrow.server.route import IRoute, NoRoute, Why
from burrow.server.routes import Routes

_KEY = CLIENT_CA.key
_ASKS = f'"{_KEY}": '
"""In the options of a lease, which are JSON."""


class Greeting:
    """
    @param hosts: says which name a host is of.
    @param kinds: the kinds of tunnels that this node knows, by name.
    """

    def __init__(self, routes: Routes, cluster: Cluster, hosts: Hosts, kinds: Mapping[str, Kind]) -> None:
        self._routes = routes
        self._cluster = cluster
        self._hosts = hosts
        self._kinds = kinds

    def reach_of(self, host: str) -> Reach | Deferred[Reach | None] | None:
        """
        Where visitors reach the tunnel of a host, be it open or not; None for a host that is no tunnel's. A
        Deferred if the store has to be asked; it fails with L{StoreError} if that cannot tell.
        """
        name = self._hosts.name(host)
        if not name:
            return None
        tunnel = self._routes.here(name)
        if tunnel is not None:
            return None if tunnel.reach is Reach.NOWHERE else tunnel.reach
        lease = self._cluster.elsewhere(name)
        if lease is not None:
            return self._reach(lease.kind)
        return Deferred.fromCoroutine(self._reach_of(name))

    async def _reach_of(self, name: str) -> Reach | None:
        kind = await self._routes.kind_of(name)
        if kind is None:
            return None
        # It may have been opened elsewhere a moment ago, and ask its visitors for a certificate.
        lease = await self._cluster.ask(name)
        return self._reach(kind if lease is None else lease.kind)

    def _reach(self, kind: str | None) -> Reach | None:
        known = self._kinds.get(kind or "")
        return None if known is None else known.reach

    def asks_certificate(self, host: str) -> bool:
        """Whether a host's visitors are asked for a certificate, as far as this node knows its tunnel now."""
        name = self._hosts.name(host)
        tunnel = self._routes.here(name)
        if tunnel is not None:
            return tunnel.options.get(_KEY) is not None
        lease = self._cluster.elsewhere(name)
        return lease is not None and _ASKS in lease.options

    async def of_sni(self, host: str) -> IRoute:
        """
        The route of a host for a visitor whose TLS the tunnel takes, who waits like all others. Cancel it
        when the visitor leaves.

        @raise NoRoute: there is none. @raise StoreError: the store cannot tell.
        """
        name = self._hosts.name(host)
        found = await self._routes.wait_for(name)
        if found is None:
            raise NoRoute(Why.AWAY if self._routes.expected(name) else Why.LEFT)
        if found.reach is not Reach.SNI:
            raise NoRoute(Why.UNKNOWN)
        return found
