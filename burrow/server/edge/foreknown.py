"""
The plain port of a server without TLS that speaks HTTP/2: a connection's first bytes say which HTTP it has.

Without TLS nothing is agreed on: who knows beforehand that HTTP/2 is spoken begins with its preface (RFC 9113
section 3.3), as proxies in front and gRPC's clients do. A request that asks for an upgrade to it is answered
by HTTP/1.1.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory

from burrow.server.edge.front import PlainFront
from burrow.server.edge.sweep import Sweep

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Choosing(PlainFront):
    """One connection until its first bytes have come."""

    def dataReceived(self, data: bytes) -> None:
        """Some of them."""
        self._received += data
        if len(self._received) >= len(PREFACE) or not PREFACE.startswith(self._received):
            self.serve()

    def chosen(self) -> IProtocolFactory:
        """See L{PlainFront}."""
        factory: Any = self.factory
        served: IProtocolFactory = factory.http2 if self._received.startswith(PREFACE) else factory.inner
        return served


class ChoosingFactory(Factory):
    """
    Takes the connections.

    @param inner: builds what serves HTTP/1.1. @param http2: what serves HTTP/2.
    @param idle_timeout: seconds for the first bytes.
    """

    noisy = False

    def __init__(
        self, inner: IProtocolFactory, http2: IProtocolFactory, sweep: Sweep, idle_timeout: float
    ) -> None:
        self.inner = inner
        self.http2 = http2
        self.sweep = sweep
        self.idle_timeout = idle_timeout

    def buildProtocol(self, addr: Any) -> Choosing:
        """One connection."""
        return Choosing(self, addr)
