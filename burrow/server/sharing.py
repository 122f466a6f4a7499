"""
Names that several agents share (C{--share}): who of them serves the next visitor.

Those who may serve one are candidates: each agent of this node that is connected, and each that another node
says it has (L{Node.shares<burrow.server.nodes.records.Node>}). Of them the one is chosen that has the fewest
requests open, as far as this node opened them, and of several such the one that was chosen longest ago. What
a visitor's own node has chosen, the node that is passed the visitor keeps to: it chooses only if that agent
has left meanwhile.

An agent whose connection is lost is no candidate from that moment on. One whose service refused a request, or
does not pass its health checks, is one only if no other is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import attr

from burrow.errors import BadOption, TooManyTunnels
from burrow.http.cookies import cookie_of
from burrow.protocols.base import Kind
from burrow.protocols.options import KindOption
from burrow.protocols.sharing import HEALTH_PATH, STICKY
from burrow.server.nodes.boxes import MAX_HOPS
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Links
from burrow.server.nodes.records import Lease
from burrow.server.route import IRoute
from burrow.server.share import Share
from burrow.server.tunnel import Tunnel
from burrow.store.base import Reservation

MAX_SHARED = 1000
"""Agents' tunnels with shared names on one node, at most: its note in the store has a key for each."""

_OWN = ("host-header", "port", "share")
"""Options, by key, in which agents that share a name may differ: all others hold whichever of them is met."""

COOKIE = b"burrow-agent"
"""The cookie of C{--sticky}. Its value is an agent's key."""


def key_of(tunnel: Tunnel) -> str:
    """
    What visitors and nodes call one of the agents that share a name: the same when it comes back. Two on one
    machine with the same upstream have one key, since it makes no difference which of them serves.
    """
    owner = tunnel.owner
    text = f"{owner.token}\n{owner.agent}\n{tunnel.reservation.upstream}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class AnyOf:
    """
    Those who share the name of a tunnel, for
    L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}.

    @param find: finds the route of a name.
    """

    def __init__(self, tunnel: Tunnel, find: Callable[[str], Awaitable[IRoute]]) -> None:
        self._find = find
        self.name = tunnel.name
        self.kind = tunnel.kind
        self.options = tunnel.options
        self.version = tunnel.version

    async def found(self) -> IRoute:
        """Who serves the next visitor. @raise StreamGone: nobody."""
        return await self._find(self.name)


@attr.define(eq=False)
class _Group:
    """
    One name. @ivar members: the tunnels of this node, in the order in which they came.
    @ivar far: what is counted of other nodes' agents, by node and key. @ivar lease: the last one seen.
    @ivar leases: the lease as each node would have it: what it was made of, and it.
    """

    members: list[Tunnel] = attr.field(factory=list)
    far: dict[tuple[str, str], Share] = attr.field(factory=dict)
    lease: Lease | None = None
    leases: dict[str, tuple[Lease, Lease]] = attr.field(factory=dict)

    def lease_of(self, node: str, lease: Lease) -> Lease:
        """The lease as if that node held it; the same object each time."""
        made_of, found = self.leases.get(node, (None, lease))
        if made_of is not lease:
            found = lease if lease.node == node else attr.evolve(lease, node=node)
            self.leases[node] = lease, found
        return found


