"""
Tells what happens as it happens, as server-sent events (WHATWG HTML section 9.2).

Nothing waits for a follower but its place in the store's log of events: one that reads slowly, or not at all,
costs nothing more, and one that falls behind is told to look at the list again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from burrow.client.inspect.describe import message, summary
from burrow.client.inspect.store import Event, Store

MAX_FOLLOWERS = 32
"""Followers at the same time, at most."""

FLUSH_EVERY = 0.1
"""Seconds in which events are gathered before they are written."""

MAX_FLUSH = 100
"""Events that one follower is told at a time, at most. One that is more behind is told "reset"."""

PING_EVERY = 15.0
"""Seconds after which a comment is sent, so that whoever reads knows that the connection is there."""


def as_sse(kind: str, data: Any, number: int) -> bytes:
    """One event."""
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def described(store: Store, event: Event) -> Any:
    """What an event tells: the record as it is now; None if it is not kept any more."""
    if event.kind == "cleared":
        return {}
    captured = store.get(event.id)
    if captured is None:
        return None
    if event.kind != "message":
        return summary(captured)
    position = event.message - captured.first_message
    if position < 0:
        return None
    return {"id": event.id, "message": message(event.message, *captured.messages[position])}


@implementer(IPushProducer)
class Follower:
    """
    One who follows. @ivar place: the number of the last event that it was told or that it missed.

    @param request: a L{twisted.web.http.Request} whose head is written already.
    """

    def __init__(self, store: Store, request: Any, place: int, over: Callable[[Follower], None]) -> None:
        self._store = store
        self._request = request
        self._over = over
        self._paused = False
        self.place = place
        request.registerProducer(self, True)

    def flush(self) -> None:
        """Write what it was not told yet."""
        store = self._store
        behind = store.last_event - self.place
        if self._paused or not behind:
            return
        if behind < 0 or behind > min(MAX_FLUSH, len(store.events)):
            # Such as a number of an agent that ran here before.
            self.place = store.last_event
            self._request.write(as_sse("reset", {"missed": max(behind, 0)}, self.place))
            return
        new = [store.events[position] for position in range(-behind, 0)]
        self.place = store.last_event
        told = ((event, described(store, event)) for event in new)
        written = b"".join(as_sse(event.kind, data, event.number) for event, data in told if data is not None)
        if written:
            self._request.write(written)

    def ping(self) -> None:
        """Send a comment."""
        if not self._paused:
            self._request.write(b": ping\n\n")

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = False
        self.flush()

    def stopProducing(self) -> None:
        """See L{IPushProducer}: it has left."""
        self._paused = True
        self._over(self)

    def finish(self) -> None:
        """End its answer."""
        self._request.unregisterProducer()
        self._request.finish()


class Followers:
    """All who follow. No timer runs while there is none."""

    def __init__(self, reactor: Any, store: Store) -> None:
        self._reactor = reactor
        self._store = store
        self._all: set[Follower] = set()
        self._flushing: Any = None
        self._pinging: Any = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def add(self, request: Any, place: int | None) -> None:
        """
        Tell C{request} what happens from now on.

        @param place: the number of the last event that it knows; None for none before now.
        """
        known = self._store.last_event if place is None else place
        request.write(b": burrow\nretry: 1000\n\n")
        follower = Follower(self._store, request, known, self._gone)
        self._all.add(follower)
        request.notifyFinish().addBoth(lambda _: self._gone(follower))
        self._store.followed = True
        self._store.on_event = self._happened
        follower.flush()
        if self._pinging is None:
            self._pinging = self._reactor.callLater(PING_EVERY, self._ping)

    def stop(self) -> None:
        """Let all go."""
        for follower in list(self._all):
            self._gone(follower)
            follower.finish()

    def _gone(self, follower: Follower) -> None:
        self._all.discard(follower)
        if not self._all:
            self._store.on_event = lambda: None
            for timer in (self._flushing, self._pinging):
                if timer is not None:
                    timer.cancel()
            self._flushing = self._pinging = None

    def _happened(self) -> None:
        if self._flushing is None:
            self._flushing = self._reactor.callLater(FLUSH_EVERY, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        for follower in list(self._all):
            follower.flush()

    def _ping(self) -> None:
        self._pinging = self._reactor.callLater(PING_EVERY, self._ping)
        for follower in list(self._all):
            follower.ping()
