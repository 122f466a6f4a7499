"""
What a tunnel kind is: an object that provides L{ITunnelProtocol}.

The server asks it how visitors arrive, the agent what to do with one visitor's stream. Between the two
there is nothing but a byte stream, so any pair of Twisted protocols will do. A base class that passes bytes
on is L{TunnelKind<burrow.protocols.kind.TunnelKind>}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import Attribute


class Reach(Enum):
    """Where visitors reach a tunnel."""

    HOST = "host"
    """A name under the base domain, on the edge's HTTP and HTTPS ports."""

    TCP_PORT = "tcp-port"
    """A TCP port of its own, from the server's range."""

    SNI = "sni"
    """
    A name under the base domain, on the server's TLS port: whoever begins TLS for that name (RFC 6066 section
    3) is a visitor. The visitor's factory gets the connection from its first byte on, TLS and all.
    """

    NOWHERE = "nowhere"
    """Nowhere in public: by other agents of the server alone. See L{burrow.protocols.private}."""

    UDP_PORT = "udp-port"
    """A UDP port of its own, from the same range: no tunnel has the TCP port of that number then."""

    @property
    def by_port(self) -> bool:
        """Whether a tunnel has a port of its own."""
        return self in (Reach.TCP_PORT, Reach.UDP_PORT)


class ITunnelProtocol(IPlugin):
    """One kind of tunnel. Both roles have one object of it; it keeps nothing of a single tunnel."""

    name = Attribute("What commands and the wire call it: lower-case letters and digits.")
    summary = Attribute("One line for --help.")
    reach = Attribute("A L{Reach}.")
    scheme = Attribute("The scheme of a public URL that is not HTTP's, as in tcp://host:port.")
    upstream_help = Attribute("What an upstream is, for --help.")
    options = Attribute("A tuple of L{KindOption<burrow.protocols.options.KindOption>}.")
    version = Attribute(
        """
        The newest version of what its two roles say to each other, from 1. Where the roles' releases differ,
        the newest that both know is used; see L{AgentTunnel}.
        """
    )
    oldest = Attribute("The oldest version that it still speaks.")

    def parse_upstream(text, options):  # type: ignore[no-untyped-def]
        """
        On the agent: the upstream that a person named.

        @param options: the values of all options, by key.
        @return: what C{str} describes to the server and to people, as a
            L{burrow.protocols.upstream.Upstream}.
        @raise ConfigError: it names none; the text says what would.
        """

    def check_options(options):  # type: ignore[no-untyped-def]
        """
        On both roles: whether these values go together. Each of them is possible by itself. The server has
        the defaults of what is for the agent alone.

        @param options: the values of all options, by key. @raise ConfigError: they do not.
        """

    def visitor_factory(tunnel):  # type: ignore[no-untyped-def]
        """
        On the server, for kinds with a port or an SNI name of their own: the factory of visitors' protocols;
        for a UDP port what L{UdpVisitors<burrow.protocols.udp.visitors.UdpVisitors>} is. A private
        tunnel's visitors have the same, too: their transport is a stream, or for datagrams stands for one
        with one address, and their address is the agent's.

        @param tunnel: has C{options}, C{version}, and C{found()}, which fires with the tunnel where it is
            now, since an agent may move from node to node; that has C{connect(protocol, visitor, scheme)},
            which opens a stream to the agent. Both raise L{StreamGone}. @return: an L{IProtocolFactory}.
        """

    def agent_protocol(tunnel, head):  # type: ignore[no-untyped-def]
        """
        On the agent: the protocol of one visitor's stream.

        @param tunnel: an L{AgentTunnel}. @param head: the visitor's
            L{VisitorHead<burrow.mux.control.VisitorHead>}. @return: an L{IProtocol}, to be connected to the
            stream.
        """

    def observer(tunnel, head, traffic, memory):  # type: ignore[no-untyped-def]
        """
        On the agent, if somebody looks: who reads along on one visitor's stream, and tells what passes.

        @param traffic: the L{Traffic<burrow.traffic.hub.Traffic>} to tell. @param memory: what remembered
            heads share: a L{Memory<burrow.http.remembered.Memory>}.
        @return: an L{Observer<burrow.observe.observer.Observer>}, as
            L{ConnectionObserver<burrow.observe.observer.ConnectionObserver>}.
        """


Kind = Any
"""A provider of L{ITunnelProtocol}, for annotations."""


@dataclass(frozen=True, slots=True)
class AgentTunnel:
    """
    An open tunnel, on the agent.

    @ivar kind: its L{ITunnelProtocol}. @ivar upstream: what C{parse_upstream} returned.
    @ivar options: the values of all its options, by key.
    @ivar version: the version of the kind that both roles know.
    @ivar url: where visitors reach it; empty if that is not known.
    """

    reactor: Any
    kind: Kind
    upstream: Any
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    url: str = ""
