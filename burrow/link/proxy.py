"""
Through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), chosen by HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
"""

from __future__ import annotations

import urllib.request
from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.addresses import authority
from burrow.errors import ConfigError
from burrow.sockets import swap_protocol

ANSWER_TIMEOUT = 10.0
"""Seconds that a proxy has to answer, once it is connected."""

_MAX_RESPONSE = 16 * 1024


def proxy_for(scheme: str, host: str) -> tuple[str, int, str] | None:
    """
    The proxy that the environment (on Windows and macOS the system, too) names for a URL.

    @return: its host, its port and its user:password, which may be empty; None to connect directly.
    @raise ConfigError: the proxy's URL is not one that we can use.
    """
    url = urllib.request.getproxies().get(scheme)
    if not url or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(url if "//" in url else "http://" + url)
    try:
        port = parts.port or 3128
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise ConfigError(
            f"the proxy in {scheme.upper()}_PROXY is not usable: it must look like http://host:port"
        )
    user = unquote(parts.username or "")
    return parts.hostname, port, f"{user}:{unquote(parts.password or '')}" if user else ""


def connect_request(host: str, port: int, credentials: str) -> bytes:
    """The request that has a proxy connect to C{host}. @param credentials: user:password, or empty."""
    target = authority(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if credentials:
        lines.append(f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


class _ConnectProtocol(Protocol):
    """
    Asks the proxy for a connection, then puts the protocol on it that wanted it.

    @ivar connected_through: fires with that protocol; fails with L{ConnectError}. May be cancelled.
    """

    def __init__(self, request: bytes, wanted: IProtocolFactory) -> None:
        self._request = request
        self._wanted = wanted
        self._response = b""
        self.connected_through: Deferred[IProtocol] = Deferred(lambda _: self._abort())

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._response += data
        head, end, rest = self._response.partition(b"\r\n\r\n")
        if not end:
            if len(self._response) > _MAX_RESPONSE:
                self._fail("the proxy's answer has no end")
            return
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if not status.partition(" ")[2].startswith("2"):
            self._fail(f"the proxy refused the connection: {status}")
            return
        assert self.transport is not None
        protocol: Any = self._wanted.buildProtocol(self.transport.getPeer())
        if protocol is None:
            self._fail("the factory built no protocol")
            return
        swap_protocol(self.transport, protocol)
        waiting, self.connected_through = self.connected_through, Deferred()
        if rest:
            protocol.dataReceived(rest)
        waiting.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.connected_through.called:
            self.connected_through.errback(
                ConnectError(string="the proxy closed the connection without an answer")
            )

    def _fail(self, why: str) -> None:
        self.connected_through.errback(ConnectError(string=why))
        self._abort()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


@implementer(IStreamClientEndpoint)
class ConnectProxyEndpoint:
    """
    Reaches a host through an HTTP proxy.

    @param proxy: the endpoint of the proxy. @param request: see L{connect_request}.
    """

    def __init__(self, clock: IReactorTime, proxy: IStreamClientEndpoint, request: bytes) -> None:
        self._clock = clock
        self._proxy = proxy
        self._request = request

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the protocol once the proxy has connected; fails with L{ConnectError}."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, wanted: IProtocolFactory) -> IProtocol:
        asking = await connectProtocol(self._proxy, _ConnectProtocol(self._request, wanted))
        try:
            protocol: IProtocol = await asking.connected_through.addTimeout(ANSWER_TIMEOUT, self._clock)
        except TimeoutError as error:
            raise ConnectError(string="the proxy did not answer") from error
        return protocol
