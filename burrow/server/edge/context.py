"""What the visitors' connections of a server share, and what they need of its tunnels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from burrow.http.remembered import Memory
from burrow.http.request_head import RequestHead
from burrow.policy.means import Means
from burrow.server.edge import pages
from burrow.server.edge.forwarded import Forwarding
from burrow.server.edge.gathering import Room
from burrow.server.edge.pace import NO_RATE, Rate
from burrow.server.edge.sweep import Sweep
from burrow.server.route import IRoute
from burrow.server.waiting import Asking
from burrow.traffic.counts import Counts
from burrow.traffic.hub import Traffic
from burrow.traffic.request_id import RequestIds


class Finishable(Shape):
    """
    What a visitor has of one tunnel, as L{burrow.server.finishing} sees it: of HTTP/1.1 its connection, of
    HTTP/2 a request's stream, or a stream to a tunnel that is kept for a next request.
    """

    @property
    def tunnel(self) -> IRoute | None:
        """The tunnel that it has a stream of; None without one."""
        ...

    @property
    def running(self) -> bool:
        """Whether there is something to finish: see L{burrow.server.finishing}."""
        ...

    def finish(self) -> None:
        """Nothing runs here: give up the stream to the tunnel, and with it an answer that has no end."""
        ...


class Connected(Shape):
    """
    A visitor's connection, as L{burrow.server.finishing} sees it.

    @ivar asked: whether it ever brought a request.
    """

    asked: bool

    @property
    def running(self) -> bool:
        """Whether there is something to finish on it."""
        ...

    def parts(self) -> Iterable[Finishable]:
        """What it has of tunnels: each part finishes by itself, whatever the others do."""
        ...

    def end(self) -> None:
        """Nothing runs here, and the server stops: close the connection."""
        ...


Find = Callable[[str, Asking], "IRoute | Deferred[IRoute]"]
"""See L{Routes.of_host<burrow.server.routes.Routes.of_host>}."""

Own = Callable[[RequestHead], "pages.Page | IProtocolFactory | None"]
"""
What the server itself says to a request: None if the host is not its own, which the head alone decides, and
for good.
"""


@dataclass(slots=True)
class Edge:
    """
    What all visitors' connections share.

    @ivar domain: the base domain, for which no tunnel may set a cookie.
    @ivar idle_timeout: seconds for a head. @ivar response_timeout: seconds from a request, or its last
    byte of body, to its answer's head.
    @ivar rate: the least that a visitor has to send or take while it is waited for.
    @ivar visitors: the connections that are open.
    @ivar memory: what heads mean, for all connections together.
    @ivar traffic: who listens to what passes. @ivar counts: what is counted of all requests.
    @ivar request_ids: makes the ids of those that came without one.
    @ivar means: what rules of tunnels' policies may use. @ivar gathered: what bodies that they read take.
    @ivar draining: whether this server goes away: each connection is closed after the answer that is next.
    """

    find: Find
    own: Own
    sweep: Sweep
    forwarding: Forwarding
    domain: str
    idle_timeout: float
    response_timeout: float
    rate: Rate = NO_RATE
    visitors: set[Connected] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    draining: bool = False
    traffic: Traffic = field(default_factory=Traffic)
    counts: Counts = field(default_factory=Counts)
    request_ids: RequestIds = field(default_factory=RequestIds)
    means: Means = field(default_factory=Means)
    gathered: Room = field(default_factory=Room)

    def drain(self) -> None:
        """This server goes away: see C{draining}."""
        self.draining = True
