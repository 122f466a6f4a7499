"""
Two transports joined: what comes from one goes to the other, no faster than the other takes it.

Each end is the push producer of the other's transport, so nothing waits here. When one end's peer closes its
half, the same half of the other is closed. A clean end of one closes the other once everything is written.
Any other end resets it once everything is written, so that its peer does not take a broken transfer for a
whole one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.stream import Stream
from burrow.sockets import lowest_transport, read_large

_FULL_READ = 64 * 1024
"""Bytes that a socket of Twisted's reads at a time, at most, unless it is told to read more."""

BREAK_WITHIN = 10.0
"""Seconds that a socket which is to be reset has to take what is written."""


def end_writing(transport: Any) -> None:
    """
    Close one half of a transport once everything is written. No producer may be registered.

    TLS sends its close_notify, and delivers what comes until the peer closes: see L{burrow.mux.tls}.
    """
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport.loseConnection()
    else:
        transport.loseWriteConnection()


def break_off(transport: Any) -> None:
    """Reset a connection once everything is written; a socket has L{BREAK_WITHIN} seconds to take it."""
    if isinstance(transport, Stream):
        transport.breakConnection()
    elif hasattr(lowest_transport(transport), "startWriting"):
        _Breaking(transport)
    else:
        transport.abortConnection()


@implementer(IPullProducer)
class _Breaking:
    """
    Aborts a socket's connection as soon as its buffer is empty: a pull producer is asked for more just then.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._socket = lowest_transport(transport)
        self._asked = False
        self._timer = self._socket.reactor.callLater(BREAK_WITHIN, transport.abortConnection)
        transport.pauseProducing()
        if isinstance(transport, TLSMemoryBIOProtocol):
            # TLS gathers small writes until the next turn.
            self._socket.reactor.callLater(0, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        if self._socket.connected:
            self._socket.registerProducer(self, False)
            self._socket.startWriting()
        else:
            self.stopProducing()

    def resumeProducing(self) -> None:
        """Called once by C{registerProducer}, and then with nothing left to write."""
        if self._asked:
            self._transport.abortConnection()
        self._asked = True

    def stopProducing(self) -> None:
        """The connection is closed."""
        if self._timer.active():
            self._timer.cancel()


def read_on_after_failed_write(end: PipeEnd) -> None:
    """
    Let a socket's failed write not end its reading: a peer that closes while we still write to it may have
    answered first, and its answer waits in our socket (RFC 9112 section 9.6). What is written from then on is
    dropped; the connection is lost once everything is read. Our own reactor's transports ask their protocol
    whether it C{reads_after_failed_write}; Twisted offers no other place for this.
    """
    socket = lowest_transport(end.transport)
    if socket is end.transport and getattr(socket, "asks_its_protocol", False):
        return
    write = getattr(socket, "writeSomeData", None)
    if write is None:
        return

    def write_or_drop(data: bytes) -> Any:
        result = write(data)
        if isinstance(result, Exception) and not end.ended:
            return len(data)
        return result

    socket.writeSomeData = write_or_drop


@implementer(IHalfCloseableProtocol)
class PipeEnd(Protocol):
    """
    One end of a pipe. Until it is joined, what arrives is not read.

    @ivar ended: whether the peer of this end closed its half.
    @cvar reads_before_reset: what came before a reset is passed on first.
    """

    reads_before_reset = True

    @property
    def reads_after_failed_write(self) -> bool:
        """See L{read_on_after_failed_write}."""
        return not self.ended

    transport: Any
    other: PipeEnd | None = None
    ended = False

    def connectionMade(self) -> None:
        """Wait for the other end."""
        if self.other is None:
            self.transport.pauseProducing()
        read_on_after_failed_write(self)

    def join(self, other: PipeEnd) -> None:
        """Join two connected ends; call it on one of them."""
        self.other, other.other = other, self
        for end, peer in ((self, other), (other, self)):
            if end.ended:
                peer._end_of_input()
            else:
                peer.transport.registerProducer(peer.fed_by(end.transport), True)
        for end in (self, other):
            if not end.ended:
                end.transport.resumeProducing()

    def joined(self) -> None:
        """Called when the other end is there, by who joins an end that may have kept what came before."""

    def fed_by(self, source: Any) -> Any:
        """The producer of this end's transport, C{source} being the other's transport."""
        return source

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        if len(data) >= _FULL_READ:  # there is more: a connection with little to read keeps a small buffer
            read_large(self.transport)
            if self.other is not None:
                read_large(self.other.transport)  # and is not paused in the middle of a message
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
        """This end is closed: close the other."""
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
