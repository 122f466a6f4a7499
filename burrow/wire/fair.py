"""Which stream sends next: a round robin, so that a small stream never waits behind a bulk one."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial


class RoundRobin:
    """
    The ids of the streams that have something to send, in the order of their turns.

    Each operation takes constant time. At most one entry a stream, so the number of open streams bounds it.
    C{add} and C{pop} are the dictionary's own methods: each is called once a frame, and a method of ours
    would cost several times as much.

    @ivar order: the ids; empty when no stream has a turn.
    @ivar add: called with an id, gives that stream a turn after all others, if it has none already.
    @ivar pop: takes the next turn: an id, and None. Call it only when there is one.
    """

    __slots__ = ("add", "order", "pop")

    def __init__(self) -> None:
        self.order: OrderedDict[int, None] = OrderedDict()
        self.add = self.order.setdefault
        self.pop = partial(self.order.popitem, last=False)

    def discard(self, stream_id: int) -> None:
        """Take the stream's turn away, if it has one."""
        self.order.pop(stream_id, None)
