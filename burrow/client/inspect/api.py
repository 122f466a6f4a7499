"""What the inspector answers: its page, and its API for programs. docs/inspector.md describes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred

from burrow import __version__
from burrow.client.inspect.captured import Captured
from burrow.client.inspect.curl import curl
from burrow.client.inspect.decoding import decode, field
from burrow.client.inspect.describe import SHOWN_BODY, detail, messages, summary
from burrow.client.inspect.events import MAX_FOLLOWERS, Followers
from burrow.client.inspect.har import archive
from burrow.client.inspect.pieces import Pieces
from burrow.client.inspect.problem import Problem
from burrow.client.inspect.replay import Replayer
from burrow.client.inspect.store import Store
from burrow.client.inspect.web import InspectorRequest
from burrow.clock import cancel
from burrow.traffic.filter import Filter

LISTED, MOST_LISTED = 100, 1000
"""Records in a list, by default and at most."""

WAIT, MAX_WAIT = 10.0, 60.0
"""Seconds that the answer to a replay waits for the replay's end, by default and at most."""

_STATIC = {
    "app.js": "text/javascript; charset=utf-8",
    "bodies.js": "text/javascript; charset=utf-8",
    "compare.js": "text/javascript; charset=utf-8",
    "detail.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "edit.js": "text/javascript; charset=utf-8",
    "list.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "inspector.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}(?:\s*;[\x20-\x7e]{1,200})?"
)
_RECORD = re.compile(r"/api/requests/(\d{1,20})(?:/([a-z/]+))?")
_PAGE = re.compile(r"/|/requests/\d{1,20}|/compare/\d{1,20}/\d{1,20}")
_JAIL = "default-src 'none'; sandbox"
"""The policy of captured bodies: whatever they are, they run no script, and are of no origin."""


