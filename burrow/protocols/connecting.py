"""Connections from an agent to its local service."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferTimeoutError
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.descriptors import EXHAUSTED, Shortage, exhausted
from burrow.identity import client_tls
from burrow.link.secure import SecureEndpoint
from burrow.mux.pipe import PipeEnd
from burrow.protocols.loopback import connect_now, is_loopback
from burrow.protocols.upstream import CONNECT_TIMEOUT, NotHttp2, Upstream, UpstreamFailed
from burrow.reactor.turns import TURNS
from burrow.trust import trust_root

if TYPE_CHECKING:
    from burrow.protocols.upstream_gateway import Gateway

_ALPN = b"h2"
_LOOPBACKS = ("127.0.0.1", "::1")

FIRST_WAIT, LONGEST_WAIT = 0.02, 0.25
"""
Seconds for one attempt to connect to a service of this machine: the first, and any. The kernel completes or
refuses a connection there at once, unless the queue of the service is full. Then it answers nothing, and
would itself ask again after 1, 3 and 7 seconds; of a UNIX socket it says so at once. Python's http.server has
a queue of 5, Django's of 10, and a visitor by HTTP/2 asks for a hundred things at once.
"""


def _descriptor_error(error: Exception) -> int | None:
    """The error's number, if the connection failed because no file descriptor was left; else None."""
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    return number if number in EXHAUSTED else None


@implementer(IHandshakeListener)
class SecureEnd(PipeEnd):
    """
    The upstream's end of a pipe over TLS: knows when the handshake is done.

    @ivar secured: fires when the handshake is complete; fails with why the connection was lost before.
    """

    def __init__(self) -> None:
        self.secured: Deferred[None] = Deferred()
        self._early: list[bytes] = []

    def connectionMade(self) -> None:
        """Read the handshake, though the other end is not there yet."""
        super().connectionMade()
        self.transport.resumeProducing()

    def handshakeCompleted(self) -> None:
        """From now on, do not read until the other end is there."""
        if self.transport.disconnecting:
            return  # Twisted 25.5 says so of a certificate that has another name, too: why follows
        if self.other is None:
            self.transport.pauseProducing()
        if not self.secured.called:
            self.secured.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on. Keep what came together with the end of the handshake until L{joined} is called."""
        if self.other is None:
            self._early.append(data)
        else:
            super().dataReceived(data)

    def joined(self) -> None:
        """The other end is there: pass on what was kept."""
        early, self._early = self._early, []
        for data in early:
            self.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is lost, perhaps in the handshake."""
        if not self.secured.called:
            self.secured.errback(reason)
        super().connectionLost(reason)


@implementer(IProtocolFactory)
class _Given:
    """Builds a protocol that is there already."""

    def __init__(self, protocol: PipeEnd) -> None:
        self._protocol = protocol

    def doStart(self) -> None:
        pass

    def doStop(self) -> None:
        pass

    def buildProtocol(self, addr: object) -> PipeEnd:
        return self._protocol


