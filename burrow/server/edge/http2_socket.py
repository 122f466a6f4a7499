"""
A stream of an HTTP/2 connection that has become a WebSocket's (RFC 8441), as a transport.

Its bytes are those of a connection of HTTP/1.1 behind its 101: END_STREAM closes a half, a reset is a reset
(RFC 8441 section 5). So the same pipe joins it with the tunnel's stream
(L{Upgraded<burrow.server.edge.upgraded.Upgraded>}).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.sockets import lowest_transport


@implementer(ITransport)
class StreamSocket:
    """
    @param stream: the L{Http2Stream<burrow.server.edge.http2_stream.Http2Stream>}.
    @param protocol: what reads the visitor's bytes.
    @ivar producer: what writes; None if nobody does. @ivar closing: whether both halves end.
    @ivar asked: whether the visitor spoke last, and so may wait for an answer.
    """

    def __init__(self, stream: Any, protocol: Any) -> None:
        self.producer: Any = None
        self.protocol = protocol
        self.closing = self.disconnecting = False
        self.connected = True
        self.asked = False
        self._stream = stream
        self._paused = False
        self._read_ended = False

    # -- what the visitor sends ---------------------------------------------------------------------------

    def feed(self, held: deque[tuple[bytes, int]], taken: Any, ended: bool) -> None:
        """
        Pass on what has come, as far as it is taken now.

        @param held: bytes, and how much of the window they are. @param taken: called with the latter.
        @param ended: whether nothing comes behind them.
        """
        while held and self.connected and not self._paused:
            data, size = held.popleft()
            if data:
                self.asked = True
                self.protocol.dataReceived(data)
            taken(size)
        if ended and not held and self.connected and not self._read_ended:
            self._read_ended = True
            self.protocol.readConnectionLost()

    @property
    def read_ended(self) -> bool:
        """Whether the protocol knows that the visitor sends no more."""
        return self._read_ended

    def pauseProducing(self) -> None:
        """The tunnel's stream takes no more."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It takes more."""
        self._paused = False
        self._stream.pass_body()

    def stopProducing(self) -> None:
        """The tunnel's stream is gone, which its protocol tells."""
        self._paused = False

    # -- what the visitor is sent -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See L{ITransport}."""
        if self.connected and not self.disconnecting:
            self.asked = False
            self._stream.answer_data(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See L{ITransport}."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """@param producer: an L{IPushProducer<twisted.internet.interfaces.IPushProducer>}."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Nobody writes any more."""
        self.producer = None

    # -- ends ---------------------------------------------------------------------------------------------

    def loseWriteConnection(self) -> None:
        """Close our half, behind what is written."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._stream.answer_end([])

    def loseConnection(self) -> None:
        """Close both halves, behind what is written."""
        self.closing = True
        if self.disconnecting:
            self._stream.half_closed()
        else:
            self.loseWriteConnection()

    def abortConnection(self) -> None:
        """Reset the stream, behind what its visitor takes at once."""
        if self.connected:
            self._stream.cancel()

    def done(self, *, cleanly: bool) -> None:
        """The stream is over."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone() if cleanly else ConnectionLost()))

    # -- what is below ------------------------------------------------------------------------------------

    @property
    def socket(self) -> Any:
        """The connection's: see L{burrow.sockets}."""
        return getattr(lowest_transport(self._stream.transport), "socket", None)

    def getPeer(self) -> Any:
        """See L{ITransport}."""
        return self._stream.transport.getPeer()

    def getHost(self) -> Any:
        """See L{ITransport}."""
        return self._stream.transport.getHost()
