"""
Connections to private tunnels: an agent opens a stream and names a tunnel, and is joined to that tunnel's
agent, on this node or another.

Who may connect: the token that opened the tunnel, and those that it named by C{--allow-token}. For all others
the tunnel does not exist: they get the same answer after the same time as for a name that nobody has. What
becomes of a connection::

    the tunnel is open, its agent connected    joined
    open, its agent away                       waits for --hold, then UNAVAILABLE
    not open, its owner asks                   the same if its agent is expected, else UNAVAILABLE at once
    anything else                              waits L{REFUSE_AFTER}, as the tunnel may be opened; then
                                               NO_SUCH_TUNNEL
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from burrow.errors import (
    ConfigError,
    NoSuchTunnel,
    Refused,
    StoreError,
    StreamGone,
    Unavailable,
)
from burrow.mux.control import BYTES, DATAGRAMS
from burrow.protocols.base import Kind, Reach
from burrow.protocols.options import read_options
from burrow.protocols.private import ALLOW_TOKEN, public_kind
from burrow.server.nodes.asking import Questions, Unanswered
from burrow.server.nodes.boxes import MAX_HOPS
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Remote
from burrow.server.route import IRoute
from burrow.server.routes import Routes
from burrow.store.base import IStore, Token
from burrow.traffic.hub import Traffic
from burrow.values import parse_label

REFUSE_AFTER = 2.0
"""Seconds until a token is told that there is no such tunnel, whether there is one or not."""

_ASK_AGAIN = 0.5
"""Seconds until another node is asked again whether a tunnel's agent is connected there."""

_CONNECTED = "agent-connected"
"""The question: see L{Questions}."""


class _Terms(NamedTuple):
    """What an open private tunnel says of itself. C{owner}: the id of its token."""

    kind: Kind
    owner: str
    options: Mapping[str, Any]
    version: int

    def allow(self, token: Token) -> bool:
        """Whether a token may connect."""
        return token.id == self.owner or token.name in self.options[ALLOW_TOKEN.key]


class Target:
    """
    A private tunnel that a token may use, for
    L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}.
    """

    def __init__(self, private: Private, name: str, token: Token, terms: _Terms) -> None:
        self._private = private
        self._token = token
        self.name = name
        self.kind = terms.kind
        self.options = terms.options
        self.version = terms.version

    @property
    def carries(self) -> str:
        """What its connections are: see L{ConnectHead}."""
        return DATAGRAMS if self.kind.reach is Reach.UDP_PORT else BYTES

    async def found(self) -> IRoute:
        """
        The route to it. Whether the token may use it is asked again, since it may have waited.

        @raise StreamGone: there is none within the hold time.
        """
        route = await self._private.routes.of_private(self.name)
        if route is None or self._private.target(self.name, self._token) is None:
            raise StreamGone("no agent has this tunnel open")
        return route


class Private:
    """
    Finds private tunnels for tokens.

    @param questions: asks the node that holds a tunnel whether its agent is connected; None if there is none.
    @ivar traffic: is told of their visitors. @ivar visitors: the protocols of those that are joined.
    """

    def __init__(
        self,
        clock: Any,
        store: IStore,
        kinds: Mapping[str, Kind],
        cluster: Cluster,
        routes: Routes,
        traffic: Traffic,
        questions: Questions | None = None,
    ) -> None:
        self.visitors: set[Any] = set()
        self._questions = questions
        if questions is not None:
            questions.answers[_CONNECTED] = self._connected_here
        self.routes = routes
        self.traffic = traffic
        self._clock = clock
        self._store = store
        self._kinds = kinds
        self._cluster = cluster

    def target(self, name: str, token: Token) -> Target | None:
        """An open tunnel, as far as this node knows; None also if the token may not use it."""
        terms = self._terms(name)
        return Target(self, name, token, terms) if terms is not None and terms.allow(token) else None

    async def known(self, name: str, token: Token) -> Target:
        """
        A tunnel that is open. Cancel it when who asks has left.

        @raise Refused: there is none for this token; the text says why.
        """
        return self.target(name, token) or await self._wait(name, token)

    async def route(self, target: Target) -> IRoute:
        """The way to a tunnel's agent. Cancel it when who asks has left. @raise Unavailable: it is away."""
        try:
            return await self._reached(target)
        except StreamGone as error:
            raise Unavailable(
                f"the agent of {target.name} is away: try again, or look at its machine"
            ) from error

    async def _reached(self, target: Target) -> IRoute:
        """
        The route, once its agent is connected, also on another node: who connects is told so only then.

        @raise StreamGone: it was not within the hold time.
        """
        ends = self._clock.seconds() + self.routes.hold
        while True:
            route = await target.found()
            if not isinstance(route, Remote) or self._questions is None:
                return route
            try:
                if await self._questions.ask(route.lease.node, _CONNECTED, name=target.name):
                    return route
            except Unanswered:
                return route  # a node of an older release, which does not know the question
            if self._clock.seconds() >= ends:
                raise StreamGone("its agent is away")
            await deferLater(self._clock, _ASK_AGAIN)

    async def _connected_here(self, of: dict[str, Any]) -> bool:
        """Another node asks whether the agent of a tunnel, by its C{name}, is connected here."""
        return self.routes.find(str(of.get("name")), MAX_HOPS) is not None

    def joined(self, protocol: Any) -> None:
        """A visitor's protocol was put on its stream: it is one of C{visitors} until it is lost."""
        self.visitors.add(protocol)
        lost = protocol.connectionLost

        def connection_lost(reason: Failure = connectionDone) -> None:
            self.visitors.discard(protocol)
            lost(reason)

        protocol.connectionLost = connection_lost

    async def _wait(self, name: str, token: Token) -> Target:
        """Wait until a tunnel is open that the token may use. @raise Refused: it is not."""
        began, until = self._clock.seconds(), REFUSE_AFTER
        refusal: Refused = NoSuchTunnel(
            f"there is no private tunnel {name[:63]!r} that this token may use, or its agent is not connected"
        )
        if _possible(name):
            try:
                reservation = await self._store.reservation(name)
                await self._cluster.ask(name)
            except StoreError:
                refusal = Unavailable("the server's store cannot answer now: try again")
            else:
                if reservation is not None and reservation.token == token.id:
                    if public_kind(reservation.kind) is None:
                        refusal = NoSuchTunnel(
                            f"the tunnel {name} is not private: visitors reach it at its public URL"
                        )
                        until = 0.0
                    else:
                        refusal = Unavailable(f"no agent has the tunnel {name} open: start it")
                        until = self.routes.hold if self.routes.expected(name) else 0.0
        while True:
            target = self.target(name, token)
            left = began + until - self._clock.seconds()
            if target is not None:
                return target
            if left <= 0 or not await self.routes.waiting.wait(name, left):
                raise refusal

    def _terms(self, name: str) -> _Terms | None:
        tunnel = self.routes.here(name)
        if tunnel is not None and tunnel.alive:
            if tunnel.reach is not Reach.NOWHERE:
                return None
            return _Terms(tunnel.kind, tunnel.owner.token, tunnel.options, tunnel.version)
        lease = self._cluster.elsewhere(name)
        kind = None if lease is None else self._kinds.get(public_kind(lease.kind) or "")
        if lease is None or kind is None:
            return None
        try:
            options = read_options(kind.options, json.loads(lease.options or "{}"))
        except (ConfigError, ValueError):
            return None  # a newer release's: what it means is not known here
        return _Terms(kind, lease.token, options, lease.version)


def _possible(name: str) -> bool:
    """Whether a tunnel may be called so."""
    try:
        return parse_label(name) == name
    except ValueError:
        return False
