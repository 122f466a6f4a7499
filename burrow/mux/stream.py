"""
One stream as a Twisted transport.

A protocol written for a TCP socket runs on it unchanged. What it may count on is what
L{twisted.internet.tcp.Connection} promises::

    protocol does / peer does         what follows
    loseWriteConnection()             FIN after what is queued; reading goes on
    loseConnection()                  no more reading; FIN after what is queued and after the producer is
                                      done, then connectionLost(ConnectionDone)
    breakConnection()                 no more reading; RST after what is queued, then
                                      connectionLost(ConnectionAborted)
    abortConnection()                 RST now, connectionLost(ConnectionAborted) in the next reactor turn
    peer's FIN                        readConnectionLost() of an IHalfCloseableProtocol; any other
                                      protocol gets connectionLost(ConnectionDone)
    both halves closed                connectionLost(ConnectionDone)
    peer's RST                        connectionLost(ConnectionLost); a protocol that reads_before_reset gets
                                      first what it has not read yet
    session lost                      the same; but what the peer ended with its FIN is read first by any
                                      protocol, whose end is then as above
    a callback raises                 logged; RST, connectionLost(ConnectionAborted) in the next reactor turn

As on a socket, no call of a protocol's own on its transport calls that protocol back before it returns. A
call that has nothing left to wait for is followed by its connectionLost in the next reactor turn.

What bounds its buffers: what a protocol writes is bounded by the producer that feeds it, which is
paused above L{HIGH_WATER}; what comes in while the protocol is paused, and what it was given as it paused,
by the stream's receive window, since bytes are given back to the peer's window only when the protocol has
them and takes more.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

import attr
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.mux.feed import HIGH_WATER, Feed
from burrow.mux.inbound import Inbound, IOwner, Receiving
from burrow.wire.stream import YamuxStream


@implementer(IAddress)
@attr.s(frozen=True, auto_attribs=True)
class StreamAddress:
    """The address of a stream: of its session's peer, and its id on that session."""

    session: Any
    stream_id: int


class Sending(Enum):
    """What our half of a stream does: a step to a state further down is possible, none back."""

    OPEN = auto()
    ENDED = auto()  # FIN goes out behind what is queued, or is out
    BREAKING = auto()  # RST goes out behind what is queued
    ABORTED = auto()  # RST goes out at once


