"""
The dashboard as a resource of twisted.web: its files, and the path where people sign in and out.

Everything else that the page shows and changes it asks of the admin API, with its cookie: what a role may not
do is refused there, whatever the page shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from burrow import __version__
from burrow.server.admin.checking import check_body
from burrow.server.admin.dashboard.files import FOLDER, File, read_files
from burrow.server.admin.dashboard.signins import (
    SignIn,
    SignIns,
    check_csrf,
    refuse_foreign,
    secret_of,
    set_cookie,
)
from burrow.server.admin.principal import Authenticator
from burrow.server.admin.problems import MEDIA_TYPE, Problem
from burrow.server.admin.schemas import TEXT, Schema
from burrow.server.admin.web import MAX_BODY, AdminRequest
from burrow.store.base import IStore
from burrow.wording import iso

SESSION = FOLDER + "session"
"""GET: who is signed in. POST: sign in, by C{{"token": TOKEN}}. DELETE: sign out."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What every answer has. No script and no style can be in the page itself, and no text becomes HTML."""

_SIGN_IN: Schema = {
    "type": "object",
    "properties": {"token": TEXT},
    "required": ["token"],
    "additionalProperties": False,
}


class Dashboard(Resource):
    """
    @param auth: tells who asks; it takes the dashboard's cookie from now on. @param domain: the base domain.
    @param signed_out: called with the id of a token of which a sign-in has ended.
    """

    isLeaf = True
    log = Logger()

    def __init__(
        self,
        store: IStore,
        auth: Authenticator,
        domain: str,
        signed_out: Callable[[str], None] = lambda token: None,
    ) -> None:
        super().__init__()
        self._signed_out = signed_out
        self._auth = auth
        self._domain = domain
        self._files = read_files()
        self.signins = SignIns(store, auth)
        auth.cookies = self.signins.principal
        auth.signed_in = self.signins.lasts

    def claims(self, path: str) -> bool:
        """Whether a path is the dashboard's."""
        return path == "/" or path.startswith(FOLDER)

    def render(self, request: AdminRequest) -> int:
        """See L{Resource}."""
        request.responseHeaders.removeHeader(b"Server")
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(self._failed, request)
        # Whoever leaves before the answer has no need of it.
        request.notifyFinish().addErrback(lambda reason: answering.cancel())
        return NOT_DONE_YET

    async def _answer(self, request: AdminRequest) -> None:
        path, method = request.path.decode("latin-1"), request.method.decode("latin-1")
        try:
            if path == SESSION:
                _send(request, 200, await self._session(request, method))
            elif path not in self._files:
                raise Problem(404, "The dashboard has no such page: it begins at /.")
            elif method not in ("GET", "HEAD"):
                raise _not_possible(request, method, "GET, HEAD")
            else:
                _send_file(request, self._files[path])
        except Problem as problem:
            _send_problem(request, problem)

    def _failed(self, reason: Any, request: AdminRequest) -> None:
        if reason.check(CancelledError):
            return
        self.log.failure("the dashboard cannot answer", reason)
        _send_problem(request, Problem(500, "The server failed at this: its log says how."))

    # -- signing in and out --------------------------------------------------------------------------------

    async def _session(self, request: AdminRequest, method: str) -> dict[str, Any]:
        if request.too_large:
            raise Problem(413, f"The body has more than {MAX_BODY} bytes.")
        if method not in ("GET", "HEAD", "POST", "DELETE"):
            raise _not_possible(request, method, "GET, HEAD, POST, DELETE")
        refuse_foreign(request)
        if method == "POST":
            return await self._sign_in(request)
        found = await self.signins.of(request)
        if found is None:
            if secret_of(request):
                set_cookie(request, "")
            return {"session": None}
        if method == "DELETE":
            check_csrf(request, found)
            await self.signins.end(request)
            self._signed_out(found.who.id)
            set_cookie(request, "")
            self.log.info("{who} signed out of the dashboard at {at}", who=found.who.name, at=request.address)
            return {"session": None}
        return self._told(found)

    async def _sign_in(self, request: AdminRequest) -> dict[str, Any]:
        media = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Problem(415, "Send the body as JSON, with `Content-Type: application/json`.")
        assert request.content is not None
        text: str = check_body(_SIGN_IN, request.content.read())["token"].strip()
        who = await self._auth.check(text, request.address)
        if secret_of(request):
            await self.signins.end(request)
        secret, found = await self.signins.begin(who)
        set_cookie(request, secret)
        self.log.info("{who} signed in to the dashboard at {at}", who=who.name, at=request.address)
        return self._told(found)

    def _told(self, found: SignIn) -> dict[str, Any]:
        return {
            "session": {
                "id": found.who.id,
                "name": found.who.name,
                "role": found.who.role,
                "until": iso(found.until),
                "csrf": found.csrf,
                "version": __version__,
                "domain": self._domain,
            }
        }


def _not_possible(request: AdminRequest, method: str, allowed: str) -> Problem:
    return Problem(405, f"{method[:20]} is not possible here: {allowed} are.", {"Allow": allowed})


def _send_file(request: AdminRequest, file: File) -> None:
    request.setHeader("Content-Type", file.media)
    request.setHeader("Cache-Control", "no-cache")
    request.setHeader("Vary", "Accept-Encoding")
    if not request.setETag(file.etag.encode()):
        data = file.data
        if "gzip" in (request.getHeader("accept-encoding") or "").lower():
            request.setHeader("Content-Encoding", "gzip")
            data = file.packed
        request.setHeader("Content-Length", str(len(data)))
        request.write(data)
    request.finish()


def _send(request: AdminRequest, status: int, body: Any, media: str = "application/json") -> None:
    data = json.dumps(body).encode() + b"\n"
    request.setResponseCode(status)
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("Content-Type", media)
    request.setHeader("Content-Length", str(len(data)))
    request.write(data)
    request.finish()


def _send_problem(request: AdminRequest, problem: Problem) -> None:
    if request.finished or request.startedWriting or request.channel is None:
        return
    for name, value in problem.headers.items():
        request.setHeader(name, value)
    _send(request, problem.status, problem.body, MEDIA_TYPE)
