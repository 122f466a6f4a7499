"""
Which of our streams the peer has not accepted yet, so that we announce no more than its backlog holds.

Source: the reference implementation queues 256 streams that its program has not accepted, and resets any
more. It accepts streams in the order of their SYNs, so an ACK for one stream is one for all that were
announced before it. Other implementations send the ACK with the stream's first byte: their program may have
accepted a stream whose ACK comes only with its answer. Only time shows which kind the peer is, so a user
with a clock calls L{Backlog.presume_taken}: see L{burrow.mux.backlog}.

The states of a stream of ours::

    WAITING      its SYN is held back, since the backlog is full
    ANNOUNCED    its SYN was sent, or goes out with its next turn; counts against the backlog
    (no entry)   acknowledged, presumed to be accepted, or closed
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_UNACKED = 256
"""Streams that are announced and not acknowledged, at most."""


class Backlog:
    """
    The ids of the streams that we opened, until the peer acknowledges them. The number of open streams
    bounds it.

    @ivar waiting: the streams whose SYN is held back, in order.
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
        """Announce streams that waited, as many as there is room for. @return: their ids, in order."""
        admitted = []
        while self.waiting and len(self._announced) < MAX_UNACKED:
            stream_id, _ = self.waiting.popitem(last=False)
            self._announced[stream_id] = None
            admitted.append(stream_id)
        return admitted

    def taken(self, stream_id: int) -> None:
        """The peer has accepted this stream, and so all that were announced before it."""
        if stream_id in self._announced:
            self.progress += 1
            while self._announced.popitem(last=False)[0] != stream_id:
                pass

    def presume_taken(self, sent: Callable[[int], bool]) -> None:
        """Stop counting the streams whose SYN was sent: those for which C{sent} returns True."""
        for stream_id in [i for i in self._announced if sent(i)]:
            del self._announced[stream_id]

    def discard(self, stream_id: int) -> None:
        """The stream is closed."""
        self._announced.pop(stream_id, None)
        self.waiting.pop(stream_id, None)
