"""TLS over a client's endpoint, on the reactor of that endpoint."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from burrow.clock import TurnEnd
from burrow.mux.openssl import direct


@implementer(IOpenSSLClientConnectionCreator)
class _DirectCreator:
    """Has another creator's connections take the shorter way to OpenSSL."""

    def __init__(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return direct(self._creator.clientConnectionForTLS(protocol))


@implementer(IStreamClientEndpoint)
class SecureEndpoint:
    """
    What C{wrapClientTLS} returns, but its timers are those of the reactor that it is given. Twisted's takes
    the global reactor's, where another one runs, or none, if Burrow is used in a Python program.
    """

    def __init__(
        self, reactor: Any, creator: IOpenSSLClientConnectionCreator, endpoint: IStreamClientEndpoint
    ) -> None:
        self._reactor = reactor
        self._creator = creator
        self._endpoint = endpoint

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """See L{IStreamClientEndpoint}: fires with the protocol of C{factory}, before the handshake."""
        clock: Any = TurnEnd(self._reactor)
        creator: Any = _DirectCreator(self._creator)
        secure = TLSMemoryBIOFactory(creator, True, factory, clock=clock)
        connecting: Deferred[Any] = self._endpoint.connect(secure)
        return connecting.addCallback(lambda protocol: protocol.wrappedProtocol)
