"""The admin API of one node, put together from its parts."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from burrow.server.admin.api import Api, Handler
from burrow.server.admin.own import Own
from burrow.server.admin.principal import Authenticator
from burrow.server.admin.problems import MEDIA_TYPE, Problem
from burrow.server.admin.root import Root, is_api
from burrow.server.admin.web import MAX_BODY, AdminWeb
from burrow.server.admin.wrong import WrongTokens
from burrow.server.config import ServerConfig
from burrow.server.edge import pages
from burrow.server.edge.context import Edge
from burrow.server.edge.request_head import RequestHead
from burrow.store.base import IStore


class Admin:
    """
    @param node: this node's id.
    @ivar auth: tells who asks; the dashboard uses it, too. @ivar root: what is served.
    """

    def __init__(self, reactor: Any, config: ServerConfig, store: IStore, node: str) -> None:
        self.auth = Authenticator(store, WrongTokens(reactor))
        handlers: dict[str, Handler] = {}
        for part in (Own(node, config.domain),):
            handlers.update(part.handlers)
        self.root = Root(Api(self.auth, handlers))
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
        for web in self._webs:
            web.stop()


def _too_large() -> pages.Page:
    """The answer to a body that is not even read."""
    problem = Problem(413, f"The body has more than {MAX_BODY} bytes.")
    body = json.dumps(problem.body).encode()
    return pages.Page(413, "too-large", "Too large", problem.detail, content=(MEDIA_TYPE.encode(), body))
