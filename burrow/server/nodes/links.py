"""The links that this node dials, one to each other node, and the routes over them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import ConfigError, StreamGone
from burrow.mux.control import visitor_address
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session
from burrow.protocols.base import Kind, Reach
from burrow.protocols.options import read_options
from burrow.protocols.private import public_kind
from burrow.protocols.visits import NO_POLICIES, UNREADABLE, policies
from burrow.server.nodes.boxes import AgentBox, VisitorBox
from burrow.server.nodes.link import Link
from burrow.server.nodes.records import Lease, Node
from burrow.server.route import IRoute
from burrow.server.share import Share, count_until_lost
from burrow.wire.windows import Allowance, first_window


@implementer(IRoute)
class Remote:
    """
    The route to a tunnel that another node holds.

    @ivar lease: that node's. @ivar session: the link's; the route is alive as long as the link has it.
    """

    may_have_moved = True

    def __init__(
        self, lease: Lease, kind: Kind | None, link: Link, session: Session, hops: int, to: str = ""
    ) -> None:
        self.name = lease.name
        self.requests = 0
        self.kind = kind
        self.reach: Reach | None = None if kind is None else kind.reach
        if public_kind(lease.kind) is not None:
            self.reach = Reach.NOWHERE
        self.lease = lease
        self.session = session
        self.policies = NO_POLICIES
        if self.reach is Reach.HOST:
            try:
                self.policies = policies(kind, self.options)
            except ConfigError:
                self.policies = UNREADABLE
        self._link = link
        self._hops = hops
        self._to = to
        self.share: Share | None = None

    @property
    def options(self) -> dict[str, Any]:
        """See L{IRoute}. @raise ConfigError: the other node's release has options that this one lacks."""
        return read_options(
            () if self.kind is None else self.kind.options, json.loads(self.lease.options or "{}")
        )

    @property
    def version(self) -> int:
        """See L{IRoute}."""
        return self.lease.version

    async def found(self) -> Remote:
        """See L{IRoute}."""
        return self

    @property
    def alive(self) -> bool:
        """See L{IRoute}."""
        return self._link.session is self.session

    def connect(
        self, protocol: IProtocol, visitor: str, scheme: str, allowance: Allowance | None = None
    ) -> None:
        """See L{IRoute}."""
        if not self.alive:
            raise StreamGone("the node that holds the tunnel cannot be reached")
        window = first_window(allowance)
        box = VisitorBox(self.lease.name, visitor, scheme, self._hops, self._to, window)
        self.session.open_stream(protocol, box.encode(), allowance)
        if self.share is not None and self.reach is not Reach.HOST:
            count_until_lost(self.share, protocol)


class Links:
    """
    @param kinds: the kinds of tunnels that this node knows, by name.
    @ivar on_up: called, each without arguments, whenever a link has a new connection.
    """

    def __init__(self, reactor: Any, own_id: str, kinds: Mapping[str, Kind]) -> None:
        self.on_up: list[Callable[[], None]] = []
        self._reactor = reactor
        self._own_id = own_id
        self._kinds = kinds
        self._links: dict[str, Link] = {}
        self._routes: dict[str, dict[tuple[int, str, str], Remote]] = {}
        self._relayed: set[_RelayedAgent] = set()

    def update(self, nodes: dict[str, Node]) -> None:
        """
        Have a link to each of these nodes. A link to any other node ends, unless it still works: the node may
        only have failed to renew its note.
        """
        for node_id, link in list(self._links.items()):
            if node_id not in nodes and not link.retire():
                del self._links[node_id]
        for node_id, node in nodes.items():
            if node_id not in self._links or self._links[node_id].retired:
                self._links[node_id] = Link(self._reactor, self._own_id, node, self._on_link_up)

    def forget(self, names: Iterable[str]) -> None:
        """The leases on these names changed: forget the routes to them."""
        for name in names:
            self._routes.pop(name, None)

    def stop(self) -> None:
        """End all links."""
        links, self._links = self._links, {}
        for link in links.values():
            link.stop()

    def route(self, lease: Lease, hops: int = 1, to: str = "") -> Remote | None:
        """
        The route to the tunnel of a lease, the same object each time; None if its node is not linked.

        @param hops: how many nodes pass the visitor on, up to and including that node.
        @param to: see L{VisitorBox}.
        """
        link = self._links.get(lease.node)
        session = link.session if link is not None else None
        if link is None or session is None:
            return None
        key = hops, to, lease.node if to else ""
        routes = self._routes.get(lease.name)
        if routes is None:
            routes = self._routes[lease.name] = {}
        known = routes.get(key)
        if known is None or known.lease != lease or known.session is not session:
            known = routes[key] = Remote(lease, self._kinds.get(lease.kind), link, session, hops, to)
        return known

    @property
    def requests(self) -> Counter[str]:
        """How many requests each tunnel of another node got from here, by its name."""
        found: Counter[str] = Counter()
        for name, routes in self._routes.items():
            found[name] += sum(route.requests for route in routes.values())
        return found

    def agent_factory(self, node_id: str) -> IProtocolFactory | None:
        """
        The factory that relays an agent's WebSocket to the node that has its session; None if it is not
        linked.
        """
        session = self.session_with(node_id)
        return None if session is None else _RelayFactory(session, self._relayed)

    def may_reach(self, node_id: str) -> bool:
        """Whether a node may be linked soon: no attempt has failed since the last connection."""
        link = self._links.get(node_id)
        return link is not None and not link.unreachable and not link.retired

    def linked(self, node_id: str) -> bool:
        """Whether a node is linked now. Then it is alive, whatever the store says."""
        link = self._links.get(node_id)
        return link is not None and link.session is not None

    def session_with(self, node_id: str) -> Session | None:
        """The session with a node; None if it is not linked now."""
        link = self._links.get(node_id)
        return None if link is None else link.session

    @property
    def sessions(self) -> list[Session]:
        """The sessions with the nodes that are linked now."""
        sessions = (link.session for link in self._links.values())
        return [session for session in sessions if session is not None]

    @property
    def relays_agents(self) -> bool:
        """Whether this node relays connections of agents to other nodes."""
        return bool(self._relayed)

    def cut_relayed_agents(self) -> None:
        """
        Cut the relayed connections of agents: the agents connect again elsewhere, and resume their sessions.
        """
        for relayed in list(self._relayed):
            relayed.transport.abortConnection()

    def _on_link_up(self) -> None:
        for listener in self.on_up:
            listener()


class _RelayFactory(Factory):
    """Relays an agent's connection on a stream to another node."""

    noisy = False

    def __init__(self, session: Session, relayed: set[_RelayedAgent]) -> None:
        self._session = session
        self._relayed = relayed

    def buildProtocol(self, addr: Any) -> PipeEnd:
        return _RelayedAgent(self._session, self._relayed)


class _RelayedAgent(PipeEnd):
    """An agent's connection that is relayed to another node. @param relayed: the set of all of them."""

    def __init__(self, session: Session, relayed: set[_RelayedAgent]) -> None:
        self._session = session
        self._relayed = relayed

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._relayed.discard(self)
        super().connectionLost(reason)

    def connectionMade(self) -> None:
        self._relayed.add(self)
        super().connectionMade()
        end = PipeEnd()
        try:
            peer = self.transport.getPeer()
            box = AgentBox(visitor_address(peer.host, peer.port) if hasattr(peer, "host") else "")
            self._session.open_stream(end, box.encode())
        except StreamGone:
            self.transport.loseConnection()
            return
        self.join(end)
