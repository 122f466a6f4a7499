"""
Tells the other nodes at once of a lease, before its agent is told that its tunnel is open: so that a public
TCP port is open on all nodes by then, and all of them judge visitors by the tunnel's present rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import StreamGone
from burrow.mux.session import Session
from burrow.server.nodes.boxes import MAX_TOLD, RefreshBox
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Lease, from_notes, to_text
from burrow.wording import count_of

WITHIN = 1.0
"""Seconds to wait for a node, which reads the leases as often by itself."""


class _RefreshStream(Protocol):
    """
    The request to one node.

    @ivar ended: fires when the node has read the leases, or the stream is lost. @ivar read: whether it has.
    """

    transport: Any
    read = False

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The node has read the leases, or cannot."""
        self.read = reason.check(ConnectionDone) is not None
        self.ended.callback(None)


async def refresh(cluster: Cluster, told: str = "") -> None:
    """
    Another node asks to read what changed, or tells a lease of its own. @param told: see L{RefreshBox}.

    @raise StoreError: the store is needed and cannot tell.
    """
    lease = from_notes(Lease, {"": told}).get("") if told else None
    if lease is None or lease.name in cluster.leases.held or lease.node not in cluster.others:
        await cluster.look()
    if lease is not None and lease.node in cluster.others and cluster.leases.told(lease):
        for listener in cluster.on_leases:
            listener([lease.name])


class Announcer:
    """
    @param sessions: returns the sessions with the linked nodes.
    """

    log = Logger()

    def __init__(self, clock: Any, sessions: Callable[[], Iterable[Session]]) -> None:
        self._clock = clock
        self._sessions = sessions
        self._told: dict[str, str] = {}  # the leases for the next round, by name
        self._look = False
        self._requested = 0
        self._done = 0
        self._lock = DeferredLock()

    async def announce(self, lease: Lease | None = None) -> None:
        """
        Returns when the other nodes have read the leases since the call, or after L{WITHIN} seconds.

        @param lease: the one that they have to know: they are told it, so that no store is needed.
        """
        text = "" if lease is None else to_text(lease)
        if lease is not None and len(text.encode()) <= MAX_TOLD:
            self._told[lease.name] = text
        else:
            self._look = True
        self._requested += 1
        await self._lock.run(self._refresh_others, self._requested)

    async def _refresh_others(self, number: int) -> None:
        if self._done >= number:
            return  # an earlier round began after this call, as when many tunnels open at once
        covered = self._requested
        boxes = [RefreshBox(text).encode() for text in self._told.values()]
        if self._look:
            boxes.append(RefreshBox().encode())
        self._told, self._look = {}, False
        streams = []
        for session in self._sessions():
            for box in boxes:
                protocol = _RefreshStream()
                try:
                    session.open_stream(protocol, box)
                except StreamGone:
                    break
                streams.append(protocol)
        # A timeout cancels those that have not fired, and the list fires.
        await DeferredList([stream.ended for stream in streams], consumeErrors=True).addTimeout(
            WITHIN, self._clock
        )
        missing = sum(not stream.read for stream in streams)
        for stream in streams:
            stream.transport.abortConnection()  # has no effect on one that has ended
        if missing:
            self.log.warn(
                "{count} about tunnels that were opened got no answer of another node within {within:.0f} s: "
                "until that node reads the store, it serves by what it knew",
                count=count_of(missing, "message"),
                within=WITHIN,
            )
        self._done = covered
