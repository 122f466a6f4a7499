"""The route to a tunnel, which a tunnel of this node and a tunnel on another node both provide."""

from __future__ import annotations

from enum import Enum

from zope.interface import Attribute, Interface

from burrow.errors import BurrowError


class Why(Enum):
    """Why a name has no route."""

    UNKNOWN = "unknown"
    """The name has no owner, or its visitors do not come by host: to a TCP port, or it is private."""

    PASSED_ON = "passed-on"
    """The TLS of its visitors is its own: they come by connections that begin with its name."""

    AWAY = "away"
    """Its agent lost its connection a moment ago, or the server just started: the agent may be back soon."""

    LEFT = "left"
    """Its agent is not connected, and is not expected."""


class NoRoute(BurrowError):
    """No tunnel of the name is open. @ivar why: a L{Why}."""

    def __init__(self, why: Why) -> None:
        super().__init__(f"no route: {why.value}")
        self.why = why


class IRoute(Interface):
    """A tunnel, wherever its agent is connected."""

    name = Attribute("The tunnel's label, for visitors and nodes.")
    kind = Attribute(
        "Its L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}; None for an unknown or private one."
    )
    reach = Attribute(
        """
        Where visitors reach it: a L{Reach<burrow.protocols.base.Reach>}; None if its kind is unknown here.
        """
    )
    alive = Attribute(
        "Whether streams can be opened: the agent's session lives, or the node that holds it is linked."
    )
    requests = Attribute(
        "How many requests, and connections that are none, it served: who uses it counts them here."
    )
    may_have_moved = Attribute(
        """
        After a stream on this route was lost: whether another route may serve the name. True if the session
        is lost, or if another node holds the tunnel, since this node cannot know what happened there.
        """
    )

    policies = Attribute(
        """
        What is done with its requests and answers: L{Policies<burrow.protocols.visits.Policies>}. Who has
        found out that the upstream answers to its own host alone replaces them.
        """
    )

    share = Attribute(
        """
        If its name is shared by agents, what is counted of this one: a
        L{Share<burrow.server.share.Share>}, whose C{load} is counted by who uses the route; else None.
        """
    )

    options = Attribute("The values of its kind's options, by key.")
    version = Attribute("The version of its kind that is spoken.")

    def found():  # type: ignore[no-untyped-def]
        """
        See L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}: fires with this route.
        """

    def connect(protocol, visitor, scheme, allowance=None):  # type: ignore[no-untyped-def]
        """
        Open a stream for one visitor.

        @param protocol: the L{IProtocol<twisted.internet.interfaces.IProtocol>} that is put on the stream.
        @param visitor: the visitor's address, C{host:port}. @param scheme: "http", "https", "tcp"...
        @param allowance: what the streams of one visitor's connection have in common, if it may have many at
            a time: an L{Allowance<burrow.wire.windows.Allowance>}; else None.
        @raise StreamGone: the route is not alive.
        """
