"""A tunnel of this node: a public name or port, and the agent's session that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from burrow.mux.control import VisitorHead
from burrow.mux.session import Session
from burrow.protocols.base import Kind, Reach
from burrow.protocols.private import reach_of
from burrow.protocols.visits import Policies, policies
from burrow.server.route import IRoute
from burrow.server.share import Share, count_until_lost
from burrow.store.base import Reservation
from burrow.wire.stream import CLOSED, YamuxStream
from burrow.wire.windows import Allowance, first_window


@dataclass(frozen=True, slots=True)
class Owner:
    """
    The agent's session that opens a tunnel.

    @ivar token: the token's id. @ivar agent: the agent's id.
    @ivar displaced: called with a tunnel of this session that another session has opened, and with that
        one's owner, if it is on this node; returns whether its agent is there and was not asked to leave.
    @ivar took_over: called with a tunnel of this session that such an agent had on another, and with that
        one's owner.
    @ivar released: called with a tunnel of this session whose name no longer belongs to its token, and a
        sentence that says why.
    """

    token: str
    agent: str
    session: Session
    displaced: Callable[[Tunnel, Owner | None], bool] = field(compare=False)
    released: Callable[[Tunnel, str], None] = field(compare=False, default=lambda tunnel, why: None)
    took_over: Callable[[Tunnel, Owner], None] = field(compare=False, default=lambda tunnel, before: None)


class Tally:
    """
    How many bytes passed through streams, without yamux's own. Nothing is counted while they pass: a stream's
    windows tell, which shrank by them.
    """

    __slots__ = ("_open", "_received", "_sent")

    def __init__(self) -> None:
        self._open: set[YamuxStream] | None = None  # until the first stream: most tunnels are idle
        self._received = self._sent = 0

    def add(self, stream: YamuxStream) -> None:
        """Count a stream, from its beginning to its end."""
        if stream.state is CLOSED:
            self._ended(stream)
        else:
            if self._open is None:
                self._open = set()
            self._open.add(stream)
            stream.on_closed = self._ended

    def _ended(self, stream: YamuxStream) -> None:
        if self._open is not None:
            self._open.discard(stream)
        self._received += stream.received
        self._sent += stream.sent

    @property
    def received(self) -> int:
        """Bytes that the peer sent, so far."""
        return self._received + sum(stream.received for stream in self._open or ())

    @property
    def sent(self) -> int:
        """Bytes that the peer was sent, so far."""
        return self._sent + sum(stream.sent for stream in self._open or ())


@implementer(IRoute)
@dataclass(eq=False, slots=True)
class Tunnel:
    """
    An open tunnel.

    @ivar host: its name under the base domain. @ivar url: where visitors reach it.
    @ivar factory: serves its visitors; None for kinds that the edge serves. @ivar requests: see L{IRoute}.
    @ivar options: the values of its kind's options, by key. @ivar version: the version of its kind.
    @ivar share, reach, policies: see L{IRoute}.
    @ivar tally: bytes of its streams, as seen from here: what visitors sent was C{sent} to the agent.
    """

    reservation: Reservation
    kind: Kind
    owner: Owner
    host: str
    url: str
    factory: IProtocolFactory | None = None
    requests: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    share: Share | None = None
    reach: Reach = field(init=False)
    policies: Policies = field(init=False)
    tally: Tally = field(init=False, default_factory=Tally)

    def __post_init__(self) -> None:
        self.reach = reach_of(self.kind, self.options)
        self.policies = policies(self.kind, self.options)

    @property
    def name(self) -> str:
        """See L{IRoute}. It also identifies the tunnel on the control channel."""
        return self.reservation.name

    @property
    def alive(self) -> bool:
        """See L{IRoute}: true as long as the agent's session lives, even without a connection."""
        session = self.owner.session
        return not (session.lost or session.going)

    @property
    def may_have_moved(self) -> bool:
        """See L{IRoute}."""
        return not self.alive

    @property
    def connected(self) -> bool:
        """Whether its agent has a connection now."""
        return self.owner.session.connected and self.alive

    async def found(self) -> Tunnel:
        """
        See L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}: the tunnel is on this
        node.
        """
        return self

    def connect(
        self, protocol: IProtocol, visitor: str, scheme: str, allowance: Allowance | None = None
    ) -> None:
        """See L{IRoute}."""
        head = VisitorHead(self.reservation.name, visitor, scheme, first_window(allowance)).encode()
        self.tally.add(self.owner.session.open_stream(protocol, head, allowance).state)
        if self.share is not None and self.reach is not Reach.HOST:
            count_until_lost(self.share, protocol)
