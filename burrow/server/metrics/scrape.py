"""The resource that Prometheus scrapes: asks all processes, or those of this machine's server alone."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from burrow.errors import StoreError
from burrow.server.admin.problems import MEDIA_TYPE, Problem
from burrow.server.metrics.exposition import exposition, readable
from burrow.server.nodes.asking import Questions, Unanswered

Check = Callable[[Any], Awaitable[None]]
"""Raises L{Problem} if a request may not see the metrics."""


class Scrape(Resource):
    """
    @param nodes: returns the ids of the processes to ask. @param certificates: returns the admin API's items.
    @param check: see L{Check}; None where everybody who can connect may.
    """

    isLeaf = True
    log = Logger()

    def __init__(
        self,
        questions: Questions,
        nodes: Callable[[], list[str]],
        certificates: Callable[[], Awaitable[list[dict[str, Any]]]],
        check: Check | None,
    ) -> None:
        super().__init__()
        self._questions = questions
        self._nodes = nodes
        self._certificates = certificates
        self._check = check

    def render_GET(self, request: Any) -> int:
        """See L{Resource}; HEAD comes here, too."""
        Deferred.fromCoroutine(self._answer(request)).addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        if self._check is not None:
            await self._check(request)
        nodes = self._nodes()
        asking = [Deferred.fromCoroutine(self._ask(node)) for node in nodes]
        answers = dict(zip(nodes, await gatherResults(asking), strict=True))
        told = {node: answer for node, answer in answers.items() if answer is not None}
        try:
            certificates = await self._certificates()
        except StoreError:  # told by burrow_store_errors
            certificates = []
        accept = request.getHeader("accept") or ""
        kind, text = exposition(told, [node for node in nodes if node not in told], certificates, accept)
        request.setHeader("Content-Type", kind)
        self._write(request, 200, text)

    async def _ask(self, node: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = await self._questions.ask(node, "metrics", readable)
        except Unanswered:
            return None
        return found

    def _failed(self, reason: Failure, request: Any) -> None:
        problem: Any = reason.value
        if not isinstance(problem, Problem):
            self.log.failure("the metrics cannot be told", reason)
            problem = Problem(500, "The server cannot tell its metrics: its log says why.")
        request.setHeader("Content-Type", MEDIA_TYPE)
        for name, value in problem.headers.items():
            request.setHeader(name, value)
        self._write(request, problem.status, json.dumps(problem.body).encode() + b"\n")

    @staticmethod
    def _write(request: Any, status: int, body: bytes) -> None:
        if request.gone:
            return
        request.setResponseCode(status)
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.setHeader("Content-Length", str(len(body)))
        if request.method != b"HEAD":
            request.write(body)
        request.finish()
