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

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import (
    ConfigError,
    NoSuchTunnel,
    NotAllowed,
    Refused,
    StoreError,
    StreamGone,
    Unavailable,
    WireError,
)
from burrow.mux.control import ConnectAnswer, ConnectHead, decode_connect_head, shown, visitor_address
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session
from burrow.protocols.base import Kind, Reach
from burrow.protocols.options import read_options
from burrow.protocols.private import ALLOW_TOKEN, public_kind
from burrow.server.nodes.cluster import Cluster
from burrow.server.route import IRoute
from burrow.server.routes import Routes
from burrow.store.base import IStore, Token
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record
from burrow.traffic.watched import watch
from burrow.values import parse_label

REFUSE_AFTER = 2.0
"""Seconds until a token is told that there is no such tunnel, whether there is one or not."""

HEAD_WITHIN = 10.0
"""Seconds until a stream of an agent's is reset whose head has not come whole."""

SCHEME = "private"
"""What the tunnel's agent is told of how such a visitor came."""

_UNKNOWN = IPv4Address("TCP", "0.0.0.0", 0)
"""The address of a visitor whose agent's connection another node relays."""


class _Terms(NamedTuple):
    """What an open private tunnel says of itself. C{owner}: the id of its token."""

    kind: Kind
    owner: str
    options: dict[str, Any]
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

    @ivar traffic: is told of their visitors.
    """

    def __init__(
        self,
        clock: Any,
        store: IStore,
        kinds: Mapping[str, Kind],
        cluster: Cluster,
        routes: Routes,
        traffic: Traffic,
    ) -> None:
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

    async def find(self, name: str, token: Token) -> tuple[Target, IRoute]:
        """
        A tunnel and the route to it. Cancel it when who asks has left.

        @raise Refused: there is none for this token; the text says why.
        """
        target = self.target(name, token) or await self._wait(name, token)
        try:
            return target, await target.found()
        except StreamGone as error:
            raise Unavailable(f"the agent of {name} is away: try again, or look at its machine") from error

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


class Connecting(Protocol):
    """
    A stream of an agent's, other than its first: reads its head, and gives it to the tunnel that it names.

    @param token: called for the agent's token, as of its last check.
    """

    log = Logger()
    transport: Any

    def __init__(self, private: Private, session: Session, token: Any) -> None:
        self._private = private
        self._session = session
        self._token = token
        self._data = b""
        self._finding: Deferred[None] | None = None
        self._head_timeout = session.clock.callLater(HEAD_WITHIN, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        """More of the head, or the whole head and what follows."""
        self._data += data
        if self._finding is not None:
            return
        try:
            decoded = decode_connect_head(self._data)
        except WireError as error:
            self._reset(error)
            return
        if decoded is None:
            return
        self._head_timeout.cancel()
        head, self._data = decoded
        self.transport.pauseProducing()
        self._finding = Deferred.fromCoroutine(self._connect(head))
        self._finding.addErrback(self._failed)

    def _give_up(self) -> None:
        self._reset("it named no tunnel in time")

    def _reset(self, why: object) -> None:
        self.log.warn(
            "reset a stream of agent {name!r} at {peer}: {why}",
            name=self._token().name,
            peer=shown(self._session.peer),
            why=why,
        )
        self.transport.abortConnection()

    async def _connect(self, head: ConnectHead) -> None:
        token = self._token()
        name = head.connect
        who = {"name": token.name, "peer": shown(self._session.peer), "tunnel": name[:63]}
        try:
            target, route = await self._private.find(name, token)
            protocol = self._protocol(target, route)
        except Refused as error:
            self.log.info(
                "agent {name!r} at {peer} cannot connect to {tunnel!r}: {error}", **who, error=error
            )
            self.transport.write(ConnectAnswer.refusing(error).encode())
            self.transport.loseConnection()
            return
        self.log.info("agent {name!r} at {peer} connects to the private tunnel {tunnel}", **who)
        self.transport.write(ConnectAnswer("OK", "").encode())
        rest, self._data = self._data, b""
        self.transport.become(protocol, rest)
        if not isinstance(protocol, PipeEnd):  # which reads when it is joined
            self.transport.resumeProducing()

    def _protocol(self, target: Target, route: IRoute) -> Any:
        """
        What serves the visitor: as on a port, where the kind has ports, since the kind may be more than a
        pipe. @raise Refused: the kind, which is anybody's code, fails.
        """
        peer = self._session.peer
        address = peer if isinstance(peer, IPv4Address | IPv6Address) else _UNKNOWN
        where = visitor_address(address.host, address.port)
        if target.kind.reach is Reach.HOST:
            protocol: Any = _Joined(route, where)
        else:
            self.transport.getPeer = lambda: address  # a kind may ask for a visitor's address, as of a socket
            try:
                protocol = target.kind.visitor_factory(target).buildProtocol(address)
            except Exception as error:
                self.log.failure("the plugin for tunnels of kind {kind} failed", kind=target.kind.name)
                raise Unavailable("the server's plugin for such tunnels failed: its log says why") from error
            if protocol is None:  # as by --allow and --deny
                raise NotAllowed(f"the tunnel {target.name} takes no connections from this agent's address")
        traffic = self._private.traffic
        if traffic.listening:
            record = Record(target.kind.name, target.name, where, SCHEME)
            watch(traffic, record, protocol)
            traffic.begun(record)
        return protocol

    def _failed(self, reason: Failure) -> None:
        if not reason.check(CancelledError):
            self.log.failure("an agent's connection to a private tunnel failed", reason)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The agent ended the stream before it was joined."""
        if self._head_timeout.active():
            self._head_timeout.cancel()
        if self._finding is not None:
            self._finding.cancel()


class _Joined(PipeEnd):
    """A visitor's stream, joined to one to a tunnel of a kind without ports. @ivar tunnel: its route."""

    def __init__(self, route: IRoute, visitor: str) -> None:
        self.tunnel = route
        self._visitor = visitor

    def connectionMade(self) -> None:
        """Open the other stream."""
        super().connectionMade()
        end = PipeEnd()
        try:
            self.tunnel.connect(end, self._visitor, SCHEME)
        except StreamGone:
            self.transport.abortConnection()
            return
        self.tunnel.requests += 1
        self.join(end)
