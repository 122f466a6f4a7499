"""HTTP under the inspector: twisted.web with bounds, and what all answers have in common."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, Protocol
from urllib.parse import parse_qs

from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from burrow.client.inspect.guard import FOREIGN_HOST, FOREIGN_PAGE, is_foreign, is_own_host
from burrow.client.inspect.problem import Problem

MAX_CONNECTIONS = 100
"""Connections at the same time, at most."""

MAX_HEADERS, MAX_FIELDS = 32 * 1024, 100
"""Bytes and number of a request's header fields, at most."""

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a request's body, at most."""

IDLE = 60
"""Seconds that a connection may be idle, or a request take to come."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of all answers but captured bodies."""

_COMMON = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Handler(Protocol):
    """What answers requests that are let in."""

    loopback: bool

    def handle(self, request: InspectorRequest) -> None:
        """Answer, now or later. @raise Problem: the answer is an error."""

    def is_page(self, path: str) -> bool:
        """Whether a path is that of a page, to which other sites may link."""


class InspectorRequest(Request):
    """A request to the inspector. @ivar too_large: whether its body was more than L{MAX_BODY}."""

    log = Logger()
    channel: Any
    defaultContentType = None
    too_large = False
    _length = 0

    def gotLength(self, length: int | None) -> None:
        """See L{Request}: the body stays in memory."""
        self.content = BytesIO()

    def parseCookies(self) -> None:
        """See L{Request}: there are none."""

    def handleContentChunk(self, data: bytes) -> None:
        """See L{Request}. Of a body that is too large nothing is kept."""
        self._length += len(data)
        if self._length > MAX_BODY:
            self.content = BytesIO()
            if not self.too_large:
                self.too_large = True
                self.channel.persistent = False
            if self._length > 2 * MAX_BODY:
                self.channel.loseConnection()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """See L{Request}, which would parse forms and uploads: there are none here."""
        self.method = command
        self.uri = path
        self.clientproto = version
        self.path, _, query = path.partition(b"?")
        self.query = (
            parse_qs(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", max_num_fields=100)
            if query.count(b"&") < 100
            else {}
        )
        if self.content is not None:
            self.content.seek(0)
        self.process()

    def process(self) -> None:
        """Refuse the request, or let the handler answer it."""
        for name, value in _COMMON.items():
            self.setHeader(name, value)
        try:
            self._admit()
            self.channel.factory.handler.handle(self)
        except Problem as problem:
            self.answer_problem(problem)
        except Exception:
            self.log.failure("the inspector failed to answer {path}", path=self.text_path)
            self.answer_problem(Problem(500, "The inspector failed: the agent's log says why."))

    def _admit(self) -> None:
        """@raise Problem: it is not let in."""
        handler = self.channel.factory.handler
        hosts = self.requestHeaders.getRawHeaders("host") or []
        if len(hosts) != 1 or not is_own_host(hosts[0], loopback=handler.loopback):
            raise Problem(403, FOREIGN_HOST)
        linked = (
            self.method in (b"GET", b"HEAD")
            and handler.is_page(self.text_path)
            and self.getHeader("sec-fetch-mode") == "navigate"
            and self.getHeader("sec-fetch-dest") == "document"
        )
        site = None if linked else self.getHeader("sec-fetch-site")
        if is_foreign(hosts[0], self.getHeader("origin"), site):
            raise Problem(403, FOREIGN_PAGE)
        if self.too_large:
            raise Problem(413, f"The body is larger than {MAX_BODY // 2**20} MiB.")

    @property
    def text_path(self) -> str:
        """The path, as it was sent."""
        path: bytes = self.path
        return path.decode("latin-1")

    @property
    def local(self) -> bool:
        """Whether it comes from this machine."""
        host = getattr(self.client, "host", "")
        return host == "::1" or host.startswith(("127.", "::ffff:127."))

    def parameter(self, name: str, default: str = "") -> str:
        """A parameter of the query: the last of its name."""
        values: list[str] = self.query.get(name) or [default]
        return values[-1]

    def number(self, name: str, default: int, most: int) -> int:
        """A parameter that is a whole number. @raise Problem: it is none."""
        text = self.parameter(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise Problem(400, f"{name} is not possible: write a whole number.")
        return min(int(text), most)

    def json_body(self) -> dict[str, Any]:
        """The body's object; an empty one if there is no body. @raise Problem: it is no object in JSON."""
        raw = self.content.read() if self.content is not None else b""
        if not raw:
            return {}
        kind = (self.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "Send JSON, with Content-Type: application/json.")
        try:
            parsed = json.loads(raw)
        except (ValueError, RecursionError):
            raise Problem(400, "The body is no JSON.") from None
        if not isinstance(parsed, dict):
            raise Problem(400, "The body is no JSON object: write {} for a replay as it was.")
        return parsed

    def answer(self, data: bytes, content_type: str, status: int = 200) -> None:
        """Write the whole answer."""
        self.setResponseCode(status)
        self.setHeader("Content-Type", content_type)
        self.setHeader("Content-Length", str(len(data)))
        if self.method != b"HEAD":
            self.write(data)
        self.finish()

    def answer_json(self, value: Any, status: int = 200, content_type: str = "application/json") -> None:
        """Write an answer in JSON."""
        self.answer(json.dumps(value).encode() + b"\n", content_type, status)

    def answer_problem(self, problem: Problem) -> None:
        """Write an error."""
        if not self.startedWriting:
            self.answer_json(problem.body, problem.status, "application/problem+json")


class InspectorChannel(HTTPChannel):
    """One connection."""

    totalHeadersSize = MAX_HEADERS
    maxHeaders = MAX_FIELDS
    requestFactory: Any = InspectorRequest
    timeOut = IDLE
    factory: Any

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{HTTPChannel}."""
        self.factory.open.discard(self)
        super().connectionLost(reason)


class InspectorFactory(ServerFactory):
    """
    @param handler: answers what is let in.
    @ivar open: the connections.
    """

    noisy = False

    def __init__(self, reactor: Any, handler: Handler) -> None:
        self.handler = handler
        self.open: set[InspectorChannel] = set()
        self._reactor = reactor

    def buildProtocol(self, addr: Any) -> InspectorChannel | None:
        """One more connection; None, which closes it, if there are too many."""
        if len(self.open) >= MAX_CONNECTIONS:
            return None
        channel = InspectorChannel()
        channel.factory = self
        channel.callLater = self._reactor.callLater  # type: ignore[method-assign]
        self.open.add(channel)
        return channel

    def log(self, request: Any) -> None:
        """Called by L{Request}: nothing is logged."""

    def close(self) -> None:
        """Close all connections."""
        for channel in list(self.open):
            channel.loseConnection()
