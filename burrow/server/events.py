"""
Recent events of all nodes, kept in the store for a day: for C{burrow events}.

Each node writes its events into a ring of L{RING} notes, every L{EVERY} seconds; L{KEPT} events of earlier
processes stay beside it. If there are more, or they cannot be written, the latest are kept.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import attr
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from burrow.clock import DAY
from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.shown import escaped
from burrow.store.base import IStore, record

RING = 200
"""Events that a node keeps."""

KEPT = 2000
"""Events of earlier processes, at most."""

EVERY = 1.0
"""Seconds between two writes."""

_SPACE = "events"


@attr.frozen
class Event:
    """
    Something that happened.

    @ivar when: seconds since the epoch. @ivar kind: a word for programs. @ivar text: a sentence for people.
    @ivar number: how many its node told before; 0 in those of older releases.
    """

    when: float
    node: str
    kind: str
    text: str
    number: int = 0

    @property
    def order(self) -> tuple[float, str, int]:
        """Sorts events by their time, and those of a node by their order."""
        return self.when, self.node, self.number


class Events:
    """
    @param own_id: this node's id. @param now: returns seconds since the epoch.
    @ivar listeners: called, each with the L{Event}, at once when there is one.
    """

    log = Logger()

    def __init__(self, clock: Any, store: IStore, own_id: str, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._store = store
        self._own_id = own_id
        self._pending: deque[Event] = deque(maxlen=RING)
        self.listeners: list[Callable[[Event], None]] = []
        self._told = self._count = 0
        self._trimmed = False
        self._writing = DeferredLock()
        self._loop = repeating(clock, self.flush, "writing events")

    def start(self) -> None:
        """Begin to write, regularly."""
        self._loop.start(EVERY, now=False)

    async def stop(self) -> None:
        """Write what is left."""
        if self._loop.running:
            self._loop.stop()
        await self.flush()

    def add(self, kind: str, text: str) -> None:
        """Add an event. @param kind: "agent-connected", "agent-gone", "tunnel-open"..."""
        self._told += 1
        event = Event(self._now(), self._own_id, kind, escaped(text), self._told)
        self._pending.append(event)
        for listener in list(self.listeners):
            listener(event)

    async def flush(self) -> None:
        """Write the events that are not in the store yet."""
        await self._writing.run(self._flush)

    async def _flush(self) -> None:
        try:
            await self._trim()
        except StoreError as error:
            self.log.debug("events wait for the store: {error}", error=error)
            return
        while self._pending:
            event = self._pending[0]
            key = f"{self._own_id}-{self._count % RING:03}"
            try:
                await self._store.put_note(_SPACE, key, json.dumps(attr.asdict(event)), DAY)
            except StoreError as error:
                self.log.debug("events wait for the store: {error}", error=error)
                return
            self._count += 1
            if self._pending and self._pending[0] is event:
                self._pending.popleft()

    async def _trim(self) -> None:
        """Once, at the start: of the events of earlier processes, remove all but the latest L{KEPT}."""
        if self._trimmed:
            return
        notes = await self._store.notes(_SPACE)
        self._trimmed = True
        by_time = sorted(notes, key=lambda key: found.when if (found := _event(notes[key])) else 0.0)
        for key in by_time[:-KEPT]:
            await self._store.swap_note(_SPACE, key, notes[key], None)


def _event(text: str) -> Event | None:
    """The event in a note; None if this release cannot read it."""
    try:
        event = record(Event, json.loads(text))
        texts = all(isinstance(one, str) for one in (event.node, event.kind, event.text))
        return event if texts and 0 <= event.when < 1e11 and isinstance(event.number, int) else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


async def recent(store: IStore) -> list[Event]:
    """All events in the store, the oldest first. @raise StoreError: the store cannot answer."""
    notes = await store.notes(_SPACE)
    found = [event for text in notes.values() if (event := _event(text)) is not None]
    return sorted(found, key=lambda event: event.order)
