"""TLS over a client's endpoint, on the reactor of that endpoint."""

from __future__ import annotations

from typing import Any

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
        secure = TLSMemoryBIOFactory(self._creator, True, factory, clock=clock)
        connecting: Deferred[Any] = self._endpoint.connect(secure)
        return connecting.addCallback(lambda protocol: protocol.wrappedProtocol)
