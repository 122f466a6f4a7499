"""HTTPS requests to a CA: their answers, and the nonces that come with them (RFC 8555 section 6.5)."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import Any

import attr
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers

from burrow import __version__
from burrow.certificates.acme.problems import AcmeUnreachable
from burrow.clock import WEEK
from burrow.identity import HttpsPolicy
from burrow.urls import asked_url

CONNECT_TIMEOUT = 10.0
REQUEST_TIMEOUT = 30.0
"""Seconds for one request and its answer."""

MAX_NONCES = 50
"""Nonces that are kept for later requests."""

_LONGEST_WAIT = WEEK


@attr.frozen
class Answer:
    """A CA's answer to one request."""

    status: int
    headers: Any
    body: bytes

    def header(self, name: str) -> str:
        """The last field of that name; empty if there is none."""
        values: list[str] = self.headers.getRawHeaders(name) or [""]
        return values[-1]

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. @raise AcmeUnreachable: it is none."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise AcmeUnreachable("the CA's answer is no JSON") from error
        if not isinstance(parsed, dict):
            raise AcmeUnreachable("the CA's answer is no JSON object")
        return parsed

    def retry_after(self, now: float) -> float | None:
        """
        The seconds of Retry-After (RFC 9110 section 10.2.3), a week at most; None if there are none.

        @param now: seconds since the epoch.
        """
        text = self.header("Retry-After").strip()
        if text.isascii() and text.isdigit():
            return min(float(text[:20]), _LONGEST_WAIT)
        try:
            wait = parsedate_to_datetime(text).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            return None
        return min(max(0.0, wait), _LONGEST_WAIT)


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed request: treq's and Twisted's errors wrap it."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _cause(reasons[0].value)
    os_error = getattr(error, "osError", None)
    return str(os_error or error)


class Transport:
    """
    @param url: of the CA's directory, for errors.
    @param trust_root: which CAs may vouch for its HTTPS server.
    """

    def __init__(self, reactor: Any, url: str, trust_root: Any) -> None:
        self._reactor = reactor
        self._url = url
        self._nonces: list[str] = []
        self._pool = HTTPConnectionPool(reactor)
        policy = HttpsPolicy(trust_root)
        agent = Agent(reactor, policy, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)
        self._http = HTTPClient(agent)

    def close(self) -> Deferred[None]:
        """Close the idle connections. Fires when they are closed."""
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing

    async def request(self, method: str, url: str, body: bytes | None = None) -> Answer:
        """Send one request. @raise AcmeUnreachable: no answer came in time."""
        asking = Deferred.fromCoroutine(self._exchange(method, url, body))
        try:
            answer = await asking.addTimeout(REQUEST_TIMEOUT, self._reactor)
        except TimeoutError as error:
            raise AcmeUnreachable(f"the CA at {self._url} does not answer") from error
        except (ConnectError, ConnectionLost, DNSLookupError, ResponseFailed, SSL.Error) as error:
            raise AcmeUnreachable(f"the CA at {self._url} cannot be reached: {_cause(error)}") from error
        nonce = answer.header("Replay-Nonce")
        if nonce and len(self._nonces) < MAX_NONCES:
            self._nonces.append(nonce)
        return answer

    async def _exchange(self, method: str, url: str, body: bytes | None) -> Answer:
        headers = Headers({"User-Agent": [f"burrow/{__version__}"]})
        if body is not None:
            headers.setRawHeaders("Content-Type", ["application/jose+json"])
        response = await self._http.request(
            method, asked_url(url), data=body, headers=headers, unbuffered=True
        )
        return Answer(response.code, response.headers, await response.content())

    async def nonce(self, new_nonce: str) -> str:
        """A nonce that was not used yet. @param new_nonce: the URL where the CA gives one."""
        if not self._nonces:
            await self.request("HEAD", new_nonce)
        if not self._nonces:
            raise AcmeUnreachable(f"the CA at {self._url} gives no nonce")
        return self._nonces.pop()
