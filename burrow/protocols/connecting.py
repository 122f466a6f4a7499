"""Connections from an agent to its local service."""

from __future__ import annotations

import errno
import ipaddress
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferTimeoutError
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    UserError,
)
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.descriptors import EXHAUSTED, Shortage, exhausted
from burrow.mux.pipe import PipeEnd
from burrow.protocols.upstream import CONNECT_TIMEOUT, Upstream
from burrow.trust import trust_root

_LOOPBACKS = ("127.0.0.1", "::1")


def _number(error: Exception) -> int | None:
    """The system's error, if a connection failed for want of file descriptors."""
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    return number if number in EXHAUSTED else None


@implementer(IHandshakeListener)
class SecureEnd(PipeEnd):
    """
    The upstream's end of a pipe over TLS: knows when the handshake is done.

    @ivar secured: fires when it is; fails with why it is not.
    """

    def __init__(self) -> None:
        self.secured: Deferred[None] = Deferred()
        self._early: list[bytes] = []

    def connectionMade(self) -> None:
        """Read on: the handshake needs it."""
        super().connectionMade()
        self.transport.resumeProducing()

    def handshakeCompleted(self) -> None:
        """From here on the upstream is read when the other end is there."""
        if self.other is None:
            self.transport.pauseProducing()
        if not self.secured.called:
            self.secured.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on; what came in one piece with the end of the handshake waits."""
        if self.other is None:
            self._early.append(data)
        else:
            super().dataReceived(data)

    def joined(self) -> None:
        """The other end is there: pass on what waits."""
        early, self._early = self._early, []
        for data in early:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, perhaps before it was one."""
        if not self.secured.called:
            self.secured.errback(reason)
        super().connectionLost(reason)


class Connector:
    """
    Connects to one upstream; among several addresses, the one that worked last is tried first.
    """

    def __init__(self, reactor: Any, upstream: Upstream) -> None:
        self._reactor = reactor
        self._upstream = upstream
        # A development server may listen on one of the two alone; asking a resolver each time is slow.
        hosts = _LOOPBACKS if upstream.host == "localhost" else (upstream.host,)
        self._ends = Factory.forProtocol(SecureEnd if upstream.scheme == "https" else PipeEnd)
        self._ends.noisy = False
        self._endpoints = [self._secure(self._endpoint(host)) for host in hosts]

    def _endpoint(self, host: str) -> IStreamClientEndpoint:
        upstream = self._upstream
        if upstream.scheme == "unix":
            unix: IStreamClientEndpoint = UNIXClientEndpoint(self._reactor, host, timeout=CONNECT_TIMEOUT)
            return unix
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return HostnameEndpoint(self._reactor, host.encode(), upstream.port, timeout=CONNECT_TIMEOUT)
        kind = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(self._reactor, host, upstream.port, timeout=CONNECT_TIMEOUT)
        return endpoint

    def _secure(self, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        """The endpoint with TLS over it, for https."""
        upstream = self._upstream
        if upstream.scheme != "https":
            return endpoint
        name = upstream.tls.name or upstream.host
        if upstream.tls.insecure or (upstream.loopback and upstream.tls.ca_file is None):
            return wrapClientTLS(_Unverified(name), endpoint)
        return wrapClientTLS(optionsForClientTLS(name, trustRoot=trust_root(upstream.tls.ca_file)), endpoint)

    async def connect(self) -> PipeEnd:
        """A connection to the upstream, not joined. @raise UpstreamFailed: no address answers."""
        failure: Exception = ConnectError(string="no address")
        for number, endpoint in enumerate(self._endpoints):
            connecting: Deferred[Any] = endpoint.connect(self._ends)
            try:
                end: PipeEnd = await connecting
                if isinstance(end, SecureEnd):
                    await self._secured(end)
            except (ConnectError, DNSLookupError, UserError, OSError) as error:
                failure = error if number == 0 or _number(error) is not None else failure
                continue
            if number:
                self._endpoints.insert(0, self._endpoints.pop(number))
            return end
        missing = _number(failure)
        if missing is None and isinstance(failure, DNSLookupError) and exhausted():
            missing = errno.EMFILE  # a resolver says no more than that it found nothing
        if missing is not None:
            Shortage.of(self._reactor).met(missing)
            raise self._upstream.no_descriptor() from failure
        raise self._upstream.explain(failure) from failure

    async def _secured(self, end: SecureEnd) -> None:
        """Wait for a handshake. @raise UpstreamFailed: no other address would make it better."""
        try:
            await end.secured.addTimeout(CONNECT_TIMEOUT, self._reactor)
        except CancelledError:
            end.transport.abortConnection()
            raise
        except (SSL.Error, VerificationError, ConnectionClosed, DeferTimeoutError) as error:
            end.transport.abortConnection()
            raise self._upstream.explain(error) from error


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
