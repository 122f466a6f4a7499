"""
Asks a server's admin API (docs/admin-api.md) with a token, over the way that an agent takes: the same proxy,
the same certificate authorities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlencode, urlsplit

from OpenSSL import SSL
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from burrow import __version__
from burrow.client.answers import Reading, whole
from burrow.client.asked import API, Listing
from burrow.client.backoff import Backoff
from burrow.errors import BurrowError, ConfigError, Refused, ServerUnreachable
from burrow.link.address import Credentials
from burrow.link.endpoint import server_endpoint
from burrow.link.reasons import explain

TIMEOUT = 30.0
"""Seconds that an answer may take."""

MOST_ITEMS = 100_000
"""Items of a list that are asked for, at most."""

_PAGE = 1000


@implementer(IAgentEndpointFactory)
class _Way:
    """All requests of an agent go to one endpoint."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """See L{IAgentEndpointFactory}."""
        return self._endpoint


class Api:
    """
    One server's admin API.

    @param agent: an L{IAgent<twisted.web.iweb.IAgent>}, for tests; None: one that connects.
    @raise ConfigError: the proxy or the file of CAs is not usable.
    """

    log = Logger()

    def __init__(self, reactor: Any, credentials: Credentials, agent: Any = None) -> None:
        self.address = credentials.address
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._headers = {
            "Authorization": [f"Bearer {credentials.token}"],
            "User-Agent": [f"burrow/{__version__}"],
        }
        if agent is None:
            way = _Way(server_endpoint(reactor, credentials))
            agent = Agent.usingEndpointFactory(reactor, way, self._pool)
        self._agent = agent

    async def close(self) -> None:
        """Close the idle connections."""
        await self._pool.closeCachedConnections()

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float = TIMEOUT,
    ) -> Any:
        """
        Ask for JSON.

        @param path: behind L{API}, as L{path_of} makes it. @param timeout: in seconds.
        @return: the answer; None if it has none.
        @raise Refused: the server refuses it. @raise ConfigError: a value is not possible.
        @raise ServerUnreachable: no answer came, or none that can be understood; trying again may help.
        """

        async def exchange() -> Any:
            response = await self._request(method, path, query, body)
            data = await whole(response)
            if response.code >= 300:
                raise _problem(self.address, response, data)
            return _parsed(self.address, data) if data else None

        return await self._explained(exchange(), timeout)

    async def _explained(self, work: Any, timeout: float | None) -> Any:
        asking = Deferred.fromCoroutine(work)
        if timeout is not None:
            asking.addTimeout(timeout, self._reactor)
        try:
            return await asking
        except TimeoutError as error:
            raise ServerUnreachable(f"{self.address} does not answer: try again") from error
        except (ConnectError, ConnectionClosed, DNSLookupError, ResponseFailed, SSL.Error) as error:
            raise explain(_innermost(error), self.address) from error

    def _request(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any = None, **more: str
    ) -> Deferred[IResponse]:
        url = f"{self.address}{API}{path}"
        given = {key: value for key, value in (query or {}).items() if value is not None}
        if given:
            url += f"?{urlencode(given)}"
        headers = Headers(self._headers)
        headers.setRawHeaders("Accept", ["application/json"])
        producer = None
        if body is not None:
            headers.setRawHeaders("Content-Type", ["application/json"])
            producer = FileBodyProducer(BytesIO(json.dumps(body).encode()))
        for name, value in more.items():
            headers.setRawHeaders(name.replace("_", "-"), [value])
        asked: Deferred[IResponse] = self._agent.request(method.encode(), url.encode(), headers, producer)
        return asked

    async def list(
        self, path: str, query: Mapping[str, Any] | None = None, most: int | None = None
    ) -> Listing:
        """
        A list, all of its pages. See L{ask} for the errors.

        @param most: items, at most.
        """
        most = MOST_ITEMS if most is None else most
        items: list[dict[str, Any]] = []
        unanswered: set[str] = set()
        asked = {**(query or {}), "limit": min(most, _PAGE)}
        while True:
            page = await self.ask("GET", path, asked)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise ServerUnreachable(f"{self.address} answers what is no list of Burrow's")
            items += [item for item in page["items"] if isinstance(item, dict)]
            unanswered.update(map(str, page.get("unanswered", ())))
            following = page.get("next")
            if following is None or not page["items"] or len(items) >= most:
                return Listing(items[:most], sorted(unanswered), following is not None or len(items) > most)
            asked = {**asked, "cursor": following, "limit": min(most - len(items), _PAGE)}

    async def follow(
        self,
        path: str,
        query: Mapping[str, Any] | None,
        tell: Callable[[str, dict[str, Any]], None],
        state: Callable[[str], None],
        begun: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """
        Read a live answer, for ever: when its connection is lost, it is asked for again, from where it was.

        @param tell: called with the type of each event, "message" for the usual one, and its data.
        @param state: called with a sentence when the connection is lost, and when it is there again.
        @param begun: called each time that an answer has begun; returns the id of the last event that was
            learned otherwise, or "": where the next answer begins if this one has none.
        @raise Refused: the server refuses it, or ended it since the token was revoked.
        @raise ServerUnreachable: it could not be reached the first time.
        """
        backoff, last, lost, ever = Backoff(), "", False, False
        while True:
            try:
                response = await self._explained(self._live(path, query, last), TIMEOUT)
                ever = True
                backoff.reset()
                if lost:
                    state("connected again")
                    lost = False
                reading = Reading(self._reactor, tell)
                reading.last = last
                response.deliverBody(reading)
                try:
                    if begun is not None:
                        known = await begun()
                        reading.last = reading.last or known
                    await reading.ended
                finally:
                    last = reading.last
                    reading.stop()
                    reading.ended.addErrback(lambda failure: None)  # if C{begun} failed before it
            except ServerUnreachable as error:
                if not ever:
                    raise
                if not lost:
                    state(f"{error}; trying again")
                lost = True
            await deferLater(self._reactor, backoff.next())

    async def _live(self, path: str, query: Mapping[str, Any] | None, last: str) -> IResponse:
        more = {"Last_Event_ID": last} if last else {}
        asked = {**(query or {}), "follow": "true"}
        response = await self._request("GET", path, asked, Accept="text/event-stream", **more)
        if response.code >= 300:
            raise _problem(self.address, response, await whole(response))
        return response


def _innermost(error: BaseException) -> BaseException:
    reasons = getattr(error, "reasons", None)
    return _innermost(reasons[0].value) if reasons else error


def _parsed(address: object, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServerUnreachable(f"{address} answers what is no JSON: is it a Burrow server?") from error


def _problem(address: object, response: IResponse, data: bytes) -> BurrowError:
    """The error of an answer that is none (RFC 9457): its sentence, and whose fault it is."""
    status = response.code
    if 300 <= status < 400:
        where = (response.headers.getRawHeaders("Location") or [""])[0]
        parts = urlsplit(where)
        return Refused(
            f"{address} sends its users to {parts.scheme}://{parts.netloc}: use "
            f"--server {parts.scheme}://{parts.netloc}"
        )
    try:
        told = json.loads(data)
        detail = _as_commands(str(told["detail"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        if status >= 500:
            return ServerUnreachable(f"{address} answers HTTP status {status}: try again")
        return Refused(
            f"{address} has no admin API (HTTP status {status}): the server is of an older release, or was "
            "started with --no-admin, or with --admin HOST:PORT, which is to be given as --server then"
        )
    if status == 422:
        return ConfigError(detail)
    return ServerUnreachable(detail) if status >= 500 else Refused(detail)


def _as_commands(detail: str) -> str:
    """A sentence of the API for programs, as one for users of the commands."""
    detail = re.sub(
        rf"`GET {API}/(\w+)`", lambda found: f"`burrow {_COMMANDS.get(found[1], found[1])}`", detail
    )
    return detail.replace("add ?force=true", "add --force")


_COMMANDS = {"certificates": "certs"}
"""Commands that are not called as the path is."""
