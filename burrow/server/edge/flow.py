"""
How the two directions of a visitor's connection hold each other back.

Its bytes are read as fast as the stream to the agent takes them; what it is sent, answers and pages alike,
is made as fast as it reads. Each direction is an L{IPushProducer} that outlives the streams that come and go.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

MAX_WAITING = 64 * 1024
"""Bytes of a visitor's that wait at the edge, before its connection is read no more."""


class Flowing(Protocol):
    """
    What the two need of a visitor's connection.

    @ivar waiting_bytes: read and not used yet. @ivar ended: whether the visitor closed its half.
    """

    transport: Any
    connected: Any
    ended: bool

    @property
    def waiting_bytes(self) -> int:
        """See above."""
        ...

    def visitor_full(self) -> None:
        """The visitor has stopped to take what it is sent."""
        ...

    def visitor_reads(self) -> None:
        """The visitor has taken everything."""
        ...


@implementer(IPushProducer)
class Reading:
    """
    The visitor's connection as the producer of its stream. It is paused while the stream is full, and while
    more than L{MAX_WAITING} bytes wait at the edge.

    @ivar paused: whether nothing is read now.
    """

    def __init__(self, visitor: Flowing) -> None:
        self._visitor = visitor
        self._stream_full = False
        self.paused = False

    def pauseProducing(self) -> None:
        """The stream is full."""
        self._stream_full = True
        self.update()

    def resumeProducing(self) -> None:
        """The stream has room, or there is another."""
        self._stream_full = False
        self.update()

    def stopProducing(self) -> None:
        """The stream is gone."""
        self._stream_full = False
        self.update()

    def update(self) -> None:
        """Pause or resume the transport, if that is due now."""
        visitor = self._visitor
        pause = self._stream_full or visitor.waiting_bytes > MAX_WAITING
        if pause != self.paused and visitor.connected and not visitor.ended:
            self.paused = pause
            if pause:
                visitor.transport.pauseProducing()
            else:
                visitor.transport.resumeProducing()


@implementer(IPushProducer)
class Answering:
    """
    What the visitor is sent, as the producer of its connection.

    @ivar full: whether the visitor has to take something before more is made.
    @ivar stream: where the answer comes from, or None.
    """

    def __init__(self, visitor: Flowing) -> None:
        self._visitor = visitor
        self.full = False
        self.stream: Any = None

    def pauseProducing(self) -> None:
        """The connection's buffer is full."""
        self.full = True
        if self.stream is not None:
            self.stream.pauseProducing()
        self._visitor.visitor_full()

    def resumeProducing(self) -> None:
        """The connection's buffer is empty."""
        self.full = False
        if self.stream is not None:
            self.stream.resumeProducing()
        self._visitor.visitor_reads()

    def stopProducing(self) -> None:
        """The connection is gone: its protocol learns of it itself."""
