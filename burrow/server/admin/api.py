"""
The admin API as a resource of twisted.web: finds the operation of a request, checks who asks and what, and
writes the answer.

An operation is a coroutine function that takes a L{Call} and returns what is to be sent as JSON; None for an
answer without a body; a L{Raw} for other bytes; or an L{ILive} that writes the answer itself, as long as it
wants. It may raise L{Problem}.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import attr
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from burrow.clock import HOUR
from burrow.errors import StoreError
from burrow.server.admin import API_PATH, problems
from burrow.server.admin.checking import LONGEST, check_body, check_query
from burrow.server.admin.paths import EVENTS, JSON, OPERATIONS, Operation
from burrow.server.admin.principal import Authenticator, Principal
from burrow.server.admin.problems import Problem, not_found, store_away
from burrow.server.admin.schemas import SCHEMAS
from burrow.server.admin.web import MAX_BODY, AdminRequest
from burrow.server.audit import Audit
from burrow.shown import escaped

AGENTS_KEPT = 50
"""Entries of the audit log that the token of an agent may make within an hour; the server's log has all."""

MOST_COUNTED = 10_000
"""Tokens whose entries are counted: of more, the counts begin anew."""

BODIES = (JSON, "application/merge-patch+json")
"""Media types of a request's body."""


@attr.frozen
class Call:
    """
    A request that may be answered.

    @ivar principal: who asks; None for what needs no token. @ivar path: the parameters of its path.
    @ivar query: those of its query, with defaults. @ivar body: what it sent; empty for nothing.
    @ivar media: what to answer, of the operation's media types.
    @ivar notes: what the audit log is to say: C{target} and C{result}, if not the usual.
    """

    request: AdminRequest
    operation: Operation
    principal: Principal | None
    path: dict[str, str]
    query: dict[str, Any]
    body: dict[str, Any]
    media: str
    notes: dict[str, str] = attr.field(factory=dict)

    @property
    def who(self) -> Principal:
        """Who asks, of an operation that needs a token."""
        assert self.principal is not None
        return self.principal


class ILive(Protocol):
    """An answer that goes on."""

    def start(self, request: AdminRequest) -> None:
        """Write the answer, whose head is set, to its end."""


@attr.frozen
class Raw:
    """An answer that is bytes already, and public, so that it may be kept."""

    data: bytes
    media: str
    headers: Mapping[str, str] = attr.field(factory=dict)


Handler = Callable[[Call], Awaitable[Any]]