def _differ(option: KindOption, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether agents cannot share a name for the sake of an option."""
    if not option.for_server or option.key in _OWN:
        return False
    values = one.get(option.key), other.get(option.key)
    if option.secret:  # each agent makes a hash of its own of it
        return bool(values[0]) != bool(values[1])
    return values[0] != values[1]


class Shared:
    """
    The shared names, here and on other nodes.

    @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
    @ivar names: those that agents share, here or on other nodes.
    @ivar on_joined: called, each with the L{Tunnel}, when an agent of this node shares a name from now on.
    """

    def __init__(self, clock: Any, cluster: Cluster, links: Links) -> None:
        self._clock = clock
        self._cluster = cluster
        self._links = links
        self._groups: dict[str, _Group] = {}
        self._count = self._turn = 0
        self.names: set[str] = set()
        self.on_joined: list[Callable[[Tunnel], None]] = []

    def members(self, name: str) -> tuple[Tunnel, ...]:
        """The tunnels of this node that share a name, in the order in which they came."""
        group = self._groups.get(name)
        return () if group is None else tuple(group.members)

    def elsewhere(self, name: str) -> bool:
        """Whether an agent on another node, which is not about to end, shares the name."""
        return name in self._cluster.members.shared

    # -- what changes that ----------------------------------------------------------------------------------

    def check(self, kind: Kind, options: dict[str, Any], asked: Reservation) -> None:
        """
        Whether an agent may share a name.

        @param options: of its tunnel. @param asked: the name that it asks for, and its token.
        @raise BadOption: it asks for no name, or others share that one with other options.
        @raise TooManyTunnels: this node has as many agents that share names as it may.
        """
        if asked.assigned:
            raise BadOption("--share is for a name that several agents ask for: give --name NAME, too")
        for other in self.members(asked.name):
            if other.owner.token != asked.token or not other.connected:
                continue
            wrong = [each.key for each in kind.options if _differ(each, other.options, options)]
            if other.kind.name != kind.name or wrong:
                what = f"as a tunnel of kind {other.kind.name}"
                if other.kind.name == kind.name:
                    what = f"with another value of --{wrong[0]}"
                raise BadOption(
                    f"other agents share {asked.name} {what}: start all of them with the same options, or "
                    "this one with another --name"
                )
        if self._count >= MAX_SHARED:
            raise TooManyTunnels(
                f"the server has {MAX_SHARED} agents that share names, which is its limit: open this tunnel "
                "under a name of its own, without --share"
            )

    def add(self, tunnel: Tunnel) -> None:
        """An agent of this node shares its name from now on."""
        path = tunnel.options.get(HEALTH_PATH.key, "")
        tunnel.share = Share(key_of(tunnel), bool(tunnel.options.get(STICKY.key)), fit=not path)
        self._groups.setdefault(tunnel.name, _Group()).members.append(tunnel)
        self._count += 1
        self.names.add(tunnel.name)
        self._tell(tunnel.name)
        for listener in self.on_joined:
            listener(tunnel)

    def remove(self, tunnel: Tunnel) -> None:
        """An agent of this node shares its name no longer."""
        group = self._groups.get(tunnel.name)
        if group is not None and tunnel in group.members:
            group.members.remove(tunnel)
            self._count -= 1
            self._tell(tunnel.name)
            self._forget(tunnel.name)

    def _tell(self, name: str) -> None:
        keys = [tunnel.share.key for tunnel in self.members(name) if tunnel.share is not None]
        self._cluster.members.share(name, keys)

    def _forget(self, name: str) -> None:
        if not self.members(name) and not self.elsewhere(name):
            self._groups.pop(name, None)
            self.names.discard(name)

    def changed(self, names: Iterable[str]) -> None:
        """What other nodes share under these names changed."""
        for name in names:
            if self.elsewhere(name):
                self.names.add(name)
            group, nodes = self._groups.get(name), self._cluster.members.shared.get(name, {})
            if group is not None:
                far = group.far.items()
                group.far = {key: share for key, share in far if key[1] in nodes.get(key[0], ())}
                group.leases = {node: lease for node, lease in group.leases.items() if node in nodes}
            self._forget(name)

    # -- who serves -----------------------------------------------------------------------------------------

    def pick(self, name: str, hops: int = 0, asking: Any = None, to: str = "") -> IRoute | None:
        """
        Who serves a visitor of a shared name; None if nobody can now.

        @param hops: how many nodes passed the visitor on. @param asking: the visitor: see
            L{Exchange<burrow.server.edge.exchange.Exchange>}, whose C{request} may have the cookie.
        @param to: the key of the agent that another node has chosen.
        """
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group()
        found: list[Any] = [tunnel for tunnel in group.members if tunnel.connected]
        if hops == 0 or (not found and hops < MAX_HOPS):
            found += self._far(name, group, hops)
        if not found:
            return None
        now = self._clock.seconds()
        found = [one for one in found if one.share.fit and one.share.rests_until <= now] or found
        if not to and found[0].share.sticky:
            to = wanted(getattr(asking, "request", None))
        if to:
            found = [one for one in found if one.share.key == to] or found
        chosen: Any = min(found, key=lambda one: (one.share.load, one.share.turn))
        self._turn += 1
        chosen.share.turn = self._turn
        return chosen  # type: ignore[no-any-return]

    def _far(self, name: str, group: _Group, hops: int) -> list[Any]:
        """The routes to agents of other nodes that are linked."""
        nodes = self._cluster.members.shared.get(name)
        if not nodes:
            return []
        lease = self._cluster.leases.held.get(name) or self._cluster.elsewhere(name) or group.lease
        if lease is None:
            return []
        group.lease = lease
        found = []
        for node, keys in nodes.items():
            for key in keys:
                route = self._links.route(group.lease_of(node, lease), hops + 1, key)
                if route is not None:
                    if route.share is None:
                        sticky = bool(route.options.get(STICKY.key))
                        route.share = group.far.setdefault((node, key), Share(key, sticky))
                    found.append(route)
        return found


def wanted(request: Any) -> str:
    """
    The key of the agent that a visitor is to come back to, by its cookie; empty without one.

    @param request: its L{RequestHead<burrow.http.request_head.RequestHead>}; None if there is none.
    """
    value = None if request is None else cookie_of(request.headers, COOKIE)
    return "" if value is None else value.decode("latin-1")
