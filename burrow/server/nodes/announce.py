"""
Has the other nodes look at once who holds what: a public TCP port that an agent is told of is open on all
nodes by then, and not only after their next look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from burrow.errors import StreamGone
from burrow.mux.session import Session
from burrow.server.nodes.boxes import RefreshBox

WITHIN = 1.0
"""Seconds that a node may take; it looks that often by itself."""


class _Asking(Protocol):
    """One node's stream; C{ended} fires when it has looked, or is lost."""

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is done, one way or another."""
        self.ended.callback(None)


class Announcer:
    """
    @param sessions: those with the other nodes that are linked now.
    """

    def __init__(self, clock: Any, sessions: Callable[[], Iterable[Session]]) -> None:
        self._clock = clock
        self._sessions = sessions
        self._asked = 0
        self._told = 0
        self._telling = DeferredLock()

    async def announce(self) -> None:
        """Returns when the others have looked, after the call; or after L{WITHIN} seconds."""
        self._asked += 1
        await self._telling.run(self._tell, self._asked)

    async def _tell(self, number: int) -> None:
        if self._told >= number:
            return  # many at once ask, as after a restart: one look after all of them suffices
        covered = self._asked
        asking = []
        for session in self._sessions():
            protocol = _Asking()
            try:
                session.open_stream(protocol, RefreshBox().encode())
            except StreamGone:
                continue
            asking.append(protocol)
        # A timeout cancels those that are left, which is an answer of the list's, too.
        await DeferredList([one.ended for one in asking], consumeErrors=True).addTimeout(WITHIN, self._clock)
        for one in asking:
            one.transport.abortConnection()  # nothing, where it has ended
        self._told = covered
