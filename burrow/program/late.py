"""A tunnel whose upstream is known later: its program has yet to open a port."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol

from burrow.mux.control import VisitorHead
from burrow.mux.pipe import PipeEnd
from burrow.protocols.base import AgentTunnel
from burrow.protocols.forward import Connectors, Forward
from burrow.protocols.http import HttpProtocol, answer_failure
from burrow.protocols.upstream import Upstream, UpstreamFailed


class LateUpstream:
    """@param name: what the server is told. @ivar found: the upstream; None while it is not known."""

    scheme = "http"

    def __init__(self, name: str, found: Upstream | None = None) -> None:
        self._name = name
        self.found = found

    def __str__(self) -> str:
        return self._name


class _NotYet:
    """Stands in for a L{Connector<burrow.protocols.connecting.Connector>}."""

    def connect_now(self, other: Any = None) -> None:
        """There is no connection."""

    async def connect(self) -> PipeEnd:
        """@raise UpstreamFailed: always."""
        raise UpstreamFailed("refused", "The program has not opened its port yet. Try again soon.", told=True)


class LateKind(HttpProtocol):
    """The kind "http" for a L{LateUpstream}."""

    options = ()

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{HttpProtocol}."""
        found = tunnel.upstream.found
        connector: Any = _NotYet() if found is None else Connectors.get(tunnel.reactor, found)
        return Forward(connector, found or tunnel.upstream, answer_failure)
