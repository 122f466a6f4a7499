"""The tunnels that are open on this node: adds, replaces and closes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from burrow.protocols.base import Reach
from burrow.protocols.options import sent_options
from burrow.protocols.private import kept_kind
from burrow.protocols.sharing import is_shared
from burrow.protocols.tls import terminates
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
    @ivar turnover: how many were opened, and how many were closed, so far, added.
    @ivar shared: who of those that share a name serves a visitor.
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
        self.turnover = 0
        self.shared = routes.shared
        self.on_opened: list[Callable[[Tunnel], None]] = []
        self.on_closed: list[Callable[[], None]] = []
        cluster.on_taken.append(self._taken)
        cluster.on_leases.append(self._leases_changed)

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
        """The hosts of the open tunnels whose visitors are shown a certificate of the server's."""
        opened = self._open.values()
        return [one.host for one in opened if one.reach is Reach.HOST or terminates(one.options)]

    async def add(self, tunnel: Tunnel) -> None:
        """
        Take a tunnel that is open, counted and has its lease: visitors reach it from now on. It replaces the
        one that had its name before; if that was of another session, its agent is told.
        """
        replaced = self._replaced_by(tunnel)
        for before in replaced:
            self.shared.remove(before)
        self._open[tunnel.name] = tunnel
        self.turnover += 1
        self._routes.add(tunnel)
        for listener in self.on_opened:
            listener(tunnel)
        for before in replaced:
            self._quotas.remove_name(before.owner.token, before.name)
            self._quotas.remove(before.owner.session)
            other = before.owner.session is not tunnel.owner.session
            if other and self._displace(before, tunnel.owner.token, tunnel.owner):
                tunnel.owner.took_over(tunnel, before.owner)
            if before.factory is not tunnel.factory:
                await self.unlisten(before)  # closes its port, if the new tunnel has another

    def _replaced_by(self, tunnel: Tunnel) -> list[Tunnel]:
        """The open tunnels in whose place one comes: of one that shares its name, its own session's alone."""
        before = self._open.get(tunnel.name)
        if before is None:
            return []
        members = self.shared.members(tunnel.name)
        if members and is_shared(tunnel.options) and before.owner.token == tunnel.owner.token:
            return [one for one in members if one.owner.session is tunnel.owner.session]
        return list(members) or [before]

    def factory_of(self, tunnel: Tunnel) -> IProtocolFactory | None:
        """What serves the port of those who share a name with a tunnel that is to be opened, if any do."""
        if not is_shared(tunnel.options):
            return None
        found = (one.factory for one in self.shared.members(tunnel.name))
        return next((factory for factory in found if factory is not None), None)

    def has(self, tunnel: Tunnel) -> bool:
        """Whether this very tunnel is open: it was neither closed nor replaced."""
        return self._open.get(tunnel.name) is tunnel or tunnel in self.shared.members(tunnel.name)

    async def close(self, tunnel: Tunnel) -> None:
        """Close a tunnel, unless another has replaced it. Its running streams continue."""
        if self.has(tunnel):
            self._quotas.remove_name(tunnel.owner.token, tunnel.name)
            self._quotas.remove(tunnel.owner.session)
            self._routes.remove(tunnel)
            self.turnover += 1
            left = self.shared.members(tunnel.name)
            if left:  # others share the name
                self._open[tunnel.name] = left[-1]
            else:
                del self._open[tunnel.name]
                await self._cluster.let_go(tunnel.name)
                await self.unlisten(tunnel)
                if tunnel.share is not None and self._cluster.elsewhere(tunnel.name) is not None:
                    for tell in self._cluster.on_leases:
                        tell([tunnel.name])  # so that its port is opened here as other nodes' are
            self.log.info("tunnel {url} is closed", url=tunnel.url)
            for listener in self.on_closed:
                listener()
            self._events.add("tunnel-closed", f"{tunnel.url} is closed")

    async def take_away(self, tunnel: Tunnel, why: str) -> None:
        """
        Close a tunnel whose name no longer belongs to its token, and all that share it, and tell their agents
        why.
        """
        for one in self.shared.members(tunnel.name) or (tunnel,):
            one.owner.released(one, why)
            await self.close(one)

    async def taken(self, lease: Lease) -> None:
        """
        Another node took the lease of a tunnel of this node, which is closed here; unless agents there and
        here share the name, and this node stays.
        """
        tunnel = self._open.get(lease.name)
        draining = self._cluster.node is not None and self._cluster.node.draining
        if tunnel is None or (self._shares(tunnel, lease) and not draining):
            return
        for one in self.shared.members(tunnel.name) or (tunnel,):
            self._displace(one, lease.token)
            await self.close(one)

    @staticmethod
    def _shares(tunnel: Tunnel, lease: Lease) -> bool:
        """Whether a lease of another node is of agents that share the name with a tunnel of this one."""
        if tunnel.share is None or tunnel.owner.token != lease.token:
            return False
        try:
            return is_shared(json.loads(lease.options or "{}"))
        except (ValueError, AttributeError):
            return False

    def _leases_changed(self, names: Collection[str]) -> None:
        """Names that agents of this node share, and that no node holds any more, are held by this one."""
        for name in names:
            tunnel = self._open.get(name)
            if tunnel is not None and tunnel.share is not None and not self._cluster.leases.known(name):
                holding = Deferred.fromCoroutine(self.hold(tunnel))
                holding.addErrback(lambda reason: self.log.failure("cannot hold a shared name", reason))

    async def hold(self, tunnel: Tunnel) -> None:
        """Take the lease of a tunnel, whoever held it."""
        told = sent_options(tunnel.kind.options, tunnel.options)
        await self._cluster.hold(
            tunnel.name,
            kept_kind(tunnel.kind, tunnel.reach),
            tunnel.reservation.port,
            tunnel.owner.token,
            json.dumps(told) if told else "",
            tunnel.version,
        )

    async def unlisten(self, tunnel: Tunnel) -> None:
        """Close a tunnel's port, unless it has none or another tunnel serves it by now."""
        port = tunnel.reservation.port
        others = self.shared.members(tunnel.name)
        shared = any(one is not tunnel and one.factory is tunnel.factory for one in others)
        if tunnel.factory is not None and port is not None and not shared:
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
