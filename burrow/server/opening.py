"""
Opens tunnels.

The steps: choose the name (asked for, remembered, or new), reserve it in the store, get its certificate or
open its port, take its lease. Then visitors can reach the tunnel, and its agent is told. If a step fails, the
steps before it are undone, except the reservation: the name stays reserved for its owner.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Container
from typing import Any, NamedTuple

import attr
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from burrow.errors import (
    BadOption,
    ConfigError,
    NameTaken,
    Refused,
    StoreError,
    StreamGone,
    TooManyTunnels,
    Unavailable,
    UnknownProtocol,
)
from burrow.limits import UNLIMITED, Limits
from burrow.protocols.access import CLIENT_CA
from burrow.protocols.base import Kind, Reach
from burrow.protocols.options import KeptValues, read_options
from burrow.protocols.private import kept_kind, reach_of
from burrow.protocols.sharing import is_shared
from burrow.protocols.tls import terminates
from burrow.protocols.visits import has_rules, restricts, settled
from burrow.server.domains import Domains
from burrow.server.events import Events
from burrow.server.given import common_version, plugin_failed, read_given
from burrow.server.hosts import Hosts
from burrow.server.names import assigned_name, check_name
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Lease
from burrow.server.owning import Owning
from burrow.server.ports import Ports
from burrow.server.quotas import Quotas
from burrow.server.routes import Routes
from burrow.server.sharing import AnyOf
from burrow.server.tunnel import Owner, Tunnel
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore, OverQuota, Reservation, Taken

_KIND = re.compile(r"[a-z][a-z0-9]{0,30}")
_TRIES = 20
_ASKED = 100
"""Ports that one question to the store is about."""

STORE_AWAY = "the server's store cannot answer now; the agent tries again"
"""What an agent is told when the store fails."""

MAX_UPSTREAM = 300
"""Characters of an upstream's description, at most: it is kept in the store."""


class _Wanted(NamedTuple):
    """What an agent asks for. C{options}: the values of all, by key."""

    kind: Kind
    options: dict[str, Any]
    version: int


