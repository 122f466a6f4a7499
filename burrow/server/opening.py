"""
How a tunnel comes to be.

Its name is found (asked for, remembered, or new) and reserved in the store, its certificate is there, its
port listens; only then visitors reach it and its agent is told. If any step fails, what the steps before did
is undone, except the reservation: a name stays its owner's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Container
from typing import Any

import attr
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from burrow.errors import (
    BadOption,
    NameTaken,
    StoreError,
    StreamGone,
    TooManyTunnels,
    Unavailable,
    UnknownProtocol,
)
from burrow.limits import UNLIMITED, Limits
from burrow.protocols.base import Kind, Reach
from burrow.server.events import Events
from burrow.server.names import assigned_name, check_name
from burrow.server.nodes.cluster import Cluster
from burrow.server.ports import Ports
from burrow.server.quotas import Quotas
from burrow.server.routes import Routes
from burrow.server.tunnel import Owner, Tunnel
from burrow.server.tunnels import Tunnels
from burrow.store.base import OverQuota, Reservation, Taken

_KIND = re.compile(r"[a-z][a-z0-9]{0,30}")
_TRIES = 20
_ASKED = 100
"""Ports of which the store is asked at once whether somebody has them."""

STORE_AWAY = "the server's store cannot answer now; the agent tries again"
"""What agents are told then."""

MAX_UPSTREAM = 300
"""Characters of an upstream's description, at most: it is kept in the store."""


