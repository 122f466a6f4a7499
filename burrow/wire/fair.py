"""Whose turn it is: a round robin, so that a small stream never waits behind a bulk one."""

from __future__ import annotations

from collections import deque


class RoundRobin:
    """
    The ids of the streams that have something to send, in the order of their turns.

    Bounded by the number of open streams: an id stands here once at most.
    """

    __slots__ = ("_order", "_waiting")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._waiting: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, stream_id: int) -> None:
        """Give the stream a turn after all others, if it has none already."""
        if stream_id not in self._waiting:
            self._waiting.add(stream_id)
            self._order.append(stream_id)

    def discard(self, stream_id: int) -> None:
        """Take the stream's turn away, if it has one."""
        if stream_id in self._waiting:
            self._waiting.discard(stream_id)
            self._order.remove(stream_id)

    def pop(self) -> int:
        """Take the next turn. Call it only when there is one."""
        stream_id = self._order.popleft()
        self._waiting.discard(stream_id)
        return stream_id
