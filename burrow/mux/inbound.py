"""
The receiving half of a stream: what the peer sent, on its way to the protocol.

Bytes are handed on at once, or held while the protocol is paused. They are given back to the peer's window
when the protocol has them. With bytes at which it pauses it is not done: those are given back when it
resumes. So the stream's receive window bounds what is held here and by the protocol.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.wire.pieces import put
from burrow.wire.stream import YamuxStream


class IOwner(Protocol):
    """
    What a stream needs beside its yamux state.

    @ivar schedule: sends what is queued at the end of the reactor turn.
    """

    clock: IReactorTime
    schedule: Callable[[], None]

    def forget(self, stream_id: int) -> None:
        """The stream is closed, for its protocol and for yamux."""

    def release(self, stream_id: int) -> None:
        """The stream is closed for its protocol; the peer may still be sending."""


class Receiving(Enum):
    """How far the peer's half has come."""

    OPEN = auto()
    ENDED = auto()  # its FIN has come
    TOLD = auto()  # and the protocol, which has all bytes before it, knows


@implementer(IPushProducer)
class Inbound:
    """
    @ivar state: the yamux state of the stream, its queue and its windows.
    @ivar connected: whether connectionLost is still to come.
    @ivar disconnecting: whether the protocol reads no more.
    """

    disconnecting = False

    def __init__(self, owner: IOwner, state: YamuxStream, protocol: IProtocol) -> None:
        self.state = state
        self.protocol = protocol
        self.connected = True
        self._owner = owner
        self._receiving = Receiving.OPEN
        self._paused = False
        self._held: deque[bytes] | None = None  # until it is paused: an empty one takes 760 bytes
        self._delivery: IDelayedCall | None = None
        self._kept = self._not_done = 0
        self._reset_reason: Failure | None = None

    @property
    def may_be_gone(self) -> bool:
        """Whether the peer's FIN has come, even if the protocol does not know yet."""
        return self._receiving is not Receiving.OPEN

    @property
    def holds(self) -> bool:
        """Whether bytes have come that the protocol does not have yet: it is paused, or was just now."""
        return bool(self._held)

    # -- IPushProducer: the stream as the source of what its protocol reads -----------------------

    def pauseProducing(self) -> None:
        """Deliver nothing until resumed. The peer stops when the receive window is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Deliver what was held back, in the next reactor turn, then what comes."""
        if not self._paused or not self.connected:
            return
        self._paused = False
        if self._not_done:
            used, self._not_done = self._not_done, 0
            if self.state.consumed(used, self._owner.clock.seconds()):
                self._owner.schedule()
        waits = self._held or self._receiving is not Receiving.OPEN or self._reset_reason is not None
        if waits and self._delivery is None:
            self._delivery = self._owner.clock.callLater(0, self._deliver_held)

    def stopProducing(self) -> None:
        """The consumer of what the protocol reads is closed."""
        self.loseConnection()

    def become(self, protocol: IProtocol, rest: bytes) -> None:
        """
        Put another protocol on this stream. To be called by the first protocol in its dataReceived, or while
        it is paused.

        @param rest: the bytes at the end of what the first protocol got, which are the second one's.
        """
        self.protocol = protocol
        protocol.makeConnection(self)  # type: ignore[arg-type]
        if rest and self.connected and not self.disconnecting:
            if self._paused:
                self._hold().appendleft(rest)
            else:
                self.data_received(rest, first=True)
            self._kept = len(rest)  # counted with the rest, not with what the first protocol was given

    # -- for the owner --------------------------------------------------------------------------

    def data_received(self, data: bytes, *, first: bool = False) -> None:
        """
        Bytes of the peer's.

        @param first: they come before what is held.
        """
        if self.disconnecting:
            return  # the protocol reads no more; the window is not given back, so the peer stops
        if self._paused or (self._held and not first):
            put(self._hold(), data)
            return
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self.failed("dataReceived", self.protocol)
            return
        if self.connected:
            used, self._kept = len(data) - self._kept, 0
            if self._paused:
                self._not_done += used
            elif self.state.consumed(used, self._owner.clock.seconds()):
                self._owner.schedule()

    def ended(self) -> None:
        """The peer's FIN."""
        self._receiving = Receiving.ENDED
        if not self._paused and not self._held:
            self._tell_ended()

    def was_reset(self, reason: Failure) -> None:
        """The peer's RST. A protocol that C{reads_before_reset} gets what came before it first."""
        if self._held and self.connected and getattr(self.protocol, "reads_before_reset", False):
            self._reset_reason = reason
        else:
            self.lost(reason)

    def session_lost(self, reason: Failure) -> None:
        """
        The session is lost. If the peer's FIN has come, everything before it is here, and the protocol gets
        it first, as from a socket.
        """
        if self._held and self.connected and self._receiving is not Receiving.OPEN:
            self._reset_reason = reason
        else:
            self.was_reset(reason)

    # -- what the sending half and the end of the stream do --------------------------------------

    @abstractmethod
    def loseConnection(self) -> None:
        """Read no more, and end the stream once everything is written."""

    @abstractmethod
    def input_ended(self) -> None:
        """The protocol has all that the peer sent, up to its FIN."""

    @abstractmethod
    def lost(self, reason: Failure) -> None:
        """The stream is closed: call the protocol's connectionLost, once."""

    @abstractmethod
    def failed(self, where: str, culprit: Any) -> None:
        """A callback of the protocol's raised."""

    # -- inside -----------------------------------------------------------------------------------

    def _hold(self) -> deque[bytes]:
        if self._held is None:
            self._held = deque()
        return self._held

    def _deliver_held(self) -> None:
        self._delivery = None
        while self._held and not self._paused:
            self.data_received(self._held.popleft(), first=True)
        if not self._paused and not self._held:
            if self._receiving is Receiving.ENDED:
                self._tell_ended()
            if self._reset_reason is not None:
                self.lost(self._reset_reason)

    def _tell_ended(self) -> None:
        if not self.disconnecting:
            self._receiving = Receiving.TOLD
            self.input_ended()

    def _drop_held(self) -> None:
        self._held = None
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
