"""
Who serves a name.

The answer is one of four::

    now         a tunnel of this node whose agent is connected, or one on another node that is linked
    later       its agent is expected: the visitor waits for --hold seconds
    elsewhere   another node holds it, as its lease in the store says: this node reads one key
    none        L{NoRoute}, which says why
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, succeed

from burrow.errors import StoreError, StreamGone
from burrow.protocols.base import Reach
from burrow.protocols.private import public_kind
from burrow.protocols.sharing import is_shared
from burrow.server.expected import Expected
from burrow.server.hosts import Hosts
from burrow.server.lookups import Lookups
from burrow.server.nodes.boxes import MAX_HOPS
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Links
from burrow.server.route import IRoute, NoRoute, Why
from burrow.server.sharing import Shared
from burrow.server.tunnel import Tunnel
from burrow.server.waiting import Asking, Waiting
from burrow.store.base import IStore


class Routes:
    """
    @param hosts: says which name a host is of.
    @ivar hold: seconds that a visitor waits for an agent that is expected.
    @param cluster: says which node holds a name. @param links: the links to the other nodes.
    @ivar shared: the names that several agents share, and who of them serves a visitor.
    """

    def __init__(
        self,
        clock: Any,
        store: IStore,
        cluster: Cluster,
        links: Links,
        hosts: Hosts,
        hold: float,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._links = links
        self._domain = hosts.domain
        self._hosts = hosts
        self.hold = hold
        self._here: dict[str, Tunnel] = {}
        self.shared = Shared(clock, cluster, links)
        self._opening: Counter[str] = Counter()
        self._expected = Expected(clock)
        self.waiting = Waiting(clock)
        self._lookups = Lookups(clock, store, lambda: not cluster.others)
        cluster.hurried.append(lambda: bool(self.waiting))
        links.on_up.append(self.wake)
        cluster.on_leases.append(self._leases_changed)
        cluster.on_dead.append(self._node_died)

    # -- who serves a name ----------------------------------------------------------------------------------

    def find(self, name: str, hops: int = 0, asking: Any = None, to: str = "") -> IRoute | None:
        """
        The route of a name, if there is one now.

        @param hops: how many nodes passed the visitor on already.
        @param asking, to: see L{Shared.pick}.
        """
        if name in self.shared.names:
            found = self.shared.pick(name, hops, asking, to)
            if found is not None:
                return found
        tunnel = self._here.get(name)
        if tunnel is not None and tunnel.connected:
            return tunnel
        lease = self._cluster.elsewhere(name)
        return None if lease is None or hops >= MAX_HOPS else self._links.route(lease, hops + 1)

    def of_host(self, host: str, asking: Asking) -> IRoute | Deferred[IRoute]:
        """
        The route of a host for a visitor: at once, or a Deferred if the visitor has to wait for an agent or
        the store. Cancel it when the visitor leaves. Fails with L{NoRoute}, or with L{StoreError} if the
        store cannot tell.
        """
        name, _, domain = host.partition(".")
        if domain != self._domain:
            name = self._hosts.name(host)
        found = self.find(name, 0, asking)
        if found is not None and found.reach is Reach.HOST:
            return found
        return Deferred.fromCoroutine(self._of_host(name, asking))

    async def _of_host(self, name: str, asking: Asking) -> IRoute:
        if not name:
            raise NoRoute(Why.UNKNOWN)
        if self._is_private(name):
            await self.owned(name)  # which takes as long as for a name without an owner
            raise NoRoute(Why.UNKNOWN)
        found = await self.wait_for(name, asking)
        if found is None:
            if not await self.kind_of(name):  # it has no owner, or was never opened
                raise NoRoute(Why.UNKNOWN)
            raise NoRoute(Why.AWAY if self.expected(name) else Why.LEFT)
        if found.reach is not Reach.HOST:
            raise NoRoute(Why.PASSED_ON if found.reach is Reach.SNI else Why.UNKNOWN)
        return found

    async def of_port(self, name: str) -> IRoute:
        """
        The route of a tunnel for a visitor that came to its TCP port.

        @raise StreamGone: there is none. @raise StoreError: the store cannot tell.
        """
        found = await self.wait_for(name)
        if found is None:
            raise StreamGone("no agent has this tunnel open")
        return found

    async def of_private(self, name: str) -> IRoute | None:
        """
        The route of a private tunnel that is open, here or on another node: at once, or when its agent, or
        that node, is connected within the hold time. None otherwise.
        """
        found = self.find(name)
        if found is None and await self.waiting.wait(name, self.hold):
            found = self.find(name)
        return found

    async def of_node(self, name: str, hops: int, asking: Asking, to: str = "") -> IRoute | None:
        """
        The route of a name for a visitor that another node passed on; None if there is none.

        @param hops: how many nodes passed it on. @param to: see L{Shared.pick}.
        @raise StoreError: the store cannot tell.
        """
        await self.wait_for(name, asking)
        return self.find(name, hops, None, to)

    async def wait_for(self, name: str, asking: Asking | None = None) -> IRoute | None:
        """
        The route of a name: at once, or when an agent that is expected opens it within the hold time. None
        otherwise.

        @param asking: who waits; None for a visitor that has certainly not left.
        @raise StoreError: the store cannot tell whether the name has an owner.
        """
        found = self.find(name, 0, asking)
        if found is not None:
            return found
        tunnel = self._here.get(name)
        if tunnel is None or not tunnel.alive:
            if not await self._may_come(name):
                return None
            found = self.find(name, 0, asking)
            if found is not None:
                return found
        return self.find(name, 0, asking) if await self.waiting.wait(name, self.hold, asking) else None

    async def _may_come(self, name: str) -> bool:
        """
        Whether an agent may open the name soon, here or elsewhere.

        @raise StoreError: the store cannot tell.
        """
        if name in self._opening:
            return True
        failed: StoreError | None = None
        kind = None
        try:
            kind = await self.kind_of(name)
            if kind is None and self._store.whole:
                return False
        except StoreError as error:
            failed = error
        # Not before: a name without an owner has no lease, so this saves a read for names that strangers
        # invent.
        lease = await self._cluster.ask(name)
        if lease is not None or name in self._opening:
            return True
        if failed is not None and self._store.whole and not self._expected.decided(name):
            raise failed
        return kind != "" and self.expected(name)  # no agent comes back to what was never opened

    def serves(self, host: str) -> Deferred[bool]:
        """Whether a host belongs to a tunnel, open or not: see L{burrow.certificates.base.HasOwner}."""
        name = self._hosts.name(host)
        if not name:
            return succeed(False)
        found = self.find(name)
        if found is not None:
            return succeed(found.reach is not Reach.NOWHERE)
        return Deferred.fromCoroutine(self._serves(name))

    async def _serves(self, name: str) -> bool:
        try:
            return await self.owned(name)
        except StoreError:
            # After a loss of data the store cannot tell the owner; a lease shows that the tunnel is open.
            if await self._cluster.ask(name) is None:
                raise
            return not self._is_private(name)

    async def kind_of(self, name: str) -> str | None:
        """See L{Lookups.kind_of}."""
        return await self._lookups.kind_of(name)

    async def owned(self, name: str) -> bool:
        """
        Whether the name has an owner, and is not that of a private tunnel. @raise StoreError: the store
        cannot tell.
        """
        return await self._lookups.owned(name)

    def here(self, name: str) -> Tunnel | None:
        """The tunnel of a name that is open on this node, whether its agent is connected or not."""
        return self._here.get(name)

    def _is_private(self, name: str) -> bool:
        """Whether a private tunnel of the name is open, here or on another node."""
        tunnel = self._here.get(name)
        if tunnel is not None:
            return tunnel.reach is Reach.NOWHERE
        lease = self._cluster.elsewhere(name)
        return lease is not None and public_kind(lease.kind) is not None

    def held(self, name: str) -> bool:
        """Whether a tunnel of the name is open, here or on another node."""
        return name in self._here or self._cluster.elsewhere(name) is not None

    def holds(self, route: IRoute) -> bool:
        """Whether the tunnel of a route that was found is open still; of those who share it, this one."""
        among = self.shared.members(route.name)
        return route in among if isinstance(route, Tunnel) and among else self.held(route.name)

    # -- what changes that ----------------------------------------------------------------------------------

    @contextmanager
    def opening(self, name: str, kind: str = "", public: bool = True) -> Iterator[None]:
        """
        A context in which a tunnel of the name and kind is being opened here: visitors wait for it if it is
        public.
        """
        if not public:
            yield
            return
        self._opening[name] += 1
        self._lookups.reserved(name, kind)
        try:
            yield
        finally:
            self._opening[name] -= 1
            if not self._opening[name]:
                del self._opening[name]

    def add(self, tunnel: Tunnel) -> None:
        """A tunnel was opened here: it serves its name from now on."""
        self._here[tunnel.name] = tunnel
        if is_shared(tunnel.options):
            self.shared.add(tunnel)
        self.agent_connected(tunnel.name)

    def remove(self, tunnel: Tunnel) -> None:
        """A tunnel was closed here. Its agent is not expected, unless L{expect} was called."""
        self.shared.remove(tunnel)
        left = self.shared.members(tunnel.name)
        if left:
            self._here[tunnel.name] = left[-1]
            return
        del self._here[tunnel.name]
        if not self._expected.decided(tunnel.name):
            self._expected.discard(tunnel.name)

    def agent_connected(self, name: str) -> None:
        """The agent of a tunnel of this node connected: waiting visitors continue."""
        self._expected.forget(name)
        self.waiting.wake(name)

    def expect(self, name: str) -> None:
        """The name's agent left without a good-bye: visitors wait for it, for a while."""
        self._expected.add(name)

    def expect_no_more(self, name: str) -> None:
        """The name's agent said good-bye: visitors do not wait for it."""
        self._expected.discard(name)

    def expected(self, name: str) -> bool:
        """Whether the agent of a name may connect soon, as far as this node knows."""
        tunnel = self._here.get(name)
        if name in self._opening or (tunnel is not None and tunnel.alive):
            return True
        return name in self.shared.names or name in self._expected

    def wake(self) -> None:
        """Leases or links changed: visitors continue whose tunnel another node now holds."""
        for name in self.waiting:
            lease = self._cluster.elsewhere(name)
            linked = lease is not None and self._links.route(lease) is not None
            if linked or (name in self.shared.names and self.shared.pick(name)):
                self.waiting.wake(name)

    def _leases_changed(self, names: Collection[str]) -> None:
        self.shared.changed(names)
        self.wake()

    def _node_died(self, names: list[str]) -> None:
        for name in names:
            self._expected.add(name)
