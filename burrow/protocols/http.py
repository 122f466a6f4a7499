"""The kind "http": a name under the base domain; the edge reads HTTP, the agent passes bytes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from twisted.internet.interfaces import IProtocol, IProtocolFactory

from burrow.errors import ConfigError
from burrow.http.failure import FAILURE_HEADER
from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead
from burrow.mux.pipe import PipeEnd
from burrow.observe.http import HttpObserver
from burrow.observe.observer import Observer
from burrow.protocols.base import AgentTunnel, Reach
from burrow.protocols.domain import DOMAIN
from burrow.protocols.forward import Connectors, Forward
from burrow.protocols.kind import TunnelKind
from burrow.protocols.options import KindOption, Side, kind_option
from burrow.protocols.private import PRIVACY
from burrow.protocols.routing import ROUTE, Routed, check_routes
from burrow.protocols.sharing import SHARING
from burrow.protocols.upstream import Upstream, UpstreamFailed, UpstreamTLS
from burrow.protocols.visits import VISITS
from burrow.traffic.hub import Traffic
from burrow.values import parse_path

UPSTREAM_TLS = (
    kind_option(
        "upstream-ca",
        "believe the CAs in this PEM file alone, of an https:// or h2:// upstream (default: this machine's; "
        "on the loopback any certificate)",
        side=Side.AGENT,
        parse=parse_path,
        metavar="FILE",
    ),
    kind_option(
        "upstream-insecure",
        "believe any certificate of an https:// or h2:// upstream",
        False,
        side=Side.AGENT,
    ),
    kind_option(
        "upstream-name",
        "the name in an https:// or h2:// upstream's certificate, where it is not its host",
        "",
        side=Side.AGENT,
        metavar="NAME",
    ),
)
"""How an agent checks the certificate of an upstream that speaks TLS."""


END_TO_END = kind_option(
    "end-to-end",
    "end TLS on this machine, by a certificate that it gets itself; the server passes on what it cannot read",
    False,
    side=Side.AGENT,
)
_CA = (
    kind_option(
        "acme-directory",
        "with --end-to-end: the CA's directory (default: Let's Encrypt)",
        "",
        side=Side.AGENT,
        metavar="URL",
    ),
    kind_option(
        "acme-email", "with --end-to-end: where the CA may write to", "", side=Side.AGENT, metavar="EMAIL"
    ),
    kind_option(
        "acme-ca-file",
        "with --end-to-end: believe the CAs in this PEM file alone when the CA is asked, for a private one",
        side=Side.AGENT,
        parse=parse_path,
        metavar="FILE",
    ),
)


def check_end_to_end(options: Mapping[str, Any], known: Iterable[KindOption]) -> None:
    """
    @param known: the kind's options. @raise ConfigError: others do not go together with --end-to-end.
    """
    if not options.get(END_TO_END.key):
        for each in _CA:
            if options.get(each.key):
                raise ConfigError(f"{each.flag} is for certificates that this agent gets: add --end-to-end")
        return
    for each in known:
        if each.for_server and options.get(each.key, each.default) != each.default:
            raise ConfigError(
                f"{each.flag} is done by the server, which cannot read what --end-to-end protects: leave one "
                "of both out"
            )


def upstream_tls(options: dict[str, Any]) -> UpstreamTLS:
    """What L{UPSTREAM_TLS} says. @param options: the values of all options, by key."""
    return UpstreamTLS(
        options.get("upstream-ca"),
        options.get("upstream-insecure", False),
        options.get("upstream-name", ""),
    )


class HttpProtocol(TunnelKind):
    """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""

    name = "http"
    summary = "an HTTPS URL: web apps, WebSockets, server-sent events, gRPC"
    reach = Reach.HOST
    schemes = ("http", "https", "h2c", "h2")
    options: ClassVar[tuple[KindOption, ...]] = (
        DOMAIN,
        *UPSTREAM_TLS,
        END_TO_END,
        *_CA,
        *VISITS,
        *SHARING,
        *PRIVACY,
    )

    @property
    def scheme(self) -> str:
        """See L{TunnelKind}."""
        return "https"

    def parse_upstream(self, text: str, options: dict[str, Any] | None = None) -> Upstream:
        """See L{TunnelKind}."""
        check_routes(options or {}, agent=True)
        return Upstream.parse(text, self.schemes).with_tls(upstream_tls(options or {}))

    def check_options(self, options: dict[str, Any]) -> None:
        """See L{TunnelKind}."""
        super().check_options(options)
        check_end_to_end(options, self.options)

    def visitor_factory(self, tunnel: Any) -> IProtocolFactory:
        """See L{TunnelKind}: never called, the edge serves this kind."""
        raise NotImplementedError("the edge's own ports serve tunnels that are reached by host")

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{TunnelKind}."""
        if routes := tunnel.options.get(ROUTE.key):
            return Routed(tunnel.upstream, routes, partial(Connectors.get, tunnel.reactor), answer_failure)
        return Forward(Connectors.get(tunnel.reactor, tunnel.upstream), tunnel.upstream, answer_failure)

    def observer(self, tunnel: AgentTunnel, head: VisitorHead, traffic: Traffic, memory: Memory) -> Observer:
        """See L{TunnelKind}: a record for each request."""
        return HttpObserver(traffic, self.name, head.tunnel, head.visitor, head.scheme, memory)


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
