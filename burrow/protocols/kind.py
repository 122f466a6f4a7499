"""The base class of tunnel kinds: a TCP port whose visitors' bytes go to the upstream as they are."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any, ClassVar

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from burrow.addresses import parse_port
from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead
from burrow.observe.observer import ConnectionObserver, Observer
from burrow.protocols.base import AgentTunnel, ITunnelProtocol, Reach
from burrow.protocols.filter import Filter, Filtered
from burrow.protocols.forward import Connectors, Forward
from burrow.protocols.options import KindOption, kind_option
from burrow.protocols.private import PRIVACY, check_privacy
from burrow.protocols.sharing import check_sharing
from burrow.protocols.upstream import Upstream, UpstreamFailed
from burrow.protocols.visitor import VisitorFactory
from burrow.protocols.visits import check_visits
from burrow.traffic.hub import Traffic

PORT = kind_option(
    "port",
    "the public port to have, or several, as in 20000-20010 for an upstream 5000-5010 (default: the server's "
    "choice)",
    parse=parse_port,
    number=True,
)
"""Of kinds with a port of their own. The server reads it."""


@implementer(ITunnelProtocol)
class TunnelKind:
    """
    See L{ITunnelProtocol}. A subclass has a name and a summary, and overrides what differs.

    @ivar schemes: of upstreams: the first is the one meant without any.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reach: ClassVar[Reach] = Reach.TCP_PORT
    schemes: ClassVar[tuple[str, ...]] = ("tcp",)
    upstream_help: ClassVar[str] = "what to open: PORT, HOST:PORT, a URL or unix:/PATH"
    options: ClassVar[tuple[KindOption, ...]] = (PORT, *PRIVACY)
    version: ClassVar[int] = 1
    oldest: ClassVar[int] = 1

    @cached_property
    def counts(self) -> Counter[str]:
        """
        What it counts of its own, in this process since its start, by names of lower-case letters, digits and
        underscores: for the server's metrics, and the status of the agent's inspector. 20 names are shown.
        """
        return Counter()

    @property
    def scheme(self) -> str:
        """See L{ITunnelProtocol}: the name."""
        return self.name

    def parse_upstream(self, text: str, options: dict[str, Any] | None = None) -> Any:
        """See L{ITunnelProtocol}."""
        return Upstream.parse(text, self.schemes)

    def check_options(self, options: dict[str, Any]) -> None:
        """See L{ITunnelProtocol}: a private tunnel has no port, and the server does not read its requests."""
        check_privacy(options)
        check_visits(options)
        check_sharing(options)

    def visitor_factory(self, tunnel: Any) -> IProtocolFactory:
        """See L{ITunnelProtocol}."""
        return VisitorFactory(tunnel, self.scheme)

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{ITunnelProtocol}."""
        connector, upstream = Connectors.get(tunnel.reactor, tunnel.upstream), tunnel.upstream
        filter = self.filter(tunnel, head)
        if filter is None:
            return Forward(connector, upstream, _reset)
        return Filtered(connector, upstream, _reset, filter, self.name)

    def filter(self, tunnel: AgentTunnel, head: VisitorHead) -> Filter | None:
        """On the agent: what changes the bytes of one visitor's connection; None if they pass as they are."""
        return None

    def observer(self, tunnel: AgentTunnel, head: VisitorHead, traffic: Traffic, memory: Memory) -> Observer:
        """See L{ITunnelProtocol}: one record for each connection."""
        return ConnectionObserver(traffic, self.name, head.tunnel, head.visitor, head.scheme)


def _reset(stream: Forward, error: UpstreamFailed) -> None:
    """Reset the visitor's connection, as the upstream's machine would have done."""
    stream.transport.abortConnection()