class Opening:
    """
    Opens tunnels.

    @param tunnels: takes those that are open. @param routes: has visitors wait for those to come.
    @param quotas: how many there may be.
    @param cluster: holds their names among the other nodes. @param announce: has the other nodes read what
        changed; fires when they have.
    @param domain: the base domain. @param url: makes the public URL of a host.
    @param ready: fires once a host has its certificate, or fails with CertificateFailed.
    @param reserved: names that agents cannot have, beside those that no server gives.
    @param now: tells the time, in seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        *,
        store: Any,
        tunnels: Tunnels,
        routes: Routes,
        quotas: Quotas,
        kinds: dict[str, Kind],
        ports: Ports,
        cluster: Cluster,
        events: Events,
        domain: str,
        url: Callable[[str], str],
        ready: Callable[[str], Deferred[None]],
        announce: Callable[[], Awaitable[None]],
        reserved: Container[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tunnels = tunnels
        self._routes = routes
        self._quotas = quotas
        self._kinds = kinds
        self._ports = ports
        self._cluster = cluster
        self._events = events
        self._domain = domain
        self._url = url
        self._ready = ready
        self._announce = announce
        self._reserved = reserved
        self._now = now

    async def open(
        self,
        owner: Owner,
        kind_name: str,
        upstream: str,
        name: str | None,
        options: dict[str, Any],
        limits: Limits = UNLIMITED,
    ) -> Tunnel:
        """
        Open a tunnel.

        @param limits: what its token may have.
        @raise Refused: why not; nothing is open then.
        """
        kind = self._kinds.get(kind_name) if _KIND.fullmatch(kind_name) else None
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            raise UnknownProtocol(f"the server has no tunnels of kind {kind_name[:40]!r}; it has {known}")
        if not 0 < len(upstream) <= MAX_UPSTREAM:
            raise BadOption(f"the upstream's description must have 1 to {MAX_UPSTREAM} characters")
        self._quotas.add(owner.session)
        try:
            tunnel = await self._open(owner, kind, upstream, name, options, limits)
        except StoreError as error:
            self._quotas.remove(owner.session)
            self.log.error("a tunnel cannot be opened: {error}", error=error)
            raise Unavailable(STORE_AWAY) from error
        except BaseException:
            self._quotas.remove(owner.session)
            raise
        self.log.info("{url} is open, for {upstream}", url=tunnel.url, upstream=upstream)
        self._events.add("tunnel-open", f"{tunnel.url} is open, for {upstream}")
        return tunnel

    async def _open(
        self,
        owner: Owner,
        kind: Kind,
        upstream: str,
        name: str | None,
        options: dict[str, Any],
        limits: Limits,
    ) -> Tunnel:
        port = self._port(kind, options)
        wanted = Reservation(
            name="" if name is None else check_name(name, self._reserved),
            kind=kind.name,
            token=owner.token,
            agent=owner.agent,
            upstream=upstream,
            port=port,
            assigned=name is None,
            created=self._now(),
            used=self._now(),
            port_assigned=None if port is None else False,
            asked=name is not None,
        )
        wanted = attr.evolve(wanted, name=await self._choose(wanted))
        self._quotas.add_name(owner.token, wanted.name, limits)
        try:
            reservation = await self._keep(wanted, limits)
            with self._routes.opening(reservation.name):
                return await self._open_reserved(owner, kind, reservation, limits)
        except BaseException:
            self._quotas.remove_name(owner.token, wanted.name)
            raise

    def _port(self, kind: Kind, options: dict[str, Any]) -> int | None:
        """The TCP port that is asked for. @raise BadOption: an option is not a possible one."""
        unknown = set(options) - ({"port"} if kind.reach is Reach.TCP_PORT else set())
        if unknown:
            raise BadOption(f"tunnels of kind {kind.name!r} have no option {', '.join(sorted(unknown))[:80]}")
        port = options.get("port")
        if port is None:
            return None
        if isinstance(port, bool) or not isinstance(port, int):
            raise BadOption(f"{repr(port)[:80]} is no port")
        self._ports.check(port)
        return port

    async def _open_reserved(
        self, owner: Owner, kind: Kind, reservation: Reservation, limits: Limits
    ) -> Tunnel:
        host = f"{reservation.name}.{self._domain}"
        tunnel = Tunnel(reservation, kind, owner, host, self._url(host))
        if kind.reach is Reach.TCP_PORT:
            tunnel.reservation = await self._listen(tunnel, limits)
            tunnel.url = f"{kind.scheme}://{self._domain}:{tunnel.reservation.port}"
        else:
            await self._ready(host)
        await self._cluster.hold(tunnel.name, kind.name, tunnel.reservation.port, owner.token)
        if owner.session.going:
            if self._tunnels.by_name(tunnel.name) is None:
                await self._cluster.let_go(tunnel.name)
            await self._tunnels.unlisten(tunnel)
            raise StreamGone("the agent went while its tunnel was being opened")
        await self._tunnels.add(tunnel)
        if kind.reach is Reach.TCP_PORT:
            await self._announce()  # the other nodes open the port too
        return tunnel

    async def _choose(self, wanted: Reservation) -> str:
        """The name to open: the one asked for, the one remembered, or a new one."""
        if not wanted.assigned:
            return wanted.name
        remembered = await self._store.remembered(wanted.token, wanted.agent, wanted.kind, wanted.upstream)
        if remembered is not None:
            return str(remembered.name)
        for _ in range(_TRIES):
            name = assigned_name()
            if name not in self._reserved and await self._store.reservation(name) is None:
                return name
        raise Unavailable("no free name was found; try again")

    async def _keep(self, wanted: Reservation, limits: Limits) -> Reservation:
        """@raise NameTaken: the name is another token's. @raise TooManyTunnels: it is one too many."""
        try:
            kept: Reservation = await self._store.reserve(wanted, limits)
        except OverQuota as error:
            raise TooManyTunnels(str(error)) from error
        except Taken as error:
            raise NameTaken(str(error)) from error
        return kept

    async def _free_ports(self) -> list[int]:
        """Some ports that nobody has, in random order; all that are left, if those are fewer."""
        candidates = self._ports.candidates()
        free: list[int] = []
        while candidates and len(free) < _TRIES:
            some, candidates = candidates[:_ASKED], candidates[_ASKED:]
            free += await self._store.free_ports(some)
        return free[:_TRIES]

    async def _listen(self, tunnel: Tunnel, limits: Limits) -> Reservation:
        """Open the tunnel's port: its own, or a free one that becomes its own."""
        reservation = tunnel.reservation
        tunnel.factory = tunnel.kind.visitor_factory(tunnel)
        if reservation.port is not None:
            self._ports.check(reservation.port)
            self._ports.listen(reservation.port, tunnel.factory, shared=bool(self._cluster.others))
            return reservation
        busy: Unavailable | None = None
        for port in await self._free_ports():
            try:
                self._ports.listen(port, tunnel.factory, shared=bool(self._cluster.others))
            except Unavailable as error:
                busy = error
                continue
            try:
                given = attr.evolve(reservation, port=port, port_assigned=True)
                kept: Reservation = await self._store.reserve(given, limits)
            except OverQuota as error:
                await self._ports.close(port, tunnel.factory)
                raise TooManyTunnels(str(error)) from error
            except Taken:
                await self._ports.close(port, tunnel.factory)
                continue
            except BaseException:
                await self._ports.close(port, tunnel.factory)
                raise
            return kept
        if busy is not None:
            raise busy
        raise TooManyTunnels("all TCP ports of the server are taken")
