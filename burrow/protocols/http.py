"""The kind "http": a name under the base domain; the edge reads HTTP, the agent passes bytes on."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from burrow.mux.control import VisitorHead
from burrow.mux.pipe import PipeEnd
from burrow.protocols.base import ITunnelProtocol, Reach
from burrow.protocols.forward import Connectors, Forward
from burrow.protocols.upstream import Upstream, UpstreamFailed


@implementer(ITunnelProtocol)
class HttpProtocol:
    """See L{ITunnelProtocol}."""

    name = "http"
    summary = "an HTTPS URL: web apps, WebSockets, server-sent events"
    reach = Reach.HOST
    scheme = "https"

    def parse_upstream(self, text: str) -> Upstream:
        """See L{ITunnelProtocol}."""
        return Upstream.parse(text, ("http", "https"))

    def visitor_factory(self, tunnel: Any) -> IProtocolFactory:
        """See L{ITunnelProtocol}: never called, the edge serves this kind."""
        raise NotImplementedError("the edge's own ports serve tunnels that are reached by host")

    def agent_protocol(self, reactor: Any, upstream: Upstream, head: VisitorHead) -> IProtocol:
        """See L{ITunnelProtocol}."""
        return Forward(Connectors.get(reactor, upstream), upstream, answer_failure)


def answer_failure(stream: PipeEnd, error: UpstreamFailed) -> None:
    """
    Tell the edge why there is no answer: it makes the page, in the form that the visitor asked for.

    See C{FAILURE_HEADER} in L{burrow.server.edge.http1}.
    """
    body = error.public.encode()
    head = (
        f"HTTP/1.1 502 Bad Gateway\r\nBurrow-Error: {error.code}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    stream.transport.write(head.encode() + body)
    # What the visitor sends is read and dropped, so that its end is seen.
    stream.dataReceived = lambda data: None  # type: ignore[method-assign]
    stream.transport.resumeProducing()
    stream.transport.loseWriteConnection()
