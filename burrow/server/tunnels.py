"""
The tunnels that are open on this server, and how one comes to be.

To open one: its name is found (asked for, remembered, or new) and reserved in the store, its certificate is
there, its port listens; only then visitors reach it and its agent is told. If any step fails, what the
steps before did is undone, except the reservation: a name stays its owner's.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field
from typing import Any

import attr
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
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
from burrow.mux.control import VisitorHead
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session
from burrow.protocols.base import Kind, Reach
from burrow.server.events import Events
from burrow.server.lookups import Lookups
from burrow.server.names import assigned_name, check_name
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Remote
from burrow.server.nodes.records import Lease
from burrow.server.ports import Ports
from burrow.server.waiting import Asking, Waiting
from burrow.store.base import OverQuota, Reservation, Taken
from burrow.wording import count_of

_KIND = re.compile(r"[a-z][a-z0-9]{0,30}")
_TRIES = 20
EXPECT_FOR = 60.0
"""Seconds for which an agent is expected back that went without a good-bye, or whose server restarted."""

STORE_AWAY = "the server's store cannot answer now; the agent tries again"
"""What agents are told then."""

MAX_UPSTREAM = 300
"""Characters of an upstream's description, at most: it is kept in the store."""


@dataclass(frozen=True, slots=True)
class Owner:
    """
    Who opens tunnels: one agent's session.

    @ivar token: the token's id. @ivar agent: the agent's id.
    @ivar displaced: called with a tunnel of its own that another session opened.
    @ivar released: called with a tunnel of its own whose name is not its token's any more, and a sentence.
    """

    token: str
    agent: str
    session: Session
    displaced: Callable[[Tunnel], None] = field(compare=False)
    lifeline: Lifeline | None = None
    released: Callable[[Tunnel, str], None] = field(compare=False, default=lambda tunnel, why: None)


@dataclass(eq=False, slots=True)
class Tunnel:
    """
    A public name, or port, bound to an upstream of one agent's session.

    @ivar host: its name under the base domain. @ivar url: where visitors reach it.
    """

    reservation: Reservation
    kind: Kind
    owner: Owner
    host: str
    url: str
    factory: IProtocolFactory | None = None

    @property
    def name(self) -> str:
        """Its label, by which agent and server speak of it."""
        return self.reservation.name

    @property
    def relayed(self) -> bool:
        """Whether another node holds it."""
        return False

    @property
    def alive(self) -> bool:
        """Whether its session lives, attached or not, and takes visitors."""
        session = self.owner.session
        return not (session.lost or session.going)

    @property
    def attached(self) -> bool:
        """Whether its agent is connected now."""
        lifeline = self.owner.lifeline
        return self.alive and (lifeline is None or lifeline.attached)

    async def found(self) -> Tunnel:
        """The tunnel where it is now: here."""
        return self

    def connect(self, protocol: IProtocol, visitor: str, scheme: str) -> None:
        """Open a stream to the agent for one visitor. @raise StreamGone: the agent is not there."""
        head = VisitorHead(self.name, visitor, scheme).encode()
        self.owner.session.open_stream(protocol, head)


