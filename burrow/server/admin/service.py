"""The admin API of one node, put together from its parts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from burrow.server.admin.api import Api, Handler
from burrow.server.admin.certificates import Certificates
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
from burrow.server.edge.request_head import RequestHead
from burrow.server.events import Events
from burrow.server.nodes.asking import Questions
from burrow.server.nodes.cluster import Cluster
from burrow.server.ports import Ports
from burrow.server.tunnels import Tunnels
from burrow.store.base import IStore


class Admin:
    """
    @param questions: asks all nodes. @param certificates: an
        L{ICertificates<burrow.certificates.base.ICertificates>}; None without TLS.
    @param drain: see L{LocalPart}, as the other parts of this node.
    @ivar auth: tells who asks; the dashboard uses it, too. @ivar root: what is served.
    """

    def __init__(
        self,
        reactor: Any,
        config: ServerConfig,
        store: IStore,
        questions: Questions,
        *,
        cluster: Cluster,
        tunnels: Tunnels,
        agents: Agents,
        edge: Edge,
        ports: Ports,
        events: Events,
        certificates: Any,
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        self.auth = Authenticator(store, WrongTokens(reactor))
        self.lives = Lives(reactor, self.auth)
        cluster.changes.listeners.append(self.lives.changed)
        self.seen = SeenRequests(reactor, questions.own_id, edge.traffic)
        LocalPart(
            questions,
            cluster=cluster,
            tunnels=tunnels,
            agents=agents,
            edge=edge,
            ports=ports,
            events=events,
            seen=self.seen,
            drain=drain,
        )
        audit = Audit(store)
        handlers: dict[str, Handler] = {}
        for part in (
            Own(questions.own_id, config.domain),
            TunnelsAndSessions(questions, cluster, store),
            TokensAndNames(store, cluster, questions, lambda token: self.lives.doubt((token,))),
            Nodes(questions, cluster),
            Certificates(reactor, store, certificates),
            WhatHappens(reactor, store, questions, self.lives, audit),
        ):
            handlers.update(part.handlers)
        self.root = Root(Api(self.auth, audit, handlers))
        self._reactor = reactor
        self._secure = config.tls != "off"
        self._webs: list[AdminWeb] = []

    def serve(self, edge: Edge, back: IProtocolFactory) -> None:
        """
        Serve connections that C{edge} hands over. @param back: serves them after an answer.
        """
        scheme = "https" if self._secure else "http"
        web = AdminWeb(self._reactor, self.root, back, edge.forwarding, scheme, lambda: edge.draining)
        self._webs.append(web)

    def answer(self, head: RequestHead, path: str) -> IProtocolFactory | pages.Page | None:
        """What takes over the connection of a request to the server itself; None if it is not for us."""
        if not is_api(path) or not self._webs:
            return None
        if head.length is not None and head.length > MAX_BODY:
            return _too_large()
        return self._webs[0].factory(head)

    def stop(self) -> None:
        """End the answers that are under way."""
        self.lives.stop()
        self.seen.stop()
        for web in self._webs:
            web.stop()


def _too_large() -> pages.Page:
    """The answer to a body that is not even read."""
    problem = Problem(413, f"The body has more than {MAX_BODY} bytes.")
    body = json.dumps(problem.body).encode()
    return pages.Page(413, "too-large", "Too large", problem.detail, content=(MEDIA_TYPE.encode(), body))
