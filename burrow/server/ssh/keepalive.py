"""Finds out whether an ssh client is still there: the kernel may take hours to say so. Imports no Conch."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from burrow.clock import cancel
from burrow.sockets import Way

ASK_EVERY = 10.0
"""Seconds between two looks; a client that was silent for as long is asked."""

SILENT_LOOKS = 3
"""
Looks in a row without a sign of life after which a client is gone: 30 to 40 s of silence. An agent's
connection is given up after 9 s, since its session goes on with the next one; an ssh client's tunnels end
with it.
"""


class Keepalive:
    """
    Watches one connection.

    A sign of life is any byte that came, or that bytes which were sent before are being taken: on a slow line
    a question waits behind what its visitors are sent.

    The looks are counted, and not the time, so that a server whose machine slept asks before it gives anybody
    up.

    @param ask: sends the client something that it has to answer.
    @param gone: called once, when the client is to be given up; nothing is watched any more then.
    @param way: returns what the system knows of the connection, or None where it does not tell.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Callable[[], None],
        gone: Callable[[], None],
        way: Callable[[], Way | None],
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._gone = gone
        self._way = way
        self._heard = False
        self._silent = 0
        self._taken = 0
        self._call = clock.callLater(ASK_EVERY, self._look)

    def heard(self) -> None:
        """Something came. Cheap, for it is called for each piece."""
        self._heard = True

    def stop(self) -> None:
        """Watch no more. May be called more than once."""
        cancel(self._call)

    def _look(self) -> None:
        if self._heard or self._takes():
            self._heard, self._silent = False, 0
        else:
            self._silent += 1
        if self._silent == SILENT_LOOKS:
            self._gone()
            return
        self._call = self._clock.callLater(ASK_EVERY, self._look)
        if self._silent:
            self._ask()

    def _takes(self) -> bool:
        """
        Whether the client took some of what was sent since the last look, and there is more. Were there no
        more, its kernel may have taken our question for a program that stands still.
        """
        way = self._way()
        if way is None:
            return False
        before, self._taken = self._taken, way.taken
        return before < way.taken < way.sent
