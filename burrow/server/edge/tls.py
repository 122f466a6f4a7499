"""
The TLS port: reads the ClientHello, asks for the name's certificate, and only then begins TLS.

While the certificate is looked for, the connection is not read: it takes the memory of one ClientHello and
one read at most. The edge's sweep closes a connection whose hello is not complete, or whose certificate is
not found, in time. What is refused here, and how (alerts of RFC 8446 section 6):

- bytes that are not TLS: decode_error; a request in clear gets an HTTP answer (L{answer_in_clear});
- a server name that no host can have, or that there is no certificate for: unrecognized_name;
- the name of a tunnel that takes the TLS itself (L{Reach.SNI}), if its agent is away: unrecognized_name,
  since no page can be shown. RFC 6066 section 3 has this alert for names that a server does not serve;
- no protocol of ours among those that ALPN offers: no_application_protocol (RFC 7301 section 3.2).
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.certificates.base import (
    CHALLENGE,
    HTTP2,
    PROTOCOLS,
    ICertificates,
    asking_context,
    names_of,
)
from burrow.certificates.hello import ClientHello, HelloReader, NoName, NotTLS
from burrow.clock import TurnEnd
from burrow.errors import StoreError
from burrow.protocols.access import CLIENT_CA
from burrow.protocols.base import Reach
from burrow.protocols.tls import terminates
from burrow.server.edge.front import HandOver, stay
from burrow.server.edge.in_clear import answer_in_clear
from burrow.server.edge.passing import MAX_EARLY, Passing
from burrow.server.edge.shown import Shown, VisitorTLS, VisitorTLSFactory
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.terminating import Handshaking, agreed
from burrow.server.route import IRoute, NoRoute
from burrow.sockets import swap_protocol

HANDSHAKE_TIMEOUT = 15.0
"""Seconds from the connection until the ClientHello is whole and its certificate is found, at most."""

_ALERT_NOT_TLS = b"\x15\x03\x01\x00\x02\x02\x32"  # fatal decode_error (RFC 8446 section 6)
_ALERT_NO_NAME = b"\x15\x03\x03\x00\x02\x02\x70"  # fatal unrecognized_name (RFC 6066 section 3)
_ALERT_INTERNAL = b"\x15\x03\x03\x00\x02\x02\x50"  # fatal internal_error
_ALERT_NO_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"  # fatal no_application_protocol


class TLSFront(Protocol):
    """
    One visitor's or agent's connection, until TLS begins.

    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    log = Logger()
    transport: Any

    def __init__(self, factory: TLSFrontFactory, addr: IAddress) -> None:
        self.factory: TLSFrontFactory = factory
        self._addr = addr
        self._hello = HelloReader()
        self._waiting = False
        self._gone = False
        self._finding: Deferred[None] | None = None
        self.deadline: float | None = None

    def connectionMade(self) -> None:
        """Begin the time for the hello and its certificate."""
        self.factory.sweep.add(self, self.factory.timeout)
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def timed_out(self) -> None:
        """Called by the sweep: no hello came, or no certificate was found for it."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """More of the hello."""
        if self._waiting:
            self._hello.received += data  # one read at most, if the transport is paused
            if len(self._hello.received) > MAX_EARLY:
                self.transport.pauseProducing()
            return
        try:
            hello = self._hello.feed(data)
        except NoName:
            self._refuse(_ALERT_NO_NAME)
            return
        except NotTLS:
            received = bytes(self._hello.received)
            self._refuse(answer_in_clear(received) if received[:1].isalpha() else _ALERT_NOT_TLS)
            return
        if hello is not None:
            self._waiting = True
            self.transport.pauseProducing()
            self._ask(hello)

    def _ask(self, hello: ClientHello) -> None:
        """Find out whose TLS it is: the tunnel's, or ours."""
        passing = self.factory.passing
        if passing is not None and hello.name is not None:
            reach = passing.reach_of(hello.name)
            if reach is Reach.SNI or isinstance(reach, Deferred):
                self._finding = Deferred.fromCoroutine(self._find(passing, hello, hello.name, reach))
                self._finding.addErrback(self._broken)
                return
        self._ask_certificate(hello)

    async def _find(
        self, passing: Passing, hello: ClientHello, name: str, reach: Reach | Deferred[Reach | None]
    ) -> None:
        """Pass the connection on if the tunnel of its name takes the TLS; else its TLS is ours."""
        try:
            found = await reach if isinstance(reach, Deferred) else reach
        except StoreError:
            found = None  # the source of certificates may know the name
        if found is not Reach.SNI:
            self._ask_certificate(hello)
            return
        if hello.protocols == (CHALLENGE,):
            # A CA's: of a name whose TLS ends here the challenge is ours, of any other the upstream's.
            context = await maybeDeferred(self.factory.certificates.challenge, name)
            if context is not None:
                self._begin(context, name, _ALERT_NO_PROTOCOL)
                return
        if self.factory.hand_over(name, self.transport, self._hello.received):
            return
        # From here on --hold bounds the time. The socket is read, so that a visitor who leaves is noticed.
        self.factory.sweep.discard(self)
        passing.visitors.add(self)
        self.transport.resumeProducing()
        try:
            route = await passing.find(name)
        except NoRoute:
            self._refuse(_ALERT_NO_NAME)
            return
        except StoreError:
            self._refuse(_ALERT_INTERNAL)
            return
        finally:
            passing.visitors.discard(self)
        if self.factory.hand_over(name, self.transport, self._hello.received):
            return
        if terminates(route.options):
            await self._terminate(passing, route, hello, name)
            return
        protocol = passing.protocol(route, name, self._addr)
        if protocol is None:
            self.transport.abortConnection()
            return
        swap_protocol(self.transport, protocol)
        protocol.dataReceived(bytes(self._hello.received))

    async def _terminate(self, passing: Passing, route: IRoute, hello: ClientHello, name: str) -> None:
        """End TLS here; the tunnel gets what is inside."""
        alpn = agreed(route.options.get("alpn", ()), hello.protocols)
        context = None if alpn is None else await maybeDeferred(self.factory.certificates.context, name)
        if context is None:
            self._refuse(_ALERT_NO_PROTOCOL if alpn is None else _ALERT_NO_NAME)
            return
        inside = Handshaking(
            self.factory.sweep,
            self.factory.timeout,
            lambda shown: passing.protocol(route, name, self._addr) if passing.fits(route, shown) else None,
        )
        self._begin(context, name, _ALERT_NO_NAME, inside, alpn, route.options.get(CLIENT_CA.key) is not None)

    def _ask_certificate(self, hello: ClientHello) -> None:
        """Look for the certificate, unless another process takes the connection or no protocol is ours."""
        certificates = self.factory.certificates
        nothing = _ALERT_NO_NAME
        if hello.protocols == (CHALLENGE,):
            asking = maybeDeferred(certificates.challenge, hello.name)
            nothing = _ALERT_NO_PROTOCOL
        elif hello.protocols and not self.factory.speaks(hello):
            self._refuse(_ALERT_NO_PROTOCOL)
            return
        elif self.factory.hand_over(hello.name or "", self.transport, self._hello.received):
            return  # another process of this server has the connection; here it is lost
        else:
            asking = maybeDeferred(certificates.context, hello.name)
        asking.addCallbacks(self._certified, self._failed, callbackArgs=(hello, nothing))
        asking.addErrback(self._broken)

    def _certified(self, context: SSL.Context | None, hello: ClientHello, nothing: bytes) -> None:
        """The certificate is known. C{nothing}: see L{_begin}."""
        passing = self.factory.passing
        asks = passing is not None and hello.name is not None and passing.asks(hello.name)
        if context is not None and self.factory.chooses_http2(hello):
            inside = self.factory.http2.buildProtocol(self._addr)
            self._begin(context, hello.name, nothing, inside, [HTTP2], asks)
        else:
            self._begin(context, hello.name, nothing, asks=asks)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection was lost before TLS began."""
        self._gone = True
        self.factory.sweep.discard(self)
        if self._finding is not None:
            self._finding.cancel()

    def _begin(
        self,
        context: SSL.Context | None,
        name: str | None,
        nothing: bytes,
        inside: Any = None,
        alpn: list[bytes] | None = None,
        asks: bool = False,
    ) -> None:
        """
        Begin TLS. C{nothing}: the answer without a context. C{inside}: the protocol inside, if it is not the
        factory's. C{alpn}: see L{VisitorTLS}. C{asks}: whether the visitor is asked for a certificate.
        """
        if self._gone:
            return
        if context is None:
            self._refuse(nothing)
            return
        self.factory.sweep.discard(self)
        protocol = self.factory.tls(self._addr, name, context, inside, alpn, asks)
        protocol.hello = bytes(self._hello.received)
        swap_protocol(self.transport, protocol)  # from here on the socket calls TLS directly
        self.transport.resumeProducing()

    def _failed(self, reason: Failure) -> None:
        if reason.check(StoreError):
            # The store logs that it cannot be reached: not once more for each handshake.
            self.log.debug(
                "the store has no certificate for a TLS handshake, which is refused: {error}",
                error=reason.value,
            )
        else:
            self.log.failure(
                "looking for the certificate of a TLS handshake failed; the handshake is refused", reason
            )
        self._refuse(_ALERT_INTERNAL)

    def _broken(self, reason: Failure) -> None:
        if reason.check(CancelledError):
            return  # the visitor left
        self.log.failure("TLS could not begin on a connection, which is reset", reason)
        self.transport.abortConnection()

    def _refuse(self, answer: bytes) -> None:
        if not self._gone:
            self._waiting = True
            self.transport.write(answer)
            self.transport.loseConnection()


class TLSFrontFactory(Factory):
    """
    Takes the connections of the TLS port.

    @param wrapped: builds the protocol inside TLS, whose transport tells by C{shown}, a L{Shown}, what its
        peer was shown.
    @param idle_timeout: seconds for a hello, if they are fewer than L{HANDSHAKE_TIMEOUT}.
    @param hand_over: see L{HandOver}.
    @param passing: what is passed on; None if nothing is.
    @param http2: builds the protocol inside TLS for visitors that offer HTTP/2; None if that is not spoken.
    @param own: the host that is served by HTTP/1.1 alone, since the server itself answers there.
    """

    noisy = False

    def __init__(
        self,
        certificates: ICertificates,
        wrapped: IProtocolFactory,
        sweep: Sweep,
        idle_timeout: float,
        hand_over: HandOver = stay,
        passing: Passing | None = None,
        http2: IProtocolFactory | None = None,
        own: str = "",
    ) -> None:
        self.passing = passing
        self.http2: Any = http2
        self._own = own
        self.hand_over = hand_over
        self.certificates: Any = certificates
        self.timeout = min(idle_timeout, HANDSHAKE_TIMEOUT)
        self.sweep = sweep
        self._factory = VisitorTLSFactory(wrapped, TurnEnd(sweep.clock))
        self._names: WeakKeyDictionary[SSL.Context, frozenset[str]] = WeakKeyDictionary()

    def buildProtocol(self, addr: Any) -> Any:
        """One connection."""
        return TLSFront(self, addr)

    def chooses_http2(self, hello: ClientHello) -> bool:
        """Whether HTTP/2 is spoken with a visitor."""
        return self.http2 is not None and HTTP2 in hello.protocols and hello.name not in (None, self._own)

    def speaks(self, hello: ClientHello) -> bool:
        """Whether one of the protocols that a visitor offers by ALPN is ours."""
        return self.chooses_http2(hello) or bool(set(hello.protocols).intersection(PROTOCOLS))

    def tls(
        self,
        addr: IAddress,
        name: str | None,
        context: SSL.Context,
        inside: Any = None,
        alpn: list[bytes] | None = None,
        asks: bool = False,
    ) -> Any:
        """
        The TLS of one connection that asked for C{name} and is shown C{context}'s certificate.

        @param inside: the protocol inside; by default, one of C{wrapped}. @param alpn: see L{VisitorTLS}.
        @param asks: see L{Shown}.
        """
        names = self._names.get(context)
        if names is None:
            # Read once a context; kept no longer than it.
            shown = SSL.Connection(context, None).get_certificate()
            names = frozenset() if shown is None else names_of(shown.to_cryptography())
            self._names[context] = names
        protocol: Any
        if inside is None:
            protocol = self._factory.buildProtocol(addr)
        else:
            protocol = VisitorTLS(self._factory, inside)
            protocol.alpn = alpn
        protocol.shown = Shown(name, asking_context(context) if asks else context, names, asks)
        return protocol