@implementer(ITCPTransport, IConsumer)
class Stream(Inbound):
    """
    A yamux stream under one protocol.

    """

    log = Logger()
    _high_water = HIGH_WATER

    def __init__(
        self, owner: IOwner, state: YamuxStream, protocol: IProtocol, address: StreamAddress
    ) -> None:
        super().__init__(owner, state, protocol)
        self._address = address
        self._sending = Sending.OPEN
        self._feed: Feed | None = None

    def __repr__(self) -> str:
        return f"<Stream {self.stream_id} of {self._address.session}>"

    @property
    def stream_id(self) -> int:
        """The stream's number in its session."""
        return self.state.stream_id

    # -- ITransport ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes; a streaming producer is paused when too many wait."""
        if not self.connected or self._sending is not Sending.OPEN:
            return
        try:
            queued = self.state.write(data)
        except StreamGone:
            return
        self._owner.schedule()
        if queued > self._high_water and self._feed is not None:
            self._feed.too_much()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Queue several pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close both halves once everything is written."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._held = None
            if self._feed is None:
                self._end()

    def abortConnection(self) -> None:
        """Reset the stream now."""
        if self.connected and self._sending is not Sending.ABORTED:
            self.disconnecting = True
            self._sending = Sending.ABORTED
            self._held = None
            self.state.reset()
            self._owner.forget(self.stream_id)
            self._owner.schedule()
            self._owner.clock.callLater(0, self.lost, Failure(ConnectionAborted()))

    def breakConnection(self) -> None:
        """
        Reset the stream once everything is written, so that the peer gets all that was written and sees that
        it is not complete. L{abortConnection} still ends the stream at once.
        """
        if self.connected and self._sending in (Sending.OPEN, Sending.ENDED):
            self.disconnecting = True
            self._sending = Sending.BREAKING
            self._held = None
            self.state.break_off()
            self._owner.schedule()
            if self.state.write_ended:
                self._owner.clock.callLater(0, self.drained)

    def loseWriteConnection(self) -> None:
        """Close our half once everything is written."""
        if self.connected and self._sending is Sending.OPEN:
            self._end()

    def limit(self, window: int) -> None:
        """
        The peer asks to be sent no more than C{window} bytes before it has used some of them: for one of many
        whose reader may take nothing. So no more than that waits here either, and one read. To be called
        before anything is written.
        """
        self.state.limit(window)
        self._high_water = min(HIGH_WATER, window)

    @property
    def granted(self) -> int:
        """A number that grows when the peer has used more of what it was sent, and falls with each write."""
        return self.state.granted

    def getPeer(self) -> StreamAddress:  # type: ignore[override]
        """The stream, as seen from here."""
        return self._address

    def getHost(self) -> StreamAddress:  # type: ignore[override]
        """The same: a stream has no address of its own on either side."""
        return self._address

    def getTcpNoDelay(self) -> bool:
        """Always: the mux gathers the writes of one reactor turn and never waits for more."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Accepted and without effect, so that protocols for sockets run unchanged."""

    def getTcpKeepAlive(self) -> bool:
        """Always: the session's heartbeat keeps all its streams alive."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Accepted and without effect, so that protocols for sockets run unchanged."""

    # -- IConsumer ------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let C{producer}, which pushes if C{streaming} and else is pulled, feed this stream."""
        if self._feed is not None:
            raise RuntimeError(f"{self!r} has a producer already")
        if not self.connected:
            producer.stopProducing()
            return
        self._feed = Feed(producer, streaming, self.state, self.failed)
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer is done; a loseConnection that waited for it goes on."""
        if self._feed is not None:
            self._feed.unregister()
            self._feed = None
        if self.disconnecting and self.connected and self._sending in (Sending.OPEN, Sending.ENDED):
            self._end()

    # -- for the owner --------------------------------------------------------------------------

    def connect(self) -> None:
        """Tell the protocol that it is connected."""
        try:
            self.protocol.makeConnection(self)
        except Exception:
            self.failed("makeConnection", self.protocol)

    def drained(self) -> None:
        """Our queue ran low, or our FIN went out."""
        if self._sending is Sending.BREAKING:
            if self.state.write_ended:
                self._owner.forget(self.stream_id)
                self.lost(Failure(ConnectionAborted()))
        elif self._sending is Sending.ENDED:
            self._check_done()
        elif self._feed is not None:
            self._feed.drained()

    def lost(self, reason: Failure) -> None:
        """The stream is closed: call the protocol's connectionLost, once."""
        if not self.connected:
            return
        self.connected = False
        self.disconnecting = True
        self._drop_held()
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.stop()
        try:
            self.protocol.connectionLost(reason)
        except Exception:
            self.failed("connectionLost", self.protocol)

    def session_lost(self, reason: Failure) -> None:
        """The session is lost: nothing more is sent."""
        self._sending = Sending.ENDED
        super().session_lost(reason)

    def failed(self, where: str, culprit: Any) -> None:
        """As on a socket: a protocol that raises loses its own connection; other streams go on."""
        self.log.failure("{culprit} failed in {where}", culprit=culprit, where=where)
        self.abortConnection()

    def input_ended(self) -> None:
        """Call readConnectionLost of a protocol that has it; for any other the stream has ended."""
        half_closeable: Any = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None:
            self._finish()
            return
        try:
            half_closeable.readConnectionLost()
        except Exception:
            self.failed("readConnectionLost", self.protocol)
        self._check_done()

    # -- inside -----------------------------------------------------------------------------------

    def _end(self) -> None:
        """FIN after what is queued."""
        if self._sending is Sending.OPEN:
            self._sending = Sending.ENDED
            self.state.end()
            self._owner.schedule()
        elif self.state.write_ended:
            self._owner.clock.callLater(0, self._check_done)

    def _check_done(self) -> None:
        """Our half has ended; has the peer's?"""
        read = self._receiving is Receiving.TOLD or self.disconnecting
        if self.connected and read and self._sending is Sending.ENDED and self.state.write_ended:
            self._finish()

    def _finish(self) -> None:
        """FIN after what is queued, and no more of the protocol."""
        if self._sending is Sending.OPEN:
            self._end()
        self._owner.release(self.stream_id)
        self.lost(Failure(ConnectionDone()))
