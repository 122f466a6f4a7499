"""The local service behind an agent: how a person names it, and how it is connected to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from zope.interface import implementer

from burrow.errors import BurrowError, ConfigError

CONNECT_TIMEOUT = 10.0
"""Seconds."""

_LOOPBACKS = ("127.0.0.1", "::1")
_PUBLIC = {
    "refused": "Nothing listens there. Is the service started?",
    "timeout": f"It did not answer within {CONNECT_TIMEOUT:.0f} seconds.",
    "unknown-host": "Its host has no known address.",
    "failed": "The agent's screen says why.",
}
"""What visitors learn of an upstream on another machine than the agent's."""


class UpstreamFailed(BurrowError):
    """
    The upstream cannot be connected to. The text is for the agent's screen.

    @ivar code: "refused", "timeout", "unknown-host" or "failed".
    @ivar public: a text for visitors, which does not name hosts of the agent's network; by default the text.
    """

    def __init__(self, code: str, text: str, public: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.public = public or text


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    Where the service is.

    @ivar scheme: "http", "https" or "tcp". @ivar host: without brackets.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, schemes: tuple[str, ...]) -> Upstream:
        """
        Read C{PORT}, C{HOST:PORT} or C{SCHEME://HOST[:PORT]}.

        @param schemes: which may be; the first is the one meant without any.
        @raise ConfigError: it is none of these.
        """
        examples = f"write a port, HOST:PORT or {schemes[0]}://HOST:PORT"
        if text.isdigit():
            text = f"localhost:{text}"
        if "://" not in text:
            text = f"{schemes[0]}://{text}"
        parts = urlsplit(text)
        try:
            port = parts.port
        except ValueError:
            raise ConfigError(
                f"{text.partition('://')[2]!r} has no possible port: ports are 1 to 65535"
            ) from None
        if parts.scheme not in schemes or not parts.hostname or parts.username:
            raise ConfigError(f"{text!r} is no upstream: {examples}")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigError(
                f"the upstream {text!r} must end after the port: a path is the visitor's to choose"
            )
        port = {"http": 80, "https": 443}.get(parts.scheme) if port is None else port
        if not port:
            raise ConfigError(f"{text!r} has no possible port: ports are 1 to 65535")
        return cls(parts.scheme, parts.hostname, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def _loopback(self) -> bool:
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def _endpoints(self, reactor: Any) -> list[IStreamClientEndpoint]:
        # A development server may listen on one of the two alone; asking a resolver each time is slow.
        hosts = list(_LOOPBACKS) if self.host == "localhost" else [self.host]
        return [self._wrap(self._endpoint(reactor, host)) for host in hosts]

    def _endpoint(self, reactor: Any, host: str) -> IStreamClientEndpoint:
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return HostnameEndpoint(reactor, host.encode(), self.port, timeout=CONNECT_TIMEOUT)
        kind = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(reactor, host, self.port, timeout=CONNECT_TIMEOUT)
        return endpoint

    def _wrap(self, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        if self.scheme != "https":
            return endpoint
        if self._loopback:
            return wrapClientTLS(_Unverified(self.host), endpoint)
        return wrapClientTLS(optionsForClientTLS(self.host), endpoint)

    def connector(self, reactor: Any) -> Connector:
        """Something that connects to it, as often as needed."""
        return Connector(self, self._endpoints(reactor))

    def explain(self, error: Exception) -> UpstreamFailed:
        """What a failure to connect means."""
        where = f"{self.host} port {self.port}"
        if isinstance(error, ConnectionRefusedError):
            return self._failed("refused", f"Nothing listens on {where}. Is the service started?")
        if isinstance(error, TimeoutError):
            return self._failed(
                "timeout", f"Nothing at {where} answered within {CONNECT_TIMEOUT:.0f} seconds."
            )
        if isinstance(error, DNSLookupError):
            return self._failed("unknown-host", f"No address is known for {self.host}.")
        return self._failed("failed", f"Connecting to {where} failed: {error}.")

    def _failed(self, code: str, text: str) -> UpstreamFailed:
        """A failure. Strangers are told of the loopback, which is no secret, and of no other host."""
        return UpstreamFailed(code, text, text if self._loopback else _PUBLIC.get(code, _PUBLIC["failed"]))


class Connector:
    """
    Connects to one upstream; among several addresses, the one that worked last is tried first.
    """

    def __init__(self, upstream: Upstream, endpoints: list[IStreamClientEndpoint]) -> None:
        self._upstream = upstream
        self._endpoints = endpoints

    async def connect(self, factory: IProtocolFactory) -> IProtocol:
        """@raise UpstreamFailed: no address answers."""
        failure: Exception = ConnectError(string="no address")
        for number, endpoint in enumerate(self._endpoints):
            connecting: Deferred[IProtocol] = endpoint.connect(factory)
            try:
                protocol = await connecting
            except (ConnectError, DNSLookupError, UserError) as error:
                failure = error if number == 0 else failure
                continue
            if number:
                self._endpoints.insert(0, self._endpoints.pop(number))
            return protocol
        raise self._upstream.explain(failure) from failure


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS without a look at the certificate. On the loopback, where development servers sign their own."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._context: SSL.Context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._host.replace(".", "").isdigit() and ":" not in self._host:
            connection.set_tlsext_host_name(self._host.encode())
        return connection


class OneProtocol(Factory):
    """Builds one protocol that exists already."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol."""
        return self._protocol
