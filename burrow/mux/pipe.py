"""
Two transports joined: what comes from one goes to the other, as fast as it is taken and no faster.

Each end feeds the other's transport as a push producer, so nothing waits here. Half a close on one is
half a close on the other; a clean end closes the other once everything is written, any other end breaks
it off, so that nobody takes a broken transfer for a whole one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.stream import Stream


def end_writing(transport: Any) -> None:
    """Close one half of a transport. TLS in Twisted has no half close: there, close it whole."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport.loseConnection()
    else:
        transport.loseWriteConnection()


def break_off(transport: Any) -> None:
    """Reset a connection. A stream delivers first what it has; a socket has no such way."""
    if isinstance(transport, Stream):
        transport.breakConnection()
    else:
        transport.abortConnection()


@implementer(IHalfCloseableProtocol)
class PipeEnd(Protocol):
    """
    One end of a pipe. Until it is joined, what arrives is not read.

    @ivar ended: whether the peer of this end closed its half.
    """

    transport: Any
    other: PipeEnd | None = None
    ended = False

    def connectionMade(self) -> None:
        """Wait for the other end."""
        if self.other is None:
            self.transport.pauseProducing()

    def join(self, other: PipeEnd) -> None:
        """Join two connected ends; call it on one of them."""
        self.other, other.other = other, self
        for end, peer in ((self, other), (other, self)):
            if end.ended:
                peer._end_of_input()
            else:
                peer.transport.registerProducer(end.transport, True)
        for end in (self, other):
            end.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None:
            self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """The peer of this end closed its half."""
        self.ended = True
        if self.other is not None:
            self.other._end_of_input()

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """This end is gone."""
        other, self.other = self.other, None
        if other is None:
            return
        other.other = None
        other.transport.unregisterProducer()
        if reason.check(ConnectionDone):
            other.transport.loseConnection()
        else:
            break_off(other.transport)

    def _end_of_input(self) -> None:
        self.transport.unregisterProducer()
        end_writing(self.transport)
