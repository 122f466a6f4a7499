"""
What happened lately, kept in the store for all nodes: for C{burrow events}, and whoever asks why.

Each node has a ring of L{RING} notes that live a day. What is noted in one turn of L{EVERY} is written
together; of more than a ring holds, and of what cannot be written, the last are kept.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import attr
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from burrow.errors import StoreError

RING = 200
"""Events that a node keeps."""

EVERY = 1.0
"""Seconds between two writes."""

_SPACE = "events"
_TTL = 86_400.0


@attr.frozen
class Event:
    """
    Something that happened.

    @ivar when: seconds since the epoch. @ivar kind: a word for programs. @ivar text: a sentence for people.
    """

    when: float
    node: str
    kind: str
    text: str


class Events:
    """@param own_id: this node's id."""

    log = Logger()

    def __init__(self, clock: Any, store: Any, own_id: str) -> None:
        self._clock = clock
        self._store = store
        self._own_id = own_id
        self._pending: deque[Event] = deque(maxlen=RING)
        self._count = 0
        self._loop = LoopingCall(self.flush)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to write."""
        self._loop.start(EVERY, now=False)

    async def stop(self) -> None:
        """Write what is left."""
        if self._loop.running:
            self._loop.stop()
        await self.flush()

    def add(self, kind: str, text: str) -> None:
        """Something happened: "agent-connected", "agent-gone", "tunnel-open"..."""
        self._pending.append(Event(self._clock.seconds(), self._own_id, kind, text))

    async def flush(self) -> None:
        """Write what happened."""
        while self._pending:
            event = self._pending[0]
            key = f"{self._own_id}-{self._count % RING:03}"
            try:
                await self._store.put_note(_SPACE, key, json.dumps(attr.asdict(event)), _TTL)
            except StoreError as error:
                self.log.debug("events wait for the store: {error}", error=error)
                return
            self._count += 1
            if self._pending and self._pending[0] is event:
                self._pending.popleft()


async def recent(store: Any) -> list[Event]:
    """All that the store has, the oldest first. @raise StoreError: it cannot tell."""
    notes: dict[str, str] = await store.notes(_SPACE)
    return sorted((Event(**json.loads(text)) for text in notes.values()), key=lambda event: event.when)