class Tunnels:
    """
    @param domain: the base domain. @param url: makes the public URL of a host.
    @param ready: fires once a host has its certificate, or fails with CertificateFailed.
    @param max_tunnels: how many one agent may have open.
    @param cluster: this node among the others. @param relayed: the tunnel of a name that another node holds,
        if there is one and it can be reached. @param announce: has the other nodes look who holds what.
    @param reserved: names that agents cannot have, beside those that no server gives.
    @param now: tells the time, in seconds since the epoch.
    @ivar on_closed: called when a tunnel was closed.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: Any,
        store: Any,
        kinds: dict[str, Kind],
        ports: Ports,
        domain: str,
        url: Callable[[str], str],
        ready: Callable[[str], Deferred[None]],
        max_tunnels: int,
        cluster: Cluster,
        events: Events,
        relayed: Callable[[str], Remote | None],
        announce: Callable[[], Awaitable[None]],
        reserved: Container[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reserved = reserved
        self._now = now
        self._cluster = cluster
        self._events = events
        self._relayed = relayed
        self._announce = announce
        self._clock = clock
        self._store = store
        self._kinds = kinds
        self._ports = ports
        self._domain = domain
        self._url = url
        self._ready = ready
        self._max_tunnels = max_tunnels
        self._live: dict[str, Tunnel] = {}
        self._opening: Counter[str] = Counter()
        self._counts: dict[Session, int] = {}
        self._names_of: dict[str, Counter[str]] = {}
        self._lookups = Lookups(clock, store, lambda: not cluster.others)
        self._started = clock.seconds()
        self._expected: dict[str, float] = {}
        self._waiting = Waiting(clock)
        self.on_closed: Callable[[], None] = lambda: None

    def by_name(self, name: str) -> Tunnel | None:
        """The open tunnel of that name, however visitors reach it."""
        return self._live.get(name)

    @property
    def any_open(self) -> bool:
        """Whether a tunnel is open here."""
        return bool(self._live)

    @property
    def names(self) -> list[str]:
        """The names of the open tunnels."""
        return list(self._live)

    @property
    def hosts(self) -> list[str]:
        """The names of the open tunnels that visitors reach by host."""
        return [tunnel.host for tunnel in self._live.values() if tunnel.kind.reach is Reach.HOST]

    async def owned(self, name: str) -> bool:
        """Whether somebody owns the name, though no tunnel is open. @raise StoreError: nobody knows."""
        return await self._lookups.owned(name)

    # -- visitors that wait -----------------------------------------------------------------------------

    def expect(self, name: str) -> None:
        """Its agent went without a good-bye: visitors wait for it, for a while."""
        now = self._clock.seconds()
        if now >= self._started + EXPECT_FOR:
            self._expected = {known: until for known, until in self._expected.items() if until > now}
        self._expected[name] = now + EXPECT_FOR

    def expect_no_more(self, name: str) -> None:
        """Its agent said good-bye: nobody waits for it."""
        self._expected.pop(name, None)
        if self._clock.seconds() < self._started + EXPECT_FOR:
            self._expected[name] = 0.0  # after a start all are expected back

    def expected(self, name: str) -> bool:
        """Whether the agent of a tunnel that is not attached may be back soon, as far as is known here."""
        tunnel = self._live.get(name)
        if name in self._opening or (tunnel is not None and tunnel.alive):
            return True
        return bool(self._clock.seconds() < self._expected.get(name, self._started + EXPECT_FOR))

    def arrived(self, tunnel: Tunnel) -> None:
        """Its agent is connected: let those go on who waited."""
        self._expected.pop(tunnel.name, None)
        self._waiting.wake(tunnel.name)

    def look(self) -> None:
        """Something changed on the other nodes: let those go on whose tunnel is there now."""
        for name in self._waiting:
            if self._relayed(name) is not None:
                self._waiting.wake(name)

    @property
    def awaited(self) -> bool:
        """Whether a visitor waits for a tunnel."""
        return bool(self._waiting)

    def find(self, name: str) -> Tunnel | Remote | None:
        """The tunnel of a name, here or on another node, if its agent is connected."""
        tunnel = self._live.get(name)
        if tunnel is not None and tunnel.attached:
            return tunnel
        return self._relayed(name)

    async def attached(self, name: str, hold: float, asking: Asking | None = None) -> Tunnel | Remote | None:
        """
        The tunnel of a name once its agent is connected; None if that is not expected, or takes longer
        than C{hold} seconds.

        @raise StoreError: nobody knows whose the name is.
        """
        found = self.find(name)
        if found is not None:
            return found
        tunnel = self._live.get(name)
        if tunnel is None or not tunnel.alive:
            if not await self._expects(name):
                return None
            found = self.find(name)
            if found is not None:
                return found
        return self.find(name) if await self._waiting.wait(name, hold, asking) else None

    async def _expects(self, name: str) -> bool:
        """Whether an agent may open it soon, here or elsewhere. @raise StoreError: nobody knows."""
        if name in self._opening:
            return True
        failed: StoreError | None = None
        try:
            if not await self.owned(name) and self._store.whole:
                return False
        except StoreError as error:
            failed = error
        # Only now, since names that are nobody's have no lease: what a stranger makes up costs nothing more.
        lease = await self._cluster.ask(name)
        if lease is not None or name in self._opening:
            return True
        if failed is not None and self._store.whole and name not in self._expected:
            raise failed
        return self.expected(name)

    # -- opening and closing ------------------------------------------------------------------------------

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
        @raise Refused: one of its subclasses; nothing is open then.
        """
        kind = self._kinds.get(kind_name) if _KIND.fullmatch(kind_name) else None
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            raise UnknownProtocol(f"the server has no tunnels of kind {kind_name[:40]!r}; it has {known}")
        if not 0 < len(upstream) <= MAX_UPSTREAM:
            raise BadOption(f"the upstream's description must have 1 to {MAX_UPSTREAM} characters")
        count = self._counts.get(owner.session, 0)
        if count >= self._max_tunnels:
            raise TooManyTunnels(
                f"this agent has {count_of(count, 'tunnel')} open, and may have {self._max_tunnels}"
            )
        self._counts[owner.session] = count + 1
        try:
            tunnel = await self._open(owner, kind, upstream, name, options, limits)
        except StoreError as error:
            self._uncount(owner.session)
            self.log.error("a tunnel cannot be opened: {error}", error=error)
            raise Unavailable(STORE_AWAY) from error
        except BaseException:
            self._uncount(owner.session)
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
        unknown = set(options) - ({"port"} if kind.reach is Reach.TCP_PORT else set())
        if unknown:
            raise BadOption(f"tunnels of kind {kind.name!r} have no option {', '.join(sorted(unknown))[:80]}")
        port = options.get("port")
        if port is not None:
            if isinstance(port, bool) or not isinstance(port, int):
                raise BadOption(f"{repr(port)[:80]} is no port")
            self._ports.check(port)
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
        self._count_name(wanted, limits)
        try:
            reservation = await self._keep(wanted, limits)
            self._opening[reservation.name] += 1
            self._lookups.reserved(wanted.name)
            try:
                return await self._open_reserved(owner, kind, reservation, limits)
            finally:
                self._opening[reservation.name] -= 1
                self._opening = +self._opening  # those that are left
        except BaseException:
            self._uncount_name(wanted)
            raise

    def _count_name(self, wanted: Reservation, limits: Limits) -> None:
        """
        Count the name among those that its token has open, or is about to.

        @raise TooManyTunnels: there are as many others as may be, here or on other nodes.
        """
        ours = self._names_of.get(wanted.token, Counter())
        if limits.tunnels is not None and wanted.name not in ours:
            elsewhere = sum(
                lease.token == wanted.token and lease.name != wanted.name and lease.name not in ours
                for lease in self._cluster.theirs
            )
            if len(ours) + elsewhere >= limits.tunnels:
                raise TooManyTunnels(
                    f"the token has {count_of(limits.tunnels, 'tunnel')} open, as many as it may: close one, "
                    "or ask the server's owner to allow more with `burrow token set`"
                )
        ours[wanted.name] += 1
        self._names_of[wanted.token] = ours

    def _uncount_name(self, counted: Reservation) -> None:
        ours = self._names_of[counted.token]
        ours[counted.name] -= 1
        if not ours[counted.name]:
            del ours[counted.name]
        if not ours:
            del self._names_of[counted.token]

    async def _open_reserved(
        self, owner: Owner, kind: Kind, reservation: Reservation, limits: Limits
    ) -> Tunnel:
        host = f"{reservation.name}.{self._domain}"
        tunnel = Tunnel(reservation, kind, owner, host, self._url(host))
        if kind.reach is Reach.TCP_PORT:
            reservation = await self._listen(tunnel, limits)
            tunnel.reservation = reservation
            tunnel.url = f"{kind.scheme}://{self._domain}:{reservation.port}"
        else:
            await self._ready(host)
        await self._cluster.hold(tunnel.name, kind.name, reservation.port, owner.token)
        if owner.session.going:
            if tunnel.name not in self._live:
                await self._cluster.let_go(tunnel.name)
            await self._unlisten(tunnel)
            raise StreamGone("the agent went while its tunnel was being opened")
        before = self._live.get(tunnel.name)
        self._live[tunnel.name] = tunnel
        if before is not None:
            self._uncount_name(before.reservation)
        if before is not None and before.owner.session is not owner.session:
            self._uncount(before.owner.session)
            self._displace(before, owner.token)
        elif before is not None:
            self._uncount(owner.session)
        if before is not None:
            await self._unlisten(before)  # its port, if it is another
        self.arrived(tunnel)
        if kind.reach is Reach.TCP_PORT:
            await self._announce()  # they open the port too
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
        try:
            kept: Reservation = await self._store.reserve(wanted, limits)
        except OverQuota as error:
            raise TooManyTunnels(str(error)) from error
        except Taken as error:
            raise NameTaken(str(error)) from error
        return kept

    async def _listen(self, tunnel: Tunnel, limits: Limits) -> Reservation:
        """Open the tunnel's port: its own, or a free one that becomes its own."""
        reservation = tunnel.reservation
        tunnel.factory = tunnel.kind.visitor_factory(tunnel)
        if reservation.port is not None:
            self._ports.check(reservation.port)
            self._ports.listen(reservation.port, tunnel.factory, shared=bool(self._cluster.others))
            return reservation
        taken = [known.port for known in await self._store.reservations() if known.port is not None]
        busy: Unavailable | None = None
        for port in self._ports.candidates(taken)[:_TRIES]:
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

    async def _unlisten(self, tunnel: Tunnel) -> None:
        port = tunnel.reservation.port
        if tunnel.factory is not None and port is not None:
            await self._ports.close(port, tunnel.factory)

    async def taken(self, lease: Lease) -> None:
        """Another node has a tunnel of ours now, and its token the name: here it is closed."""
        tunnel = self._live.get(lease.name)
        if tunnel is not None:
            self._displace(tunnel, lease.token)
            await self.close(tunnel)

    @staticmethod
    def _displace(tunnel: Tunnel, token: str) -> None:
        """Tell its agent that a tunnel is now C{token}'s, by its id; empty in older releases' leases."""
        if token in ("", tunnel.owner.token):
            tunnel.owner.displaced(tunnel)
        else:
            tunnel.owner.released(tunnel, f"{tunnel.url} is closed: its name belongs to another token now")

    async def take_away(self, tunnel: Tunnel, why: str) -> None:
        """Close a tunnel whose name is not its token's any more, and tell its agent why."""
        tunnel.owner.released(tunnel, why)
        await self.close(tunnel)

    async def close(self, tunnel: Tunnel) -> None:
        """Take a tunnel away, if it is still the one of its name. Its running streams go on."""
        if self._live.get(tunnel.name) is tunnel:
            del self._live[tunnel.name]
            self._uncount_name(tunnel.reservation)
            self._uncount(tunnel.owner.session)
            if tunnel.name not in self._expected:
                self.expect_no_more(tunnel.name)
            await self._cluster.let_go(tunnel.name)
            await self._unlisten(tunnel)
            self.log.info("{url} is closed", url=tunnel.url)
            self.on_closed()
            self._events.add("tunnel-closed", f"{tunnel.url} is closed")

    def _uncount(self, session: Session) -> None:
        left = self._counts.get(session, 0) - 1
        if left > 0:
            self._counts[session] = left
        else:
            self._counts.pop(session, None)