class Api:
    """
    Answers requests.

    @param about: returns what there is to say about the agent: its tunnels and so on.
    @param loopback: whether the inspector listens on the loopback only.
    """

    def __init__(
        self,
        reactor: Any,
        store: Store,
        replayer: Replayer,
        about: Callable[[], dict[str, Any]],
        *,
        loopback: bool,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._replayer = replayer
        self._about = about
        self.loopback = loopback
        self.followers = Followers(reactor, store)

    def is_page(self, path: str) -> bool:
        """Whether a path is that of a page, which holds no data itself."""
        return _PAGE.fullmatch(path) is not None

    def handle(self, request: InspectorRequest) -> None:
        """Answer, now or later. @raise Problem: the answer is an error."""
        path = request.text_path
        if self.is_page(path):
            self._only(request, "GET")
            self._file(request, "index.html", "text/html; charset=utf-8")
        elif path.startswith("/static/") and path[8:] in _STATIC:
            self._only(request, "GET")
            self._file(request, path[8:], _STATIC[path[8:]])
        elif path == "/api/requests":
            self._only(request, "GET", "DELETE")
            if request.method == b"DELETE":
                self._store.clear()
                request.setResponseCode(204)
                request.finish()
            else:
                self._list(request)
        elif path == "/api/requests.har":
            self._only(request, "GET")
            self._har(request, self._found(request, MOST_LISTED, MOST_LISTED)[0], "burrow.har")
        elif path == "/api/events":
            self._only(request, "GET")
            self._follow(request)
        elif path == "/api/status":
            self._only(request, "GET")
            request.answer_json(self._status())
        else:
            found = _RECORD.fullmatch(path)
            if found is None:
                raise Problem(
                    404, "There is nothing at this path: docs/inspector.md has those that there are."
                )
            self._one(request, self._record(found[1]), found[2] or "")

    @staticmethod
    def _only(request: InspectorRequest, *methods: str) -> None:
        """@raise Problem: the request has another method."""
        if request.method.decode("latin-1").replace("HEAD", "GET") not in methods:
            request.setHeader("Allow", ", ".join(methods))
            raise Problem(405, f"This path takes {' and '.join(methods)} only.")

    def _record(self, id: str) -> Captured:
        captured = self._store.get(id)
        if captured is None:
            raise Problem(
                404, f"There is no request {id} here: it was never, or there was no room to keep it."
            )
        return captured

    @staticmethod
    def _file(request: InspectorRequest, name: str, content_type: str) -> None:
        data = files("burrow.client.inspect").joinpath("static", name).read_bytes()
        request.setHeader("Cache-Control", "no-cache")
        request.answer(data, content_type)

    # -- all ------------------------------------------------------------------------------------------------

    def _found(self, request: InspectorRequest, default: int, most: int) -> tuple[list[Captured], bool]:
        """The records that the query asks for, newest first, and whether there are more."""
        try:
            wanted = Filter(request.parameter("filter"))
        except ValueError as error:
            raise Problem(400, f"The filter is not possible: {error}.") from error
        limit = max(1, request.number("limit", default, most))
        before = request.number("before", 0, 10**16)
        found: list[Captured] = []
        for captured in self._store.newest_first():
            if before and int(captured.record.id) >= before:
                continue
            if wanted.matches(captured.record):
                if len(found) == limit:
                    return found, True
                found.append(captured)
        return found, False

    def _list(self, request: InspectorRequest) -> None:
        found, more = self._found(request, LISTED, MOST_LISTED)
        if more:
            query = {"before": found[-1].record.id, "limit": len(found)}
            if request.parameter("filter"):
                query["filter"] = request.parameter("filter")
            request.setHeader("Link", f'</api/requests?{urlencode(query)}>; rel="next"')
        request.setHeader("Burrow-Last-Event", str(self._store.last_event))
        request.answer_json([summary(each) for each in found])

    def _har(self, request: InspectorRequest, found: list[Captured], name: str) -> None:
        request.setHeader("Content-Disposition", f'attachment; filename="{name}"')
        request.setHeader("Content-Type", "application/json")
        if request.method == b"HEAD":
            request.finish()
        else:
            Pieces(self._reactor, request, archive(reversed(found), secrets=_wants_secrets(request))).start()

    def _follow(self, request: InspectorRequest) -> None:
        if len(self.followers) >= MAX_FOLLOWERS:
            raise Problem(
                429, f"{MAX_FOLLOWERS} follow already: close a page of the inspector, and try again."
            )
        last = request.getHeader("last-event-id") or request.parameter("last_event_id")
        known = int(last) if last.isascii() and last.isdigit() and len(last) < 16 else None
        request.setHeader("Content-Type", "text/event-stream")
        if request.method == b"HEAD":
            request.finish()
        else:
            self.followers.add(request, known)

    def _status(self) -> dict[str, Any]:
        store = self._store
        return {
            "version": __version__,
            **self._about(),
            "requests": len(store),
            "dropped": store.dropped,
            "memory": store.cost,
            "max_memory": store.max_memory,
            "max_body": store.max_body,
            "last_event": store.last_event,
        }

    # -- one ------------------------------------------------------------------------------------------------

    def _one(self, request: InspectorRequest, captured: Captured, what: str) -> None:
        id = captured.record.id
        if what == "replay":
            self._only(request, "POST")
            self._replay(request, captured)
            return
        self._only(request, "GET")
        secrets = _wants_secrets(request)
        if what == "":
            most = request.number("body", SHOWN_BODY, 64 * 2**20)
            request.answer_json(detail(captured, secrets=secrets, most=most))
        elif what == "curl":
            if not captured.record.is_request:
                raise Problem(409, "This is no HTTP request.")
            command = curl(captured, secrets=secrets)
            request.answer(command.encode() + b"\n", "text/plain; charset=utf-8")
        elif what == "har":
            self._har(request, [captured], f"burrow-{id}.har")
        elif what == "messages":
            request.answer_json(messages(captured, request.number("after", -1, 10**16)))
        elif what in ("body/request", "body/response"):
            self._raw(request, captured, outbound=what == "body/response")
        else:
            raise Problem(404, "A request has curl, har, messages, replay, body/request and body/response.")

    @staticmethod
    def _raw(request: InspectorRequest, captured: Captured, *, outbound: bool) -> None:
        """A body alone, decoded unless it is asked for as it passed."""
        record, body = captured.record, captured.body(outbound)
        fields = record.response_headers if outbound else record.request_headers
        data, cut = bytes(body.data), body.truncated
        if not request.parameter("encoded"):
            decoded = decode(data, fields)
            data, cut = decoded.data, cut or decoded.truncated
        kind = field(fields, b"content-type")
        name = f"{'response' if outbound else 'request'}-{record.id}"
        request.setHeader("Content-Security-Policy", _JAIL)
        request.setHeader("Content-Disposition", f'attachment; filename="{name}"')
        request.setHeader("Burrow-Truncated", "1" if cut else "0")
        request.answer(data, kind if _MEDIA_TYPE.fullmatch(kind) else "application/octet-stream")

    def _replay(self, request: InspectorRequest, captured: Captured) -> None:
        changes = request.json_body()
        wait = changes.get("wait", WAIT)
        if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 <= wait <= MAX_WAIT:
            raise Problem(400, f"wait is not possible: write seconds, 0 to {MAX_WAIT:.0f}.")
        elsewhere = self.loopback or request.local
        record, done = self._replayer.replay(captured, changes, elsewhere=elsewhere)
        waiting: Deferred[None] = Deferred()

        def over(_: Any = None) -> None:
            if not waiting.called:
                cancel(timer)
                waiting.callback(None)

        timer = self._reactor.callLater(wait, over)
        waiting.addCallback(lambda _: self._replayed(request, record.id))
        request.notifyFinish().addBoth(over)
        done.addCallback(over)

    def _replayed(self, request: InspectorRequest, id: str) -> None:
        """Answer with the replay's record, unless the client has left."""
        if request.finished or request._disconnected:
            return
        captured = self._store.get(id)
        shown = {"id": id} if captured is None else detail(captured, secrets=_wants_secrets(request))
        request.setHeader("Location", f"/api/requests/{id}")
        request.answer_json(shown, 201)


def _wants_secrets(request: InspectorRequest) -> bool:
    """Whether the query asks for secrets in headers."""
    return request.parameter("secrets") in ("1", "true")
