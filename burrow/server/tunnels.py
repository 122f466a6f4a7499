"""The tunnels that are open on this node: adds, replaces and closes them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from burrow.protocols.base import Reach
from burrow.server.events import Events
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Lease
from burrow.server.ports import Ports
from burrow.server.quotas import Quotas
from burrow.server.routes import Routes
from burrow.server.tunnel import Owner, Tunnel


class Tunnels:
    """
    @param routes: where visitors find the tunnels. @param ports: serves those with a TCP port.
    @param cluster: has their leases. @param quotas: counts them.
    @ivar on_opened: called, each with the L{Tunnel}, when one was opened.
    @ivar on_closed: called, each without arguments, when a tunnel was closed.
    """

    log = Logger()

    def __init__(
        self, routes: Routes, ports: Ports, cluster: Cluster, quotas: Quotas, events: Events
    ) -> None:
        self._routes = routes
        self._ports = ports
        self._cluster = cluster
        self._quotas = quotas
        self._events = events
        self._open: dict[str, Tunnel] = {}
        self.on_opened: list[Callable[[Tunnel], None]] = []
        self.on_closed: list[Callable[[], None]] = []
        cluster.on_taken.append(self._taken)

    def by_name(self, name: str) -> Tunnel | None:
        """The open tunnel of that name, whether visitors reach it by host or by port."""
        return self._open.get(name)

    @property
    def any_open(self) -> bool:
        """Whether a tunnel is open here."""
        return bool(self._open)

    @property
    def all(self) -> list[Tunnel]:
        """The open tunnels."""
        return list(self._open.values())

    @property
    def names(self) -> list[str]:
        """The names of the open tunnels."""
        return list(self._open)

    @property
    def hosts(self) -> list[str]:
        """The names of the open tunnels that visitors reach by host."""
        return [tunnel.host for tunnel in self._open.values() if tunnel.reach is Reach.HOST]

    async def add(self, tunnel: Tunnel) -> None:
        """
        Take a tunnel that is open, counted and has its lease: visitors reach it from now on. It replaces the
        one that had its name before; if that was of another session, its agent is told.
        """
        before = self._open.get(tunnel.name)
        self._open[tunnel.name] = tunnel
        self._routes.add(tunnel)
        for listener in self.on_opened:
            listener(tunnel)
        if before is not None:
            self._quotas.remove_name(before.owner.token, before.name)
            self._quotas.remove(before.owner.session)
            other = before.owner.session is not tunnel.owner.session
            if other and self._displace(before, tunnel.owner.token, tunnel.owner):
                tunnel.owner.took_over(tunnel, before.owner)
            await self.unlisten(before)  # closes its port, if the new tunnel has another

    async def close(self, tunnel: Tunnel) -> None:
        """Close a tunnel, unless another has replaced it. Its running streams continue."""
        if self._open.get(tunnel.name) is tunnel:
            del self._open[tunnel.name]
            self._quotas.remove_name(tunnel.owner.token, tunnel.name)
            self._quotas.remove(tunnel.owner.session)
            self._routes.remove(tunnel)
            await self._cluster.let_go(tunnel.name)
            await self.unlisten(tunnel)
            self.log.info("tunnel {url} is closed", url=tunnel.url)
            for listener in self.on_closed:
                listener()
            self._events.add("tunnel-closed", f"{tunnel.url} is closed")

    async def take_away(self, tunnel: Tunnel, why: str) -> None:
        """Close a tunnel whose name no longer belongs to its token, and tell its agent why."""
        tunnel.owner.released(tunnel, why)
        await self.close(tunnel)

    async def taken(self, lease: Lease) -> None:
        """Another node took the lease of a tunnel of this node, which is closed here."""
        tunnel = self._open.get(lease.name)
        if tunnel is not None:
            self._displace(tunnel, lease.token)
            await self.close(tunnel)

    async def unlisten(self, tunnel: Tunnel) -> None:
        """Close a tunnel's port, unless it has none or another tunnel serves it by now."""
        port = tunnel.reservation.port
        if tunnel.factory is not None and port is not None:
            await self._ports.close(port, tunnel.factory)

    def _taken(self, lease: Lease) -> None:
        closing = Deferred.fromCoroutine(self.taken(lease))
        closing.addErrback(
            lambda reason: self.log.failure("cannot close a tunnel that another node took", reason)
        )

    @staticmethod
    def _displace(tunnel: Tunnel, token: str, by: Owner | None = None) -> bool:
        """
        Tell the agent that C{token}, an id, has its tunnel now; empty in leases of older releases.

        @return: see L{Owner}'s C{displaced}.
        """
        if token in ("", tunnel.owner.token):
            return tunnel.owner.displaced(tunnel, by)
        tunnel.owner.released(tunnel, f"{tunnel.url} is closed: its name belongs to another token now")
        return False