class Api(Resource):
    """
    @param handlers: by the operations' names; all of L{OPERATIONS} have one.
    @param auth: tells who asks. @param audit: keeps what was changed.
    """

    isLeaf = True
    log = Logger()

    def __init__(self, auth: Authenticator, audit: Audit, handlers: Mapping[str, Handler]) -> None:
        super().__init__()
        self._auth = auth
        self._audit = audit
        self._handlers = handlers
        self._kept_of: dict[str, tuple[float, int]] = {}
        self._by_path: dict[str, dict[str, Operation]] = {}
        for operation in OPERATIONS:
            self._by_path.setdefault(operation.path, {})[operation.method] = operation

    def render(self, request: AdminRequest) -> int:
        """See L{Resource}."""
        request.responseHeaders.removeHeader(b"Server")
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.setHeader("Cache-Control", "no-store")
        answering = Deferred.fromCoroutine(self._answer(request))
        # Not cancelled when the asker leaves: a change that has begun is made, and kept in the audit log.
        answering.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: AdminRequest) -> None:
        try:
            found = await self._call(request)
        except Problem as problem:
            self._problem(request, problem)
        except StoreError as error:
            self.log.warn("the admin API cannot answer, since the store cannot: {error}", error=error)
            self._problem(request, store_away())
        else:
            if found is not None and not request.gone:
                self._send(request, *found)

    def _failed(self, reason: Any, request: AdminRequest) -> None:
        self.log.failure("an operation of the admin API failed", reason)
        self._problem(request, Problem(500, "The server failed at this: its log says how."))

    # -- what is asked ------------------------------------------------------------------------------------

    async def _call(self, request: AdminRequest) -> tuple[Operation, Any] | None:
        """
        Answer a request. @return: what to send, and of which operation; None if it is sent.

        @raise Problem: instead of an answer.
        """
        if request.too_large:
            raise Problem(413, f"The body has more than {MAX_BODY} bytes.")
        operations, path = self._find(request)
        method = request.method.decode("latin-1")
        if method == "OPTIONS":
            self._allow(request, operations)
            request.setResponseCode(204)
            request.finish()
            return None
        operation = operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            self._allow(request, operations)
            allowed = ", ".join(_methods(operations))
            raise Problem(405, f"{method[:20]} is not possible here: {allowed} are.")
        principal = None
        if operation.role:
            principal = await self._auth.principal(request)
            principal.require(operation.role)
            if operation.method != "GET" and principal.role == "viewer":
                raise problems.needs_role("admin", "viewer")
        call = Call(
            request,
            operation,
            principal,
            path,
            check_query(operation.query, _query(request)),
            self._body(request, operation),
            _media(request, operation),
        )
        handler = self._handlers[operation.name]
        if operation.method == "GET":
            return operation, await handler(call)
        try:
            answer = await handler(call)
        except Problem as problem:
            if problem.status not in (404, 422):
                await self._keep(call, f"failed: {problem.detail}")
            raise
        await self._keep(call, call.notes.get("result", "ok"))
        return operation, answer

    async def _keep(self, call: Call, result: str) -> None:
        """Keep a change in the audit log, and in the server's."""
        verb, _, what = call.operation.name.partition("_")
        target = call.notes.get("target") or next(iter(call.path.values()), "")
        entry = (call.who.name, f"{what}.{verb}", target, call.request.address, result)
        self.log.info("{who} at {address}: {action} {target}: {result}", **_fields(entry))
        if not call.who.sees_all and not self._may_keep(call.who.id):
            return
        try:
            await self._audit.add(*entry)
        except StoreError as error:
            self.log.error("the audit log cannot be written: {error}", error=error)

    def _may_keep(self, token: str) -> bool:
        """
        Whether the audit log has room for one more entry of an agent: it keeps so many entries and no more,
        and none may push those of the others out.
        """
        now = time.time()
        began, count = self._kept_of.get(token, (now, 0))
        if now - began >= HOUR or now < began:
            began, count = now, 0
        if len(self._kept_of) >= MOST_COUNTED:
            self._kept_of.clear()
        self._kept_of[token] = began, count + 1
        if count == AGENTS_KEPT:
            self.log.warn("the audit log takes no more of token {token} for an hour", token=token)
        return count < AGENTS_KEPT

    def _find(self, request: AdminRequest) -> tuple[dict[str, Operation], dict[str, str]]:
        """The operations of a request's path, by method, and the path's parameters."""
        raw = request.uri.partition(b"?")[0].decode("latin-1").removeprefix(API_PATH).strip("/")
        asked = [unquote(part) for part in raw.split("/")]
        if any(len(part) > LONGEST for part in asked):
            raise Problem(404, "No name here is that long.")
        for operations in self._by_path.values():
            parts = next(iter(operations.values())).parts
            if len(parts) != len(asked):
                continue
            path = {}
            for part, given in zip(parts, asked, strict=True):
                if part.startswith("{") and given:
                    path[part[1:-1]] = given
                elif part != given:
                    break
            else:
                return operations, path
        raise Problem(404, f"The API has no such path: `GET {API_PATH}/docs` shows those that it has.")

    @staticmethod
    def _allow(request: AdminRequest, operations: Mapping[str, Operation]) -> None:
        request.setHeader("Allow", ", ".join(_methods(operations)))

    @staticmethod
    def _body(request: AdminRequest, operation: Operation) -> dict[str, Any]:
        if not operation.body:
            return {}
        media = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if media not in BODIES:
            request.setHeader("Accept-Post" if operation.method == "POST" else "Accept-Patch", JSON)
            raise Problem(415, f"Send the body as JSON, with `Content-Type: {JSON}`.")
        assert request.content is not None
        return check_body(SCHEMAS[operation.body], request.content.read())

    # -- what is answered ---------------------------------------------------------------------------------

    def _send(self, request: AdminRequest, operation: Operation, answer: Any) -> None:
        request.setResponseCode(operation.status)
        if isinstance(answer, Raw):
            self._send_raw(request, answer)
        elif operation.status == 204:
            request.finish()
        elif hasattr(answer, "start"):
            request.setHeader("Content-Type", f"{EVENTS}; charset=utf-8")
            answer.start(request)
        else:
            _write(request, JSON, answer)

    @staticmethod
    def _send_raw(request: AdminRequest, answer: Raw) -> None:
        request.setHeader("Content-Type", answer.media)
        request.setHeader("Cache-Control", "no-cache")
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        etag = f'"{hashlib.sha256(answer.data).hexdigest()[:32]}"'.encode()
        if not request.setETag(etag):
            request.setHeader("Content-Length", str(len(answer.data)))
            request.write(answer.data)
        request.finish()

    @staticmethod
    def _problem(request: AdminRequest, problem: Problem) -> None:
        if request.finished or request.startedWriting or request.gone:
            return
        request.setResponseCode(problem.status, problem.title.encode())
        for name, value in problem.headers.items():
            request.setHeader(name, value)
        _write(request, problems.MEDIA_TYPE, problem.body)


def _fields(entry: tuple[str, str, str, str, str]) -> dict[str, str]:
    return dict(zip(("who", "action", "target", "address", "result"), map(escaped, entry), strict=True))


def _write(request: AdminRequest, media: str, body: Any) -> None:
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    request.setHeader("Content-Type", media)
    request.setHeader("Content-Length", str(len(data)))
    request.write(data)
    request.finish()


def _methods(operations: Mapping[str, Operation]) -> list[str]:
    """The methods that a path has."""
    return [*operations, *(["HEAD"] if "GET" in operations else []), "OPTIONS"]


def _query(request: AdminRequest) -> dict[str, list[str]]:
    """The parameters of the query: of the target alone, whatever the body is."""
    return parse_qs(request.uri.partition(b"?")[2].decode("latin-1"), keep_blank_values=True)


def _media(request: AdminRequest, operation: Operation) -> str:
    """
    The media type to answer. @raise Problem: none that is accepted (406).

    Of those that are accepted the one that the request likes best, by its weights (RFC 9110 section 12.5.1).
    """
    if operation.status == 204:
        return ""
    accepted: list[tuple[float, str]] = []
    for part in (request.getHeader("accept") or "*/*").lower().split(","):
        media, _, rest = part.partition(";")
        weight = next((item.strip()[2:] for item in rest.split(";") if item.strip().startswith("q=")), "1")
        try:
            accepted.append((float(weight), media.strip()))
        except ValueError:
            continue
    for liked, media in sorted(accepted, key=lambda one: -one[0]):
        for ours in operation.media:
            if liked > 0 and media in ("*/*", ours, ours.partition("/")[0] + "/*"):
                return ours
    raise Problem(406, f"This can be answered as {' or '.join(operation.media)} alone.")


def only(found: Any, what: str, path: str) -> Any:
    """C{found}. @raise Problem: it is None: there is no such C{what}, which C{path} lists (404)."""
    if found is None:
        raise not_found(what, API_PATH + path)
    return found
