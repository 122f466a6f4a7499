"""The admin API of one node, put together from its parts."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from burrow.addresses import is_localhost
from burrow.http.request_head import RequestHead
from burrow.server.admin import API_PATH
from burrow.server.admin.api import Api, Handler
from burrow.server.admin.certificates import Certificates
from burrow.server.admin.dashboard.resource import Dashboard
from burrow.server.admin.events import WhatHappens
from burrow.server.admin.live import Lives
from burrow.server.admin.local import LocalPart
from burrow.server.admin.nodes import Nodes
from burrow.server.admin.own import Own
from burrow.server.admin.principal import Authenticator
from burrow.server.admin.problems import MEDIA_TYPE, Problem
from burrow.server.admin.root import Root, is_api
from burrow.server.admin.seen import SeenRequests
from burrow.server.admin.tokens import TokensAndNames
from burrow.server.admin.tunnels import TunnelsAndSessions
from burrow.server.admin.web import MAX_BODY, AdminWeb
from burrow.server.admin.wrong import WrongTokens
from burrow.server.agents import Agents
from burrow.server.audit import Audit
from burrow.server.config import ServerConfig
from burrow.server.edge import pages
from burrow.server.edge.context import Edge
from burrow.server.events import Events
from burrow.server.nodes.asking import Questions
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Links
from burrow.server.ports import Ports
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore


class Admin:
    """
    @param questions: asks all nodes. @param certificates: an
        L{ICertificates<burrow.certificates.base.ICertificates>}; None without TLS.
    @param state: see L{Site.state<burrow.server.site.Site.state>}.
    @param drain: see L{LocalPart}, as the other parts of this node.
    @ivar auth: tells who asks; the dashboard uses it, too. @ivar root: what is served.
    @ivar certificates: tells what certificates there are.
    @ivar url: of C{--admin}'s address; empty without one.
    """

    def __init__(
        self,
        reactor: Any,
        config: ServerConfig,
        store: IStore,
        questions: Questions,
        *,
        cluster: Cluster,
        links: Links,
        tunnels: Tunnels,
        agents: Agents,
        edge: Edge,
        ports: Ports,
        events: Events,
        certificates: Any,
        drain: Callable[[], Awaitable[None]],
        state: Callable[[str], pages.Page | None] = lambda path: None,
    ) -> None:
        self._state = state
        self.auth = Authenticator(store, WrongTokens(reactor))
        self.lives = Lives(reactor, self.auth)
        cluster.changes.listeners.append(self.lives.changed)

        def owner_of(name: str) -> str:
            tunnel = tunnels.by_name(name)
            if tunnel is not None:
                return tunnel.owner.token
            lease = cluster.elsewhere(name)
            return "" if lease is None else lease.token

        self.seen = SeenRequests(reactor, questions.own_id, edge.traffic, owner_of)
        LocalPart(
            questions,
            cluster=cluster,
            links=links,
            tunnels=tunnels,
            agents=agents,
            edge=edge,
            ports=ports,
            events=events,
            seen=self.seen,
            drain=drain,
        )
        audit = Audit(store)
        self.certificates = Certificates(reactor, store, certificates)
        handlers: dict[str, Handler] = {}
        for part in (
            Own(questions.own_id, config.domain),
            TunnelsAndSessions(questions, cluster, store),
            TokensAndNames(store, cluster, questions, lambda token: self.lives.doubt((token,))),
            Nodes(questions, cluster),
            self.certificates,
            WhatHappens(reactor, store, questions, self.lives, audit),
        ):
            handlers.update(part.handlers)
        self.root = Root(Api(self.auth, audit, handlers))
        dashboard = Dashboard(store, self.auth, config.domain, lambda token: self.lives.doubt((token,)))
        self.root.rest, self.root.claims = dashboard, dashboard.claims
        self._reactor = reactor
        self._scheme = "http" if config.tls == "off" else "https"
        self._at_domain = config.serves_admin
        self._hosts = Hosts(config)
        self._web: AdminWeb | None = None
        self._web_there: AdminWeb | None = None
        self._draining = lambda: edge.draining
        self.url = ""

    # -- at the base domain -------------------------------------------------------------------------------

    def serve(self, edge: Edge, back: IProtocolFactory) -> None:
        """
        Serve connections that C{edge} hands over. @param back: serves them after an answer.
        """
        if self._at_domain:
            self._web = self._make(edge, back, self._scheme)

    def _make(self, edge: Edge, back: IProtocolFactory, scheme: str) -> AdminWeb:
        return AdminWeb(self._reactor, self.root, back, edge, scheme, self._draining)

    def answer(self, head: RequestHead, path: str) -> IProtocolFactory | pages.Page | None:
        """What takes over the connection of a request to the server itself; None if it is not for us."""
        return self._answer(self._web, head) if self._web is not None and self._serves(path) else None

    def _serves(self, path: str) -> bool:
        return is_api(path) or path in self.root.others or self.root.claims(path)

    @staticmethod
    def _answer(web: AdminWeb, head: RequestHead) -> IProtocolFactory | pages.Page:
        if head.length is not None and head.length > MAX_BODY:
            return _page(Problem(413, f"The body has more than {MAX_BODY} bytes."))
        return web.factory(head)

    # -- on --admin's address -----------------------------------------------------------------------------

    def serve_there(self, edge: Edge, back: IProtocolFactory, scheme: str) -> None:
        """The same on a port of its own. @param scheme: "https" or "http"."""
        self._web_there = self._make(edge, back, scheme)

    def listens(self, url: str) -> None:
        """That port's URL is known."""
        self.url = url

    def answer_there(self, head: RequestHead) -> IProtocolFactory | pages.Page:
        """What answers a request on that port."""
        assert self._web_there is not None
        path = head.target.partition(b"?")[0].decode("latin-1")
        if not self._hosts.are_ours(head.host):
            return _page(
                Problem(421, f"{head.host} is no host of this server's: ask for localhost or an IP address.")
            )
        state = self._state(path)
        if state is not None:
            return state
        if not self._serves(path):
            return _page(Problem(404, f"There is nothing here: the admin API is at {API_PATH}/docs."))
        return self._answer(self._web_there, head)

    def stop(self) -> None:
        """End the answers that are under way."""
        self.lives.stop()
        self.seen.stop()
        for web in filter(None, (self._web, self._web_there)):
            web.stop()


def _page(problem: Problem) -> pages.Page:
    """A problem as an answer of the edge's, to what is not even handed over."""
    content = MEDIA_TYPE.encode(), json.dumps(problem.body).encode() + b"\n"
    return pages.Page(problem.status, "admin", problem.title, problem.detail, content=content)


class Hosts:
    """
    The hosts that a request on C{--admin}'s address may ask for. A page whose own name leads to the loopback
    (DNS rebinding) is refused by that.
    """

    def __init__(self, config: ServerConfig) -> None:
        listen = config.admin_listen
        self._names = {"", config.domain, "" if listen is None else listen.host.lower()}

    def are_ours(self, host: str) -> bool:
        """Whether a host is one of them: the base domain, localhost, the address's own, or an IP address."""
        if host in self._names or is_localhost(host):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
