"""
Asks the other nodes to read the leases at once, so that a public TCP port is open on all nodes before its
agent is told of it.
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
"""Seconds to wait for a node, which reads the leases as often by itself."""


class _RefreshStream(Protocol):
    """The request to one node. C{ended} fires when the node has read the leases, or the stream is lost."""

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The node has read the leases, or cannot."""
        self.ended.callback(None)


class Announcer:
    """
    @param sessions: returns the sessions with the linked nodes.
    """

    def __init__(self, clock: Any, sessions: Callable[[], Iterable[Session]]) -> None:
        self._clock = clock
        self._sessions = sessions
        self._requested = 0
        self._done = 0
        self._lock = DeferredLock()

    async def announce(self) -> None:
        """Returns when the other nodes have read the leases since the call, or after L{WITHIN} seconds."""
        self._requested += 1
        await self._lock.run(self._refresh_others, self._requested)

    async def _refresh_others(self, number: int) -> None:
        if self._done >= number:
            return  # an earlier round began after this call, as when many tunnels open at once
        covered = self._requested
        streams = []
        for session in self._sessions():
            protocol = _RefreshStream()
            try:
                session.open_stream(protocol, RefreshBox().encode())
            except StreamGone:
                continue
            streams.append(protocol)
        # A timeout cancels those that have not fired, and the list fires.
        await DeferredList([stream.ended for stream in streams], consumeErrors=True).addTimeout(
            WITHIN, self._clock
        )
        for stream in streams:
            stream.transport.abortConnection()  # has no effect on one that has ended
        self._done = covered
