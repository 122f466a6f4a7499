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

FAILURE_HEADER = b"Burrow-Error"
"""An agent that cannot connect to the upstream answers with this field: its value is the code of an
L{UpstreamFailed}, and the body is its public text. The edge replaces the whole answer by a page."""


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
    Tell the edge why there is no answer, with L{FAILURE_HEADER}: it writes the page for the visitor, in the
    form that the visitor asked for.

    @param stream: a visitor's stream, not joined to an upstream.
    """
    body = error.public.encode()
    head = (
        b"HTTP/1.1 502 Bad Gateway\r\n%b: %b\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )
    stream.transport.write(head % (FAILURE_HEADER, error.code.encode(), len(body)) + body)
    # An end that is not joined drops what it reads. It has to read, or it would not see the stream's end.
    stream.transport.resumeProducing()
    stream.transport.loseWriteConnection()
