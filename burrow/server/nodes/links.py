"""The links that this node dials, one to each other node, and the routes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session
from burrow.protocols.base import Kind
from burrow.server.nodes.boxes import MAX_HOPS, AgentBox, VisitorBox
from burrow.server.nodes.link import Link
from burrow.server.nodes.records import Lease, Node
from burrow.server.route import IRoute


@implementer(IRoute)
class Remote:
    """
    A tunnel that another node holds.

    @ivar lease: that node's. @ivar session: the one that the link to the node has while the route is alive.
    """

    may_have_moved = True

    def __init__(self, lease: Lease, kind: Kind | None, link: Link, session: Session, hops: int) -> None:
        self.name = lease.name
        self.kind = kind
        self.lease = lease
        self.session = session
        self._link = link
        self._hops = hops

    @property
    def alive(self) -> bool:
        """See L{IRoute}."""
        return self._link.session is self.session

    def connect(self, protocol: IProtocol, visitor: str, scheme: str) -> None:
        """See L{IRoute}."""
        if not self.alive:
            raise StreamGone("the node that holds the tunnel cannot be reached")
        self.session.open_stream(protocol, VisitorBox(self.lease.name, visitor, scheme, self._hops).encode())


class Links:
    """
    @param kinds: the kinds of tunnels that this node knows, by name.
    @ivar on_up: called, each without arguments, whenever a link has a connection again.
    """

    def __init__(self, reactor: Any, own_id: str, kinds: Mapping[str, Kind]) -> None:
        self.on_up: list[Callable[[], None]] = []
        self._reactor = reactor
        self._own_id = own_id
        self._kinds = kinds
        self._links: dict[str, Link] = {}
        self._routes: dict[tuple[str, int], Remote] = {}
        self._passed: set[_Passed] = set()

    def update(self, nodes: dict[str, Node]) -> None:
        """
        Have a link to each of these nodes. A link to another node ends, unless it still works: a node that
        only failed to renew its note keeps what runs.
        """
        for node_id, link in list(self._links.items()):
            if node_id not in nodes and not link.retire():
                del self._links[node_id]
        for node_id, node in nodes.items():
            if node_id not in self._links or self._links[node_id].retired:
                self._links[node_id] = Link(self._reactor, self._own_id, node, self._up)

    def forget(self, names: Iterable[str]) -> None:
        """The leases on these names changed: the routes to them are made anew when they are asked for."""
        for name in names:
            for hops in range(1, MAX_HOPS + 1):
                self._routes.pop((name, hops), None)

    def stop(self) -> None:
        """End all links."""
        links, self._links = self._links, {}
        for link in links.values():
            link.stop()

    def route(self, lease: Lease, hops: int = 1) -> Remote | None:
        """
        The route to the tunnel of a lease, if its node is linked now; the same object as long as it is.

        @param hops: how many nodes the visitor is passed on to, that one included.
        """
        link = self._links.get(lease.node)
        session = link.session if link is not None else None
        if link is None or session is None:
            return None
        key = lease.name, hops
        known = self._routes.get(key)
        if known is None or known.lease != lease or known.session is not session:
            known = self._routes[key] = Remote(lease, self._kinds.get(lease.kind), link, session, hops)
        return known

    def agent_factory(self, node_id: str) -> IProtocolFactory | None:
        """Passes an agent's WebSocket on to the node that has its session; None while that is not linked."""
        link = self._links.get(node_id)
        if link is None or link.session is None:
            return None
        return _Outward(link.session, self._passed)

    def may_reach(self, node_id: str) -> bool:
        """Whether a node may be linked soon: no attempt to reach it has failed since it was reached last."""
        link = self._links.get(node_id)
        return link is not None and not link.unreachable and not link.retired

    def linked(self, node_id: str) -> bool:
        """Whether a node is linked now: it is alive, whatever the store says."""
        link = self._links.get(node_id)
        return link is not None and link.session is not None

    @property
    def sessions(self) -> list[Session]:
        """Those with the nodes that are linked now."""
        sessions = (link.session for link in self._links.values())
        return [session for session in sessions if session is not None]

    @property
    def passes_on(self) -> bool:
        """Whether agents' connections are passed on to other nodes."""
        return bool(self._passed)

    def drop_passed(self) -> None:
        """Cut agents' connections that are passed on: they come back to another node, and go on there."""
        for passed in list(self._passed):
            passed.transport.abortConnection()

    def _up(self) -> None:
        for listener in self.on_up:
            listener()


class _Outward(Factory):
    """Puts an agent's connection that came to us on a stream to another node."""

    noisy = False

    def __init__(self, session: Session, passed: set[_Passed]) -> None:
        self._session = session
        self._passed = passed

    def buildProtocol(self, addr: Any) -> PipeEnd:
        return _Passed(self._session, self._passed)


class _Passed(PipeEnd):
    """An agent's connection that came to us, and goes on to another node. C{passed}: all of them."""

    def __init__(self, session: Session, passed: set[_Passed]) -> None:
        self._session = session
        self._passed = passed

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._passed.discard(self)
        super().connectionLost(reason)

    def connectionMade(self) -> None:
        self._passed.add(self)
        super().connectionMade()
        end = PipeEnd()
        try:
            self._session.open_stream(end, AgentBox().encode())
        except StreamGone:
            self.transport.loseConnection()
            return
        self.join(end)
