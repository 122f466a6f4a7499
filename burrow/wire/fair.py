"""Whose turn it is: a round robin, so that a small stream never waits behind a bulk one."""

from __future__ import annotations

from collections import OrderedDict


class RoundRobin:
    """
    The ids of the streams that have something to send, in the order of their turns.

    Each operation takes constant time. Bounded by the number of open streams: an id stands here once at most.

    @ivar order: the ids. Whether there is a turn is asked of it: a call of our own costs more, once a frame.
    """

    __slots__ = ("order",)

    def __init__(self) -> None:
        self.order: OrderedDict[int, None] = OrderedDict()

    def add(self, stream_id: int) -> None:
        """Give the stream a turn after all others, if it has none already."""
        self.order[stream_id] = None

    def discard(self, stream_id: int) -> None:
        """Take the stream's turn away, if it has one."""
        self.order.pop(stream_id, None)

    def pop(self) -> int:
        """Take the next turn. Call it only when there is one."""
        return self.order.popitem(last=False)[0]