class Opening:
    """
    Opens tunnels.

    @param tunnels: takes the opened tunnels. @param routes: lets visitors wait while a tunnel is opened.
    @param quotas: limits how many are open. @param url: makes the public URL of a host.
    @param cluster: takes their leases. @param announce: makes the other nodes read the leases, or tells
        them one; fires when they know.
    @param hosts: says which host a name has. @param domains: says whose a domain is.
    @param tls_url: makes the public URL of a host whose TLS the tunnel takes; raises L{BadOption} if this
        server has no TLS port.
    @param ready: called with a host and its token's id: fires once the host has its certificate, or fails
        with CertificateFailed.
    @param reserved: names that agents cannot have, beside L{burrow.server.names.RESERVED}.
    @param http2: whether HTTP/2 is spoken with visitors. @param now: the time, in seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        *,
        store: IStore,
        tunnels: Tunnels,
        routes: Routes,
        quotas: Quotas,
        kinds: dict[str, Kind],
        ports: Ports,
        cluster: Cluster,
        events: Events,
        hosts: Hosts,
        domains: Domains,
        url: Callable[[str], str],
        tls_url: Callable[[str], str],
        ready: Callable[[str, str], Deferred[None]],
        announce: Callable[[Lease | None], Awaitable[None]],
        reserved: Container[str] = (),
        http2: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tunnels = tunnels
        self._routes = routes
        self._quotas = quotas
        self._kinds = kinds
        self._defaults = {name: read_options(kind.options, {}) for name, kind in kinds.items()}
        self._ports = ports
        self._cluster = cluster
        self._events = events
        self._hosts = hosts
        self._owning = Owning(store, domains)
        self._url = url
        self._tls_url = tls_url
        self._ready = ready
        self._announce = announce
        self._reserved = reserved
        self.http2 = http2
        self._now = now

    async def open(
        self,
        owner: Owner,
        kind_name: str,
        upstream: str,
        name: str | None,
        options: dict[str, Any],
        limits: Limits = UNLIMITED,
        versions: tuple[int, int] = (1, 1),
    ) -> Tunnel:
        """
        Open a tunnel.

        @param options: of the kind, as JSON has them. @param limits: of its token.
        @param versions: the oldest and the newest version of the kind that the agent speaks.
        @raise Refused: the tunnel is not opened; the text says why.
        """
        kind = self._kinds.get(kind_name) if _KIND.fullmatch(kind_name) else None
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            raise UnknownProtocol(f"the server has no tunnels of kind {kind_name[:40]!r}; it has {known}")
        wanted = _Wanted(kind, read_given(kind, options), common_version(kind, *versions))
        if not 0 < len(upstream) <= MAX_UPSTREAM:
            raise BadOption(f"the upstream's description must have 1 to {MAX_UPSTREAM} characters")
        wanted = wanted._replace(options=settled(kind, wanted.options, upstream))
        self._quotas.add(owner.session)
        try:
            tunnel = await self._open(owner, wanted, upstream, name, limits)
        except StoreError as error:
            self._quotas.remove(owner.session)
            self.log.error("cannot open a tunnel; its agent tries again: {error}", error=error)
            raise Unavailable(STORE_AWAY) from error
        except BaseException:
            self._quotas.remove(owner.session)
            raise
        self.log.info("tunnel {url} is open, for {upstream}", url=tunnel.url, upstream=upstream)
        self._events.add("tunnel-open", f"{tunnel.url} is open, for {upstream}")
        return tunnel

    async def _open(
        self,
        owner: Owner,
        what: _Wanted,
        upstream: str,
        name: str | None,
        limits: Limits,
    ) -> Tunnel:
        reach = reach_of(what.kind, what.options)
        private = reach is Reach.NOWHERE
        port = None if private else what.options.get("port")
        if port is not None:
            self._ports.check(port)
        if what.kind.reach is Reach.SNI or what.options.get(CLIENT_CA.key):
            self._tls_url(self._hosts.domain)  # refuses before the name is reserved
        wanted = Reservation(
            name="" if name is None else check_name(name, self._hosts, self._reserved),
            kind=kept_kind(what.kind, reach),
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
        if not private and restricts(what.kind, what.options):
            self._cluster.members.check_rules()
        seen = await self._owning.check(wanted, reach)
        if is_shared(what.options):
            self._tunnels.shared.check(what.kind, what.options, wanted)
        wanted = attr.evolve(wanted, name=await self._choose_name(wanted))
        self._quotas.add_name(owner.token, wanted.name, limits)
        try:
            reservation = await self._reserve(wanted, limits)
            await self._owning.confirm(reservation, seen)
            with self._routes.opening(reservation.name, what.kind.name, not private):
                return await self._open_reserved(owner, what, reservation, limits)
        except BaseException:
            self._quotas.remove_name(owner.token, wanted.name)
            raise

    async def _open_reserved(
        self, owner: Owner, what: _Wanted, reservation: Reservation, limits: Limits
    ) -> Tunnel:
        kind = what.kind
        host = self._hosts.of(reservation.name)
        kept = KeptValues(self._defaults[kind.name], what.options)
        tunnel = Tunnel(reservation, kind, owner, host, self._url(host), options=kept, version=what.version)
        if tunnel.reach is Reach.NOWHERE:
            tunnel.reservation = attr.evolve(reservation, port=None)  # it keeps a port that it had in public
            tunnel.url = f"private://{tunnel.name}"
            if kind.reach is not Reach.HOST:
                self._visitor_factory(tunnel)  # so that its agent learns now what its visitors would
        elif tunnel.reach.by_port:
            tunnel.reservation = await self._listen(tunnel, limits)
            tunnel.url = f"{kind.scheme}://{self._hosts.domain}:{tunnel.reservation.port}"
        elif tunnel.reach is Reach.SNI:
            tunnel.url = self._tls_url(host)
            if terminates(tunnel.options):
                await self._ready(host, owner.token)
            tunnel.factory = self._visitor_factory(tunnel)
        else:
            await self._ready(host, owner.token)
        await self._tunnels.hold(tunnel)
        if owner.session.going:
            await self._give_back(tunnel)
            raise StreamGone("the agent left while its tunnel was being opened")
        await self._tunnels.add(tunnel)
        if tunnel.reach.by_port or has_rules(tunnel.kind, tunnel.options):
            # The other nodes open the port too, and decide by these options from now on whom they let in.
            await self._announce(self._cluster.leases.held.get(tunnel.name))
        return tunnel

    async def _give_back(self, tunnel: Tunnel) -> None:
        """Undo lease and port of a tunnel that is not opened: what it was to replace has them again."""
        before = self._tunnels.by_name(tunnel.name)
        port = tunnel.reservation.port
        if before is None:
            await self._cluster.let_go(tunnel.name)
        else:
            await self._tunnels.hold(before)
            if port is not None and before.factory is not None and before.reservation.port == port:
                self._ports.listen(port, before.factory, **self._told(before))
        await self._tunnels.unlisten(tunnel)

    def _told(self, tunnel: Tunnel) -> dict[str, Any]:
        """What L{Ports.listen} is told of a tunnel."""
        shared = bool(self._cluster.others)
        return {"tunnel": tunnel.name, "kind": tunnel.kind.name, "shared": shared}

    def _visitor_factory(self, tunnel: Tunnel, target: Any = None) -> IProtocolFactory:
        """
        A kind is anybody's code. @param target: where its visitors go; by default to the tunnel.
        @raise Refused: it refuses, or fails.
        """
        try:
            made: IProtocolFactory = tunnel.kind.visitor_factory(target or tunnel)
        except (Refused, ConfigError) as error:
            raise BadOption(str(error)) from error
        except Exception as error:
            raise plugin_failed(tunnel.kind) from error
        return made

    async def _choose_name(self, wanted: Reservation) -> str:
        """The name to open: asked for, remembered, or new."""
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

    async def _reserve(self, wanted: Reservation, limits: Limits) -> Reservation:
        """
        Reserve the name. @raise NameTaken: another token owns it.
        @raise TooManyTunnels: the token is at a limit.
        """
        try:
            kept = await self._store.reserve(wanted, limits)
        except OverQuota as error:
            raise TooManyTunnels(str(error)) from error
        except Taken as error:
            raise NameTaken(str(error)) from error
        return kept

    async def _free_ports(self) -> list[int]:
        """Up to L{_TRIES} ports that have no owner, in random order."""
        candidates = self._ports.candidates()
        free: list[int] = []
        while candidates and len(free) < _TRIES:
            some, candidates = candidates[:_ASKED], candidates[_ASKED:]
            free += await self._store.free_ports(some)
        return free[:_TRIES]

    async def _listen(self, tunnel: Tunnel, limits: Limits) -> Reservation:
        """Open the tunnel's port: the reserved one, or a free one, which is then reserved."""
        reservation = tunnel.reservation
        target: Any = AnyOf(tunnel, self._routes.of_port) if is_shared(tunnel.options) else tunnel
        tunnel.factory = self._tunnels.factory_of(tunnel) or self._visitor_factory(tunnel, target)
        told = self._told(tunnel)
        if reservation.port is not None:
            self._ports.check(reservation.port)
            self._ports.listen(reservation.port, tunnel.factory, **told)
            return reservation
        busy: Unavailable | None = None
        for port in await self._free_ports():
            if self._ports.is_open(port):  # another tunnel, which is being opened too, has taken it meanwhile
                continue
            try:
                self._ports.listen(port, tunnel.factory, **told)
            except Unavailable as error:
                busy = error
                continue
            try:
                given = attr.evolve(reservation, port=port, port_assigned=True)
                kept = await self._store.reserve(given, limits)
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
