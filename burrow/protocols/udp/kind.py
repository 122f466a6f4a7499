"""The kind "udp" itself."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol

from burrow.errors import ConfigError
from burrow.mux.control import VisitorHead
from burrow.protocols.base import AgentTunnel, Reach
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import kind_option
from burrow.protocols.private import PRIVACY
from burrow.protocols.udp.agent import UdpForward
from burrow.protocols.udp.visitors import UdpVisitors
from burrow.protocols.upstream import Upstream
from burrow.values import parse_seconds


class UdpProtocol(TunnelKind):
    """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""

    name = "udp"
    summary = "a UDP port: DNS, games, WireGuard"
    reach = Reach.UDP_PORT
    schemes = ("udp",)
    options = (
        PORT,
        kind_option(
            "idle",
            "seconds without a datagram after which a visitor's address is forgotten",
            60.0,
            parse=parse_seconds,
            number=True,
            metavar="SECONDS",
        ),
        *PRIVACY,
    )

    def parse_upstream(self, text: str, options: dict[str, Any] | None = None) -> Upstream:
        """See L{TunnelKind}."""
        upstream = Upstream.parse(text, self.schemes)
        if upstream.scheme == "unix":
            raise ConfigError(f"{text!r} has no UDP port: write a port, HOST:PORT or udp://HOST:PORT")
        return upstream

    def visitor_factory(self, tunnel: Any) -> Any:
        """See L{TunnelKind}: for UDP it is a protocol that takes datagrams, and not a factory."""
        return UdpVisitors(tunnel, tunnel.options["idle"], counts=self.counts)

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{TunnelKind}."""
        return UdpForward(tunnel.reactor, tunnel.upstream, self.counts)
