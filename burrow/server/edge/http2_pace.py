"""
The pace at which an HTTP/2 connection's answers are taken: of all together, and of each.

All together is not enough: a visitor could keep answers for ever, with a stream of the tunnel and a
connection of the upstream each, as long as it takes one. So an answer that waits for its own window has to
move as much as a connection has to. Of those that wait for the connection's window, or for its socket, our
turns decide which moves: so the connection has to move as much for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.server.edge.pace import Pace, Rate
from burrow.server.edge.sweep import Sweep


class AnswersPace(Pace):
    """
    Resets the streams whose visitor takes less than C{rate} of an answer that waits all the time: one to two
    windows after it began to wait. They are looked at once a window, while any waits. Calls C{late}, too, if
    the connection moves less than C{rate} for each that moves too little and waits for the connection.

    @param count: of all answers: see L{Pace}, also for the rest.
    @param waiting: the streams that have something to send, by their ids; the caller's, who changes it.
    """

    def __init__(
        self,
        sweep: Sweep,
        rate: Rate,
        count: Callable[[], int | None],
        late: Callable[[], None],
        waiting: dict[int, Any],
    ) -> None:
        super().__init__(sweep, rate, count, late)
        self._least = rate.least * rate.window
        self._waiting = waiting
        self._moved: dict[int, int] = {}  # as each was when the window began

    def watch(self) -> None:
        """See L{Pace}."""
        if self.deadline is None:
            super().watch()
            if self.deadline is not None:
                self._moved = {id: stream.moved for id, stream in self._waiting.items() if stream.waits}

    def waits_no_more(self, id: int) -> None:
        """An answer is taken: its time begins anew when it waits again. Cheap, for it is called often."""
        self._moved.pop(id, None)

    def timed_out(self) -> None:
        """See L{Pace}."""
        count = self._count()
        passed = count - self._before if count is not None else 0
        moved, self._moved = self._moved, {}
        super().timed_out()
        held_up = 0
        for id, before in moved.items():
            stream = self._waiting.get(id)
            if stream is None or not stream.waits or stream.moved - before >= self._least:
                continue
            if stream.stalled:
                stream.too_slow()
            else:
                held_up += 1
        if held_up and passed < held_up * self._least:
            self._late()
