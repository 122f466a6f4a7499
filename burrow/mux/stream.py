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
paused above L{HIGH_WATER}; what comes in while the protocol is paused, by the stream's receive window,
since bytes are given back to the peer's window only when the protocol has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

import attr
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.wire.stream import YamuxStream

HIGH_WATER = 64 * 1024
"""Bytes queued on one stream above which its producer is paused."""


@implementer(IAddress)
@attr.s(frozen=True, auto_attribs=True)
class StreamAddress:
    """Where a stream leads: the session's peer, and the stream's id on that session."""

    session: Any
    stream_id: int


class IOwner(Protocol):
    """
    What a stream needs of its session; bytes and their windows are between the stream and its yamux state.

    @ivar lost: whether the session is lost: nothing more is sent.
    """

    clock: IReactorTime
    peer: IAddress
    lost: bool

    def schedule(self) -> None:
        """Something is to be sent: flush at the end of this reactor turn."""

    def forget(self, stream_id: int) -> None:
        """The stream and its protocol are gone."""

    def release(self, stream_id: int) -> None:
        """The protocol is gone, and the peer may still be sending."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class Stream:
    """
    A yamux stream under one protocol.

    @ivar state: the yamux state of the stream, its queue and its windows.
    @ivar connected: whether connectionLost is still to come.
    """

    log = Logger()
    disconnecting = False

    def __init__(self, session: IOwner, state: YamuxStream, protocol: IProtocol) -> None:
        self.state = state
        self.protocol = protocol
        self.connected = True
        self._session = session
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self._reading = True
        self._held: deque[bytes] = deque()
        self._delivery: IDelayedCall | None = None
        self._read_ended = False
        self._read_told = False
        self._write_ended = False
        self._aborted = False
        self._breaking = False
        self._kept = 0
        self._reset_reason: Failure | None = None

    def __repr__(self) -> str:
        return f"<Stream {self.stream_id} of {self._session.peer}>"

    @property
    def stream_id(self) -> int:
        """The stream's number in its session."""
        return self.state.stream_id

    @property
    def may_be_gone(self) -> bool:
        """Whether the peer's FIN has come, told to the protocol or not."""
        return self._read_ended

    # -- ITransport ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes; a streaming producer is paused when too many wait."""
        if not self.connected or self._write_ended or self._aborted:
            return
        try:
            queued = self.state.write(data)
        except StreamGone:
            return
        self._session.schedule()
        if queued > HIGH_WATER and self._producer is not None and not self._producer_paused:
            self._producer_paused = True
            if self._streaming:
                try:
                    self._producer.pauseProducing()
                except Exception:
                    self._failed("pauseProducing", self._producer)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Queue several pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close both halves once everything is written."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._held.clear()
            if self._producer is None:
                self._end()

    def abortConnection(self) -> None:
        """Reset the stream now."""
        if self.connected and not self._aborted:
            self.disconnecting = self._aborted = True
            self._held.clear()
            self.state.reset()
            self._session.forget(self.stream_id)
            self._session.schedule()
            self._session.clock.callLater(0, self.lost, Failure(ConnectionAborted()))

    def breakConnection(self) -> None:
        """
        Reset the stream once everything is written: the peer gets all there is, and learns that there
        should have been more. L{abortConnection} still ends it at once.
        """
        if self.connected and not self._aborted and not self._breaking:
            self.disconnecting = self._breaking = self._write_ended = True
            self._held.clear()
            self.state.break_off()
            self._session.schedule()
            if self._session.lost or self.state.write_ended:
                self._session.clock.callLater(0, self.drained)

    def loseWriteConnection(self) -> None:
        """Close our half once everything is written."""
        if self.connected and not self._write_ended:
            self._end()

    @property
    def granted(self) -> int:
        """A number that grows when the peer has used more of what it was sent, and falls with each write."""
        return self.state.granted

    def getPeer(self) -> StreamAddress:  # type: ignore[override]
        """The stream, as seen from here."""
        return StreamAddress(self._session.peer, self.stream_id)

    def getHost(self) -> StreamAddress:  # type: ignore[override]
        """The same: a stream has no address of its own on either side."""
        return StreamAddress(self._session.peer, self.stream_id)

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
        if self._producer is not None:
            raise RuntimeError(f"{self!r} has a producer already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer is done; a loseConnection that waited for it goes on."""
        self._producer = None
        if self.disconnecting and self.connected and not self._aborted and not self._breaking:
            self._end()

    # -- IPushProducer: the stream as the source of what its protocol reads -----------------------

    def pauseProducing(self) -> None:
        """Deliver nothing until resumed. The peer stops when the receive window is full."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Deliver what was held back, in the next reactor turn, then what comes."""
        if self._reading or not self.connected:
            return
        self._reading = True
        waits = self._held or self._read_ended or self._reset_reason is not None
        if waits and self._delivery is None:
            self._delivery = self._session.clock.callLater(0, self._deliver_held)

    def stopProducing(self) -> None:
        """The consumer of what we read is gone."""
        self.loseConnection()

    def become(self, protocol: IProtocol, rest: bytes) -> None:
        """
        Put another protocol on this stream, for one that has read enough to know which. To be called from
        the first protocol's dataReceived, with what it has not used of the bytes it got.
        """
        self.protocol = protocol
        protocol.makeConnection(self)
        if rest and self.connected and not self.disconnecting:
            if self._reading:
                self._deliver(rest)
            else:
                self._held.appendleft(rest)
            self._kept = len(rest)  # counted with the rest, not with what the first protocol was given

    # -- for the session ------------------------------------------------------------------------

    def connect(self) -> None:
        """Tell the protocol that it is connected."""
        try:
            self.protocol.makeConnection(self)
        except Exception:
            self._failed("makeConnection", self.protocol)

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer's."""
        if self.disconnecting:
            return  # the protocol reads no more; the window is not given back, so the peer stops
        if self._reading and not self._held:
            self._deliver(data)
        else:
            self._held.append(data)

    def ended(self) -> None:
        """The peer's FIN."""
        self._read_ended = True
        if self._reading and not self._held:
            self._tell_read_ended()

    def drained(self) -> None:
        """Our queue ran low, or our FIN went out."""
        if self._breaking:
            if self._session.lost or self.state.write_ended:
                self._session.forget(self.stream_id)
                self.lost(Failure(ConnectionAborted()))
        elif self._write_ended:
            self._check_done()
        elif self._producer is None:
            return
        elif not self._streaming:
            if self.state.queued == 0:
                self._resume_producer()
        elif self._producer_paused:
            self._resume_producer()

    def was_reset(self, reason: Failure) -> None:
        """The peer's RST. A protocol may want what came before it first, however slowly it reads."""
        if self._held and self.connected and getattr(self.protocol, "reads_before_reset", False):
            self._reset_reason = reason
        else:
            self.lost(reason)

    def session_lost(self, reason: Failure) -> None:
        """
        The session is gone. What the peer sent whole, up to its FIN, is here: a protocol that reads slowly
        gets it, as from a socket.
        """
        whole = self._read_ended or getattr(self.protocol, "reads_before_reset", False)
        if self._held and self.connected and whole:
            self._write_ended = True
            self._reset_reason = reason
        else:
            self.lost(reason)

    def lost(self, reason: Failure) -> None:
        """The stream is gone: tell the protocol, once."""
        if not self.connected:
            return
        self.connected = False
        self.disconnecting = True
        self._held.clear()
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                self._failed("stopProducing", producer)
        try:
            self.protocol.connectionLost(reason)
        except Exception:
            self._failed("connectionLost", self.protocol)

    # -- inside -----------------------------------------------------------------------------------

    def _failed(self, where: str, culprit: Any) -> None:
        # As on a socket: a protocol that raises loses its own connection; other streams go on.
        self.log.failure("{culprit} failed in {where}", culprit=culprit, where=where)
        self.abortConnection()

    def _resume_producer(self) -> None:
        self._producer_paused = False
        try:
            self._producer.resumeProducing()
        except Exception:
            self._failed("resumeProducing", self._producer)

    def _deliver(self, data: bytes) -> None:
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self._failed("dataReceived", self.protocol)
            return
        if self.connected:
            used, self._kept = len(data) - self._kept, 0
            if self.state.consumed(used, self._session.clock.seconds()):
                self._session.schedule()

    def _deliver_held(self) -> None:
        self._delivery = None
        while self._held and self._reading and self.connected:
            self._deliver(self._held.popleft())
        if self._reading and not self._held:
            if self._read_ended:
                self._tell_read_ended()
            if self._reset_reason is not None:
                self.lost(self._reset_reason)

    def _tell_read_ended(self) -> None:
        if self._read_told or self.disconnecting:
            return
        self._read_told = True
        half_closeable: Any = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None:
            self._finish()
            return
        try:
            half_closeable.readConnectionLost()
        except Exception:
            self._failed("readConnectionLost", self.protocol)
        self._check_done()

    def _end(self) -> None:
        """FIN after what is queued."""
        if not self._write_ended:
            self._write_ended = True
            self.state.end()
            self._session.schedule()
        elif self._session.lost or self.state.write_ended:
            self._session.clock.callLater(0, self._check_done)

    def _check_done(self) -> None:
        ended = self._write_ended and (self._read_told or self.disconnecting)
        ended = ended and not self._aborted and not self._breaking  # these have an end of their own
        if self.connected and ended and (self._session.lost or self.state.write_ended):
            self._finish()

    def _finish(self) -> None:
        """FIN after what is queued, and no more of the protocol."""
        if not self._write_ended:
            self._end()
        self._session.release(self.stream_id)
        self.lost(Failure(ConnectionDone()))
