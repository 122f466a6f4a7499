"""
Which of our streams the peer has not taken yet, so that it is never sent more than its backlog holds.

Source: the reference implementation keeps 256 streams that its program has not accepted, and resets what
exceeds them. It takes streams in the order of their SYNs, so an ACK says that every stream announced before
was taken, too. Other implementations acknowledge a stream only with its first byte: there, a stream that
was read long ago may stay without ACK for as long as its answer takes. Time tells which it is, so a user
with a clock calls L{Backlog.presume_taken}: see L{burrow.mux.session.STALL}.

::

    WAITING      its SYN may not be sent yet: the backlog is full
    ANNOUNCED    its SYN is sent, or goes out with its next turn; counts against the backlog
    (no entry)   taken, presumed to be taken, or gone
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_UNACKED = 256
"""Streams that are announced and not taken, at most."""


class Backlog:
    """
    The ids of the streams that we opened, until the peer has taken them. Bounded by the open streams.

    @ivar waiting: the streams that wait for room, in order.
    @ivar progress: how many acknowledgements made room so far.
    """

    __slots__ = ("_announced", "progress", "waiting")

    def __init__(self) -> None:
        self._announced: OrderedDict[int, None] = OrderedDict()
        self.waiting: OrderedDict[int, None] = OrderedDict()
        self.progress = 0

    def announce(self, stream_id: int) -> bool:
        """Count a new stream. @return: whether its SYN may be sent now; otherwise L{admit} names it later."""
        if self.waiting or len(self._announced) >= MAX_UNACKED:
            self.waiting[stream_id] = None
            return False
        self._announced[stream_id] = None
        return True

    def admit(self) -> list[int]:
        """The streams that waited and may be announced now, the first first."""
        admitted = []
        while self.waiting and len(self._announced) < MAX_UNACKED:
            stream_id, _ = self.waiting.popitem(last=False)
            self._announced[stream_id] = None
            admitted.append(stream_id)
        return admitted

    def taken(self, stream_id: int) -> None:
        """The peer has this stream, and so all that were announced before it."""
        if stream_id in self._announced:
            self.progress += 1
            while self._announced.popitem(last=False)[0] != stream_id:
                pass

    def presume_taken(self, sent: Callable[[int], bool]) -> None:
        """Count no more those whose SYN was sent, by the answer of C{sent}."""
        for stream_id in [i for i in self._announced if sent(i)]:
            del self._announced[stream_id]

    def discard(self, stream_id: int) -> None:
        """The stream is gone."""
        self._announced.pop(stream_id, None)
        self.waiting.pop(stream_id, None)
