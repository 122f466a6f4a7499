"""The metrics and the request log of one process, put together; and what --metrics serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.web.resource import Resource

from burrow.addresses import is_loopback
from burrow.http.request_head import RequestHead
from burrow.server.admin.service import Admin
from burrow.server.admin.web import AdminWeb
from burrow.server.config import ServerConfig
from burrow.server.edge import pages
from burrow.server.edge.context import Edge
from burrow.server.metrics import METRICS_PATH
from burrow.server.metrics.measure import Measure
from burrow.server.metrics.scrape import Scrape
from burrow.server.nodes.asking import Questions
from burrow.server.nodes.cluster import Cluster
from burrow.server.request_log import RequestLog

_PATHS = (METRICS_PATH, "/metrics")

_FOREIGN = (
    "The metrics are for programs of this machine, by an address such as 127.0.0.1: this request asks for "
    "another host, as a browser does for a site that has its name point here (DNS rebinding)."
)


class Metrics:
    """
    At the base domain, and on C{--admin}'s address, a token of a viewer or an admin is asked for, and all
    processes are told of, whichever answers. On C{--metrics}' address everybody is answered who can connect,
    and the processes of this C{burrow server} are told of. On the loopback those are programs of this machine
    and no pages of sites whose names point there.

    @param measured: see L{Measure}. @param group: of this C{burrow server}.
    @param state: see L{Site<burrow.server.site.Site>}.
    """

    def __init__(
        self,
        clock: Any,
        config: ServerConfig,
        questions: Questions,
        cluster: Cluster,
        admin: Admin,
        group: str,
        state: Callable[[str], pages.Page | None],
        **measured: Any,
    ) -> None:
        self._clock = clock
        self._questions = questions
        self._cluster = cluster
        self._group = group
        self._auth = admin.auth
        self._state = state
        self._web: AdminWeb | None = None
        questions.answers["metrics"] = Measure(**measured).tell
        listen = config.metrics_listen
        self._loopback = listen is not None and is_loopback(listen.host)
        self._log = RequestLog(clock, config.log_format) if config.log_format else None
        if self._log is not None:
            measured["edge"].traffic.add(self._log)
        certificates = admin.certificates.all
        admin.root.others[METRICS_PATH] = Scrape(questions, self._all, certificates, self._check)
        self._here = Scrape(questions, self._ours, certificates, None)

    def _all(self) -> list[str]:
        return [self._questions.own_id, *self._cluster.others]

    def _ours(self) -> list[str]:
        others = [key for key, node in self._cluster.others.items() if node.group == self._group]
        return [self._questions.own_id, *others]

    async def _check(self, request: Any) -> None:
        principal = await self._auth.principal(request)
        principal.require("viewer")

    # -- on --metrics' address ------------------------------------------------------------------------------

    def serve_there(self, edge: Edge, back: IProtocolFactory) -> None:
        """Serve connections that C{edge} hands over. @param back: serves them after an answer."""
        root = Resource()
        root.isLeaf = True
        root.render = self._here.render  # type: ignore[method-assign]
        self._web = AdminWeb(self._clock, root, back, edge, "http", lambda: edge.draining)

    def answer_there(self, head: RequestHead) -> IProtocolFactory | pages.Page:
        """What answers a request on that port."""
        assert self._web is not None
        path = head.target.partition(b"?")[0].decode("latin-1")
        if self._loopback and head.host != "localhost" and not is_loopback(head.host):
            return pages.Page(403, "foreign-host", "This is not for another host", _FOREIGN)
        if path in _PATHS:
            return self._web.factory(head)
        found = self._state(path)
        if found is not None:
            return found
        text = f"The metrics are at {METRICS_PATH}."
        return pages.Page(404, "not-found", "There is nothing here", text)

    def stop(self) -> None:
        """End the answers that are under way, and log what waits for it."""
        if self._web is not None:
            self._web.stop()
        if self._log is not None:
            self._log.flush()
