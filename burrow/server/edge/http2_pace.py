"""
The pace at which an HTTP/2 connection's answers are taken: of all together, and of each.

All together is not enough: a visitor could keep answers for ever, with a stream of the tunnel and a
connection of the upstream each, as long as it takes one. So an answer that waits for its own window has to
move as much as a connection has to. Of those that wait for the connection's window, or for its socket, our
turns decide which moves: so the connection has to move as much for each of them.

A visitor opens no window for what has not reached it. The system may have megabytes under way, for which a
slow line takes minutes, and nothing moves here meanwhile. So an answer that is found too slow has time until
its visitor has acknowledged all that was sent by then, and a window more, if that goes on at the least rate
of all such answers together. What is sent behind does not count: a visitor could ask for more and more of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.server.edge.pace import Pace, Rate
from burrow.server.edge.sweep import Sweep
from burrow.sockets import Way


class AnswersPace(Pace):
    """
    Resets the streams whose visitor takes less than C{rate} of an answer that waits all the time: one to two
    windows after it began to wait, or two to three after what was sent has arrived. They are looked at once a
    window, while any waits. Calls C{late}, too, if the connection moves less than C{rate} for each that moves
    too little and waits for the connection.

    @param count: of all answers: see L{Pace}, also for the rest.
    @param waiting: the streams that have something to send, by their ids; the caller's, who changes it.
    @param way: returns what is under way on the connection: see L{burrow.sockets.way}.
    """

    def __init__(
        self,
        sweep: Sweep,
        rate: Rate,
        count: Callable[[], int | None],
        late: Callable[[], None],
        waiting: dict[int, Any],
        way: Callable[[], Way | None],
    ) -> None:
        super().__init__(sweep, rate, count, late)
        self._least = rate.least * rate.window
        self._waiting = waiting
        self._way = way
        self._taken = 0  # as the window began
        # What was sent on the connection then; None in a first window: most is in buffers of ours.
        self._bound: int | None = None
        self._moved: dict[int, int] = {}  # as each was when the window began
        # Those found too slow when it began: what was sent on the connection when they first were; None once
        # all of that has arrived.
        self._slow: dict[int, int | None] = {}

    def watch(self) -> None:
        """See L{Pace}."""
        if self.deadline is None:
            super().watch()
            if self.deadline is not None:
                way = self._way()
                self._taken, self._bound = (0 if way is None else way.taken), None
                self._moved = {id: stream.moved for id, stream in self._waiting.items() if stream.waits}

    def waits_no_more(self, stream: Any) -> None:
        """
        What was to be sent of an answer is taken: its time begins anew when it waits again, but not if there
        is more where it comes from. Else a visitor that opens its window by what is here, a few bytes, would
        never be found too slow. Cheap, for it is called often.
        """
        id = stream.id
        if (id in self._moved or id in self._slow) and not stream.more_waits:
            self._moved.pop(id, None)
            self._slow.pop(id, None)

    def timed_out(self) -> None:
        """See L{Pace}."""
        count, way = self._count(), self._way()
        moved = count - self._before if count is not None else 0
        arrived = 0
        if way is not None:
            arrived = (way.taken if self._bound is None else min(way.taken, self._bound)) - self._taken
        if count is not None and max(moved, arrived) < self._least:
            self._late()
            return
        held_up = self._judge(way, arrived)
        if held_up and moved < held_up * self._least:
            self._late()
            return
        self.watch()
        self._bound = None if way is None else way.sent

    def _judge(self, way: Way | None, arrived: int) -> int:
        """
        Reset the streams that are too slow, for which their own window is to blame.

        @param arrived: bytes under way that have arrived in the window.
        @return: how many others are too slow.
        """
        before, self._slow = self._slow, {}
        judged, spared = [], []
        for id, moved in self._moved.items():
            stream = self._waiting.get(id)
            if stream is None or not stream.waits or stream.moved - moved >= self._least:
                continue
            sent = None if way is None else before.get(id, way.sent)
            self._slow[id] = sent if way is not None and sent is not None and way.taken < sent else None
            if sent is None:
                judged.append(stream)
            elif id not in before or self._slow[id] is not None:
                spared.append(stream)
        if arrived < len(spared) * self._least:
            judged += spared
        for stream in judged:
            if stream.stalled:
                stream.too_slow()
        return sum(stream.waits for stream in judged)