class _TurnsLater:
    """
    The clock for an attempt: what is due is called when all that is ready was reported. In a turn that was
    long, an attempt is begun and due at once, and its connection is there before anybody could see it.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def callLater(self, delay: float, work: Callable[[], object]) -> IDelayedCall:
        def due(polls: int) -> None:
            if polls:
                self._reactor.callLater(0, due, polls - 1)
            else:
                work()

        return self._reactor.callLater(delay, due, TURNS)


def _too_late(result: Any, seconds: float) -> Any:
    """What an attempt that was given up is, if it did not succeed all the same."""
    return Failure(DeferTimeoutError()) if isinstance(result, Failure) else result


class Connector:
    """
    Connects to one upstream; among several addresses, the one that worked last is tried first.
    """

    def __init__(self, reactor: Any, upstream: Upstream) -> None:
        self._reactor = reactor
        self._upstream = upstream
        # A development server may listen on one of the two only, and a resolver is too slow for each visitor.
        hosts = _LOOPBACKS if upstream.host == "localhost" else (upstream.host,)
        self._ends = Factory.forProtocol(SecureEnd if upstream.secure else PipeEnd)
        self._ends.noisy = False
        self._endpoints = [self._secure(self._endpoint(host)) for host in hosts]
        direct = upstream.scheme in ("http", "tcp") and all(is_loopback(host) for host in hosts)
        self._loopbacks = list(hosts) if direct else []  # in the order of the endpoints
        self._queues = upstream.scheme == "unix" or all(is_loopback(host) for host in hosts)

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
        """The endpoint with TLS over it, for https and h2."""
        upstream = self._upstream
        if not upstream.secure:
            return endpoint
        name, protocols = upstream.tls.name or upstream.host, [_ALPN] if upstream.http2 else None
        if upstream.tls.insecure or (upstream.loopback and upstream.tls.ca_file is None):
            return SecureEndpoint(self._reactor, _Unverified(name, protocols), endpoint)
        options = client_tls(name, trust_root(upstream.tls.ca_file), protocols)
        return SecureEndpoint(self._reactor, options, endpoint)

    def connect_now(self, other: PipeEnd | None = None) -> PipeEnd | None:
        """
        A connection to the upstream, not joined; None if it has to be waited for: see L{connect}.

        @param other: the end that it is joined to at once: so it need not wait, which would be two epoll_ctl.
        """
        if not self._loopbacks:
            return None
        end = PipeEnd()
        end.other = other
        connected: PipeEnd | None = connect_now(
            self._reactor, self._loopbacks[0], self._upstream.port, _Given(end)
        )
        return connected

    async def connect(self) -> PipeEnd:
        """A connection to the upstream, not joined. @raise UpstreamFailed: no address answers."""
        end = await self._reached()
        return await self._translated(end) if self._upstream.http2 else end

    async def _reached(self) -> PipeEnd:
        failure: Exception = ConnectError(string="no address")
        for position, endpoint in enumerate(self._endpoints):
            try:
                end: PipeEnd = await self._attempts(endpoint)
                if isinstance(end, SecureEnd):
                    await self._secured(end)
            except (ConnectError, DNSLookupError, UserError, OSError) as error:
                failure = error if position == 0 or _descriptor_error(error) is not None else failure
                continue
            if position:
                self._endpoints.insert(0, self._endpoints.pop(position))
                if self._loopbacks:
                    self._loopbacks.insert(0, self._loopbacks.pop(position))
            return end
        missing = _descriptor_error(failure)
        if missing is None and isinstance(failure, DNSLookupError) and exhausted():
            missing = errno.EMFILE  # a resolver without a descriptor finds no address, and does not say why
        if missing is not None:
            Shortage.of(self._reactor).met(missing)
            raise self._upstream.no_descriptor() from failure
        raise self._upstream.explain(failure) from failure

    async def _attempts(self, endpoint: IStreamClientEndpoint) -> Any:
        """A connection to one address. @raise ConnectError: there is none, as the endpoint says it."""
        if not self._queues:
            return await endpoint.connect(self._ends)
        clock: Any = _TurnsLater(self._reactor)
        left, wait = CONNECT_TIMEOUT, FIRST_WAIT
        while left > 0:
            connecting: Deferred[Any] = endpoint.connect(self._ends)
            try:
                return await connecting.addTimeout(wait, clock, _too_late)
            except DeferTimeoutError:
                pass
            except ConnectError as error:
                if type(error) is not ConnectError or error.osError is not None:
                    raise
                # A UNIX socket whose queue is full refuses at once (EAGAIN), which Twisted takes for a
                # connection that is under way, and then for one that was closed.
                await deferLater(self._reactor, wait)
            left, wait = left - wait, min(2 * wait, LONGEST_WAIT)
        raise ConnectTimeout

    async def _secured(self, end: SecureEnd) -> None:
        """Wait for the handshake. @raise UpstreamFailed: it failed; other addresses are not tried then."""
        try:
            await end.secured.addTimeout(CONNECT_TIMEOUT, self._reactor)
        except CancelledError:
            end.transport.abortConnection()
            raise
        except (SSL.Error, VerificationError, ConnectionClosed, DeferTimeoutError) as error:
            end.transport.abortConnection()
            raise self._upstream.explain(error) from error

    async def _translated(self, end: PipeEnd) -> PipeEnd:
        """
        The same upstream by HTTP/1.1, once it has spoken HTTP/2.

        @raise UpstreamFailed: it speaks something else; other addresses are not tried then.
        """
        # Here, since h2 is for agents that have such an upstream alone.
        from burrow.protocols.upstream_gateway import Gateway

        self._check_protocol(end)
        gateway = Gateway(
            end,
            "https" if self._upstream.secure else "http",
            lambda gateway: Deferred.fromCoroutine(self._again(gateway)),
        )
        try:
            await self._settled(gateway)
        except (CancelledError, UpstreamFailed):
            gateway.abort()
            raise
        return gateway.front

    async def _again(self, gateway: Gateway) -> None:
        """Give a gateway another connection, in the place of one whose upstream has gone away."""
        try:
            end = await self._reached()
            self._check_protocol(end)
            gateway.use(end)
            await self._settled(gateway)
        except UpstreamFailed as error:
            gateway.failed(error)

    async def _settled(self, gateway: Gateway) -> None:
        try:
            await gateway.settled.addTimeout(CONNECT_TIMEOUT, self._reactor)
        except (NotHttp2, DeferTimeoutError) as error:
            raise self._upstream.explain(error) from error

    def _check_protocol(self, end: PipeEnd) -> None:
        """@raise UpstreamFailed: it is TLS, and was not agreed to be of HTTP/2."""
        if isinstance(end, SecureEnd) and end.transport.negotiatedProtocol != _ALPN:
            end.transport.abortConnection()
            raise self._upstream.explain(NotHttp2("offers no HTTP/2 in TLS (ALPN)"))


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """
    TLS that takes any certificate: for --upstream-insecure, and on the loopback, where development servers
    sign their own.
    """

    def __init__(self, host: str, protocols: list[bytes] | None = None) -> None:
        self._host = host
        self._protocols = protocols
        self._context: SSL.Context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A connection that names the host (SNI), unless that is an address."""
        connection = SSL.Connection(self._context, None)
        if not self._host.replace(".", "").isdigit() and ":" not in self._host:
            connection.set_tlsext_host_name(self._host.encode())
        if self._protocols:
            connection.set_alpn_protos(self._protocols)
        return connection
