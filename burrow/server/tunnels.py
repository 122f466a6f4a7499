"""The tunnels that are open on this node: what replaces one, and what closes one."""

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
from burrow.server.tunnel import Tunnel


class Tunnels:
    """
    @param routes: where visitors find the tunnels. @param ports: what serves those with a TCP port.
    @param cluster: holds their names among the other nodes. @param quotas: counts them.
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
        self.on_closed: list[Callable[[], None]] = []
        cluster.on_taken.append(self._taken)

    def by_name(self, name: str) -> Tunnel | None:
        """The open tunnel of that name, however visitors reach it."""
        return self._open.get(name)

    @property
    def any_open(self) -> bool:
        """Whether a tunnel is open here."""
        return bool(self._open)

    @property
    def names(self) -> list[str]:
        """The names of the open tunnels."""
        return list(self._open)

    @property
    def hosts(self) -> list[str]:
        """The names of the open tunnels that visitors reach by host."""
        return [tunnel.host for tunnel in self._open.values() if tunnel.kind.reach is Reach.HOST]

    async def add(self, tunnel: Tunnel) -> None:
        """
        A tunnel is open, counted and held: visitors reach it from now on. The one that had its name before is
        replaced, and its agent told if it is another session's.
        """
        before = self._open.get(tunnel.name)
        self._open[tunnel.name] = tunnel
        self._routes.add(tunnel)
        if before is not None:
            self._quotas.remove_name(before.owner.token, before.name)
            self._quotas.remove(before.owner.session)
            if before.owner.session is not tunnel.owner.session:
                self._displace(before, tunnel.owner.token)
            await self.unlisten(before)  # its port, if it is another

    async def close(self, tunnel: Tunnel) -> None:
        """Take a tunnel away, if it is still the one of its name. Its running streams go on."""
        if self._open.get(tunnel.name) is tunnel:
            del self._open[tunnel.name]
            self._quotas.remove_name(tunnel.owner.token, tunnel.name)
            self._quotas.remove(tunnel.owner.session)
            self._routes.remove(tunnel)
            await self._cluster.let_go(tunnel.name)
            await self.unlisten(tunnel)
            self.log.info("{url} is closed", url=tunnel.url)
            for listener in self.on_closed:
                listener()
            self._events.add("tunnel-closed", f"{tunnel.url} is closed")

    async def take_away(self, tunnel: Tunnel, why: str) -> None:
        """Close a tunnel whose name is not its token's any more, and tell its agent why."""
        tunnel.owner.released(tunnel, why)
        await self.close(tunnel)

    async def taken(self, lease: Lease) -> None:
        """Another node has a tunnel of ours now, and its token the name: here it is closed."""
        tunnel = self._open.get(lease.name)
        if tunnel is not None:
            self._displace(tunnel, lease.token)
            await self.close(tunnel)

    async def unlisten(self, tunnel: Tunnel) -> None:
        """Stop to serve a tunnel's port, if it has one that no other tunnel serves by now."""
        port = tunnel.reservation.port
        if tunnel.factory is not None and port is not None:
            await self._ports.close(port, tunnel.factory)

    def _taken(self, lease: Lease) -> None:
        closing = Deferred.fromCoroutine(self.taken(lease))
        closing.addErrback(lambda reason: self.log.failure("a tunnel was not closed", reason))

    @staticmethod
    def _displace(tunnel: Tunnel, token: str) -> None:
        """Tell its agent that a tunnel is now C{token}'s, by its id; empty in older releases' leases."""
        if token in ("", tunnel.owner.token):
            tunnel.owner.displaced(tunnel)
        else:
            tunnel.owner.released(tunnel, f"{tunnel.url} is closed: its name belongs to another token now")
