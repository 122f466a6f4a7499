"""The ports where visitors come: puts together what serves each, and listens."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from burrow.addresses import ListenAddress, authority
from burrow.policy.means import Means
from burrow.server.admin.service import Admin
from burrow.server.config import ServerConfig
from burrow.server.edge.context import Edge, Find, Own
from burrow.server.edge.foreknown import ChoosingFactory
from burrow.server.edge.forwarded import Forwarding
from burrow.server.edge.front import PlainFrontFactory
from burrow.server.edge.http1 import VisitorFactory
from burrow.server.edge.pace import Rate
from burrow.server.edge.passing import Passing
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import TLSFrontFactory
from burrow.server.listening import Guard, Listeners
from burrow.server.metrics.service import Metrics
from burrow.server.nodes.neighbours import Neighbours
from burrow.server.route import IRoute, NoRoute, Why
from burrow.server.site import Site
from burrow.server.waiting import Asking
from burrow.traffic.hub import Traffic


def make_edge(
    config: ServerConfig,
    find: Find,
    own: Own,
    sweep: Sweep,
    traffic: Traffic | None = None,
    means: Means | None = None,
) -> Edge:
    """What visitors' connections share. @param find: see L{Edge}, as the others."""
    return Edge(
        find=find,
        own=own,
        sweep=sweep,
        forwarding=Forwarding(config.trusted_proxy, config.trusted_header),
        domain=config.domain,
        idle_timeout=config.idle_timeout,
        response_timeout=config.response_timeout,
        rate=Rate(config.min_rate, config.min_rate_window),
        traffic=traffic or Traffic(),
        means=means or Means(),
    )


class PublicPorts:
    """
    @param certificates: an L{ICertificates<burrow.certificates.base.ICertificates>}; None without TLS.
    @param site: is told the ports. @param admin: is told what serves a connection after its answer.
    @param passing: passes on the connections of tunnels that take their visitors' TLS.
    """

    def __init__(
        self,
        config: ServerConfig,
        listeners: Listeners,
        neighbours: Neighbours,
        certificates: Any,
        edge: Edge,
        sweep: Sweep,
        site: Site,
        admin: Admin,
        metrics: Metrics,
        passing: Passing,
        behind: Guard = lambda factory: factory,
    ) -> None:
        self._behind = behind
        self._config = config
        self._listeners = listeners
        self._neighbours = neighbours
        self._certificates = certificates
        self._edge = edge
        self._sweep = sweep
        self._site = site
        self._admin = admin
        self._metrics = metrics
        self._passing = passing

    def listen(self) -> None:
        """Listen on all of them. @raise ConfigError: one cannot be opened."""
        config, idle, neighbours = self._config, self._config.idle_timeout, self._neighbours
        visitors = VisitorFactory(self._edge, "https")
        plain: Any = VisitorFactory(self._edge, "http")
        https, http = config.https_listen, config.http_listen
        self._admin.serve(self._edge, plain if https is None else visitors)
        https_port = http_port = 0
        if https is not None:
            front = partial(
                TLSFrontFactory,
                self._certificates,
                visitors,
                self._sweep,
                idle,
                passing=self._passing,
                http2=self._http2("https") if config.speaks_http2 else None,
                own=config.domain,
            )
            neighbours.serve("https", front())
            served = self._behind(front(hand_over=neighbours.hand_https))
            https_port = self._listeners.listen("https", https, served)
            plain = VisitorFactory(self._edge, "http", self._site.redirect)
        elif config.speaks_http2:
            plain = ChoosingFactory(plain, self._http2("http"), self._sweep, idle)
        if https is None and neighbours.door:
            neighbours.serve("http", plain)
            plain = PlainFrontFactory(plain, self._sweep, idle, neighbours.hand_http, neighbours.alone)
        if http is not None:
            http_port = self._listeners.listen("http", http, self._behind(plain))
        self._site.listens(https_port, http_port)
        if config.admin_listen is not None:
            self._listen_for_admin(config.admin_listen)
        if config.metrics_listen is not None:
            self._listen_for_metrics(config.metrics_listen)

    def _http2(self, scheme: str) -> IProtocolFactory:
        """What speaks HTTP/2 with visitors. Its library is loaded by servers that want it alone."""
        from burrow.server.edge.http2 import Http2Factory

        return Http2Factory(self._edge, scheme)

    def _listen_for_admin(self, where: ListenAddress) -> None:
        """Serve the admin API, and nothing else, on a port of its own."""
        edge = make_edge(self._config, _nobody, self._admin.answer_there, self._sweep)
        scheme = "http" if self._config.admin_in_clear else "https"
        served: Any = VisitorFactory(edge, scheme)
        self._admin.serve_there(edge, served, scheme)
        if scheme == "https":
            served = TLSFrontFactory(self._certificates, served, self._sweep, self._config.idle_timeout)
        port = self._listeners.listen("admin", where, served)
        self._admin.listens(f"{scheme}://{authority(where.host or self._config.domain, port)}")

    def _listen_for_metrics(self, where: ListenAddress) -> None:
        """Serve the metrics, and nothing else, on a port of their own."""
        edge = make_edge(self._config, _nobody, self._metrics.answer_there, self._sweep)
        served = VisitorFactory(edge, "http")
        self._metrics.serve_there(edge, served)
        self._listeners.listen("metrics", where, served)


def _nobody(host: str, asking: Asking) -> IRoute:
    """No tunnel is served on the admin API's port."""
    raise NoRoute(Why.UNKNOWN)
