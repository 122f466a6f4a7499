"""
Fetches what says who visitors are: providers' configurations, keys and answers, as JSON over HTTPS.

Where that is, a tunnel's owner says, who need not be this server's. So that nobody can have the server ask
what it alone can reach (its own machine, its network, a cloud's metadata), it connects to public addresses
alone, unless C{--private-providers} allows others; follows no redirects; and bounds what it is sent.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IResolutionReceiver, IStreamClientEndpoint
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from burrow import __version__
from burrow.addresses import parse_address
from burrow.identity import HttpsPolicy
from burrow.policy.means import FetchFailed
from burrow.urls import asked_url

MOST = 64
"""Questions at a time, at most; of more the rest fails at once."""

MOST_OF_ONE = 8
"""Of them those to one domain, by its last two labels, or to one address."""

TIMEOUT = 10.0
"""Seconds for a question and its answer."""

MAX_ANSWER = 1024 * 1024

_MOST_ADDRESSES = 4
_NOT_OURS = [ipaddress.ip_network(text) for text in ("64:ff9b::/96", "2002::/16", "2001::/32")]
"""Networks of IPv6 whose addresses stand for any of IPv4: NAT64, 6to4, Teredo."""


def is_public(host: str) -> bool:
    """Whether an address is one of the whole Internet's."""
    address = parse_address(host)
    if address is None or any(address in network for network in _NOT_OURS):
        return False
    return address.is_global and not address.is_multicast


@implementer(IResolutionReceiver)
class _Addresses:
    """The addresses of a name, once all are known."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.done: Deferred[list[str]] = Deferred()

    def resolutionBegan(self, resolution: Any) -> None:
        """See L{IResolutionReceiver}."""

    def addressResolved(self, address: Any) -> None:
        """See L{IResolutionReceiver}."""
        self.found.append(address.host)

    def resolutionComplete(self) -> None:
        """See L{IResolutionReceiver}."""
        if not self.done.called:
            self.done.callback(self.found)


@implementer(IStreamClientEndpoint)
class _Checked:
    """Connects to a name's public addresses alone: those that were checked, and no others that come later."""

    def __init__(self, reactor: Any, host: str, port: int, *, private: bool) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._private = private

    def connect(self, factory: Any) -> Deferred[Any]:
        """See L{IStreamClientEndpoint}."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: Any) -> Any:
        addresses = _Addresses()
        self._reactor.nameResolver.resolveHostName(addresses, self._host, self._port)
        found = await addresses.done
        allowed = [host for host in found if self._private or is_public(host)]
        if not found:
            raise DNSLookupError(f"no address of {self._host} is known")
        if not allowed:
            raise FetchFailed(f"{self._host} has no public address: --private-providers would allow it")
        for host in allowed[:_MOST_ADDRESSES]:
            make: Any = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
            try:
                return await make(self._reactor, host, self._port, timeout=TIMEOUT / 2).connect(factory)
            except ConnectError as error:
                failed = error
        raise failed


@implementer(IAgentEndpointFactory)
class _Way:
    def __init__(self, reactor: Any, policy: Any, *, private: bool) -> None:
        self._reactor = reactor
        self._policy = policy
        self._private = private

    def endpointForURI(self, uri: Any) -> Any:
        """See L{IAgentEndpointFactory}."""
        host = uri.host.decode("ascii").strip("[]")
        endpoint: Any = _Checked(self._reactor, host, uri.port, private=self._private)
        if uri.scheme == b"https":
            return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return endpoint


class Fetching:
    """
    @param trust_root: which CAs may vouch for who is asked.
    @param private: whether private addresses, and HTTP without TLS, may be asked.
    @param agent: an L{IAgent<twisted.web.iweb.IAgent>}, for tests.
    """

    def __init__(self, reactor: Any, trust_root: Any, *, private: bool, agent: Any = None) -> None:
        self._reactor = reactor
        self._private = private
        self._asking: Counter[str] = Counter()
        if agent is None:
            policy = HttpsPolicy(trust_root)
            agent = Agent.usingEndpointFactory(reactor, _Way(reactor, policy, private=private))
        self._agent = agent

    def fetch(
        self, url: str, form: Mapping[str, str] | None, fields: Mapping[str, str] | None
    ) -> Deferred[Any]:
        """See L{Fetch<burrow.policy.means.Fetch>}."""
        return Deferred.fromCoroutine(self._fetch(url, form, fields))

    async def _fetch(self, url: str, form: Mapping[str, str] | None, fields: Mapping[str, str] | None) -> Any:
        if not url.startswith("https://") and not (self._private and url.startswith("http://")):
            raise FetchFailed(f"{url[:300]} is no https:// URL")
        domain = _domain(url)
        if self._asking.total() >= MOST or self._asking[domain] >= MOST_OF_ONE:
            raise FetchFailed(f"too much is asked for at the same time: {url[:300]} is not asked")
        self._asking[domain] += 1
        asking = Deferred.fromCoroutine(self._exchange(url, form, fields))
        try:
            return await asking.addTimeout(TIMEOUT, self._reactor)
        except TimeoutError as error:
            raise FetchFailed(f"{url} does not answer") from error
        except (ConnectError, ConnectionClosed, DNSLookupError, ResponseFailed, SSL.Error) as error:
            raise FetchFailed(f"{url} cannot be reached: {_cause(error)}") from error
        except (FetchFailed, CancelledError):
            raise
        except Exception as error:  # the URL, and what answers, are anybody's
            raise FetchFailed(f"{url} cannot be asked: {error!r}") from error
        finally:
            self._asking[domain] -= 1
            if not self._asking[domain]:
                del self._asking[domain]

    async def _exchange(
        self, url: str, form: Mapping[str, str] | None, fields: Mapping[str, str] | None
    ) -> Any:
        headers = Headers({"User-Agent": [f"burrow/{__version__}"], "Accept": ["application/json"]})
        for name, value in (fields or {}).items():
            headers.setRawHeaders(name, [value])
        # A client remembers cookies: each question has one of its own.
        response = await HTTPClient(self._agent).request(
            "POST" if form is not None else "GET",
            asked_url(url),
            data=dict(form) if form is not None else None,
            headers=headers,
            allow_redirects=False,
            unbuffered=True,
        )
        pieces: list[bytes] = []
        size = 0

        def came(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > MAX_ANSWER:
                raise FetchFailed(f"{url} answers more than {MAX_ANSWER // 1024} KiB")
            pieces.append(data)

        await response.collect(came)
        if response.code != 200:
            raise FetchFailed(f"{url} answers with status {response.code}")
        try:
            return json.loads(b"".join(pieces))
        except (ValueError, RecursionError) as error:
            raise FetchFailed(f"{url} answers what is no JSON") from error


def _domain(url: str) -> str:
    """What the questions to one party have in common, who may have any number of names below its own."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if parse_address(host) else ".".join(host.split(".")[-2:])


def _cause(error: BaseException) -> str:
    """The innermost reason: Twisted's errors wrap it."""
    reasons = getattr(error, "reasons", None)
    return _cause(reasons[0].value) if reasons else str(error)
