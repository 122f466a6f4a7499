"""One end of a stream that carries datagrams: what is late is dropped, and not queued."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import implementer

from burrow.protocols.udp.framing import MAX_DATAGRAM, DatagramReader, framed


@implementer(IPushProducer)
class DatagramStream(Protocol):
    """
    A subclass overrides L{datagram_received}.

    @param counts: the kind's: see L{TunnelKind.counts<burrow.protocols.kind.TunnelKind.counts>}.
    @ivar dropped: datagrams that were not passed on: to the stream, since it was full, or to the network,
        which refused them. @ivar late: whether the stream is full.
    """

    log = Logger()
    transport: Any

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._reader = DatagramReader()
        self.late = False
        self.dropped = 0

    def connectionMade(self) -> None:
        """The stream is there: be told when it is full."""
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """More of the stream."""
        try:
            datagrams = self._reader.feed(data)
        except ValueError as error:
            self.log.warn("a stream of datagrams is reset: {error}", error=error)
            self.transport.abortConnection()
            return
        for datagram in datagrams:
            self.datagram_received(datagram)

    def send(self, datagram: bytes) -> bool:
        """Pass a datagram on, or drop it. @return: whether it was passed on."""
        if self.late or len(datagram) > MAX_DATAGRAM:
            self.drop()
            return False
        self.transport.write(framed(datagram))
        return True

    def drop(self) -> None:
        """Count one that is not passed on."""
        self.dropped += 1
        self._counts["dropped"] += 1

    def close(self) -> None:
        """End the stream once what was passed on is sent: it does not wait for this producer's end."""
        self.late = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def datagram_received(self, datagram: bytes) -> None:
        """A datagram came on the stream."""
        raise NotImplementedError

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self.late = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self.late = False

    def stopProducing(self) -> None:
        """See L{IPushProducer}: the stream is lost."""
        self.late = True
