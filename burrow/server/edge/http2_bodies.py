"""
The pace at which the bodies of an HTTP/2 connection's requests come: of each, as if it had a connection.

With HTTP/1.1 each request has a connection, and its body comes at the least rate or the request is answered
with 408. To count all bodies of a connection together would not be enough: a visitor could keep a hundred
requests for ever, with a stream of the tunnel and a connection of the upstream each, as long as it sends one.

But a visitor has one line for all, and chooses the order: some send one body after the other, and a long one
keeps the others waiting. So a body that comes too slowly is answered with 408 only if the connection brings
less than the least rate for each body that is waited for, which is what as many connections would have to
bring. A line that does brings them all, whatever the order; and to keep requests costs what it costs with
HTTP/1.1.

Nothing is counted of a body that is not read on: what came of it waits for the tunnel's stream, or what came
of others takes up the connection's window. While a visitor does not take its answers, nothing at all is read:
then what it takes counts like what it sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.server.edge.pace import Rate
from burrow.server.edge.sweep import Sweep


class BodiesPace:
    """
    Answers with 408 the requests whose body comes too slowly, one to two windows after it was waited for
    first: see the module's docstring. They are looked at once a window, while any is waited for.

    @param streams: all streams by their ids; the caller's, who changes it.
    @param came: returns the bytes that have come of all bodies so far.
    @param shut: returns whether the connection's window lets no body come now.
    @param full: returns whether nothing is read now, since the visitor does not take its answers.
    @param taken: returns the bytes that it has taken so far; None if the system does not tell.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    def __init__(
        self,
        sweep: Sweep,
        rate: Rate,
        streams: dict[int, Any],
        came: Callable[[], int],
        shut: Callable[[], bool],
        full: Callable[[], bool],
        taken: Callable[[], int | None],
    ) -> None:
        self.deadline: float | None = None
        self._sweep = sweep
        self._window = rate.window
        self._least = rate.least * rate.window
        self._streams = streams
        self._came, self._shut, self._full, self._taken = came, shut, full, taken
        # As the window began:
        self._waited: dict[int, int] = {}  # what had come of each that was waited for
        self._came_before = 0
        self._taken_before: int | None = None

    def watch(self) -> None:
        """A body is waited for from now on. Nothing happens if one is watched already: it is called often."""
        if self.deadline is None and self._least:
            self._waited = {id: stream.came for id, stream in self._streams.items() if stream.awaits_body}
            if self._waited:
                self._came_before, self._taken_before = self._came(), self._taken()
                self._sweep.add(self, self._window)

    def stop(self) -> None:
        """Watch no more."""
        if self.deadline is not None:
            self._sweep.discard(self)

    def timed_out(self) -> None:
        """Called by the sweep: a window has passed."""
        if not self._shut():
            self._judge()
        self.watch()

    def _judge(self) -> None:
        """Answer those that are too slow, if all together are."""
        streams = self._streams
        waited = [(streams[id], came) for id, came in self._waited.items() if id in streams]
        waited = [(stream, came) for stream, came in waited if stream.awaits_body]
        moved = self._came() - self._came_before
        if self._full():
            taken = self._taken()
            if taken is None or self._taken_before is None:
                return
            moved += taken - self._taken_before
        if moved < len(waited) * self._least:
            for stream, came in waited:
                if stream.came - came < self._least:
                    stream.sends_too_slowly()
