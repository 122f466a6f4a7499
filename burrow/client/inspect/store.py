"""
The inspector's memory: a ring, bounded by bytes, of what passed through the agent's tunnels. No I/O.

All that it does while a request passes is to append bytes. What happened is noted in a short log of its own,
from which L{burrow.client.inspect.events} tells those who follow.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from burrow.client.inspect.captured import Captured, fields_cost
from burrow.traffic.hub import Listener
from burrow.traffic.record import Message, Record

MAX_BODY = 1024 * 1024
"""Bytes of a body that are kept, and of all messages of one record, at most."""

MAX_MEMORY = 64 * 1024 * 1024
"""Bytes in all, by default."""

MAX_EVENTS = 2000
"""Events that a follower may be behind, at most."""


class Event(NamedTuple):
    """
    Something that happened.

    @ivar number: from 1, without gaps. @ivar kind: "begun", "answered", "ended", "message" or "cleared".
    @ivar id: the record's. @ivar message: the message's number in its record, for "message"; else -1.
    """

    number: int
    kind: str
    id: str
    message: int = -1


class Store(Listener):
    """
    @param max_memory: bytes in all, about. @param max_body: see L{MAX_BODY}.
    @ivar cost: bytes that are kept, about. @ivar dropped: how many records were dropped for want of room.
    @ivar events: the newest L{MAX_EVENTS}. @ivar last_event: the number of the newest; 0 before the first.
    @ivar followed: whether events are noted: from when somebody first follows them.
    @ivar on_event: called after each event.
    """

    bodies = True

    def __init__(self, max_memory: int = MAX_MEMORY, max_body: int = MAX_BODY) -> None:
        self.max_memory = max_memory
        self.max_body = max_body
        self.cost = 0
        self.dropped = 0
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.last_event = 0
        self.followed = False
        self.on_event: Callable[[], None] = lambda: None
        self._all: dict[str, Captured] = {}
        # Of _all, in the order of their end, and of their beginning. A dict takes long to find its first item
        # once many before it are gone.
        self._ended: OrderedDict[str, Captured] = OrderedDict()
        self._open: OrderedDict[str, Captured] = OrderedDict()
        self._replays: dict[str, str] = {}

    # -- what is kept ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many records are kept."""
        return len(self._all)

    def get(self, id: str) -> Captured | None:
        """A record by its id; None if it is not kept."""
        return self._all.get(id)

    def newest_first(self) -> Iterator[Captured]:
        """All that are kept, those that began last first."""
        return reversed(self._all.values())

    def clear(self) -> None:
        """Forget all. Of those that have not ended nothing more is kept either."""
        self._all.clear()
        self._ended.clear()
        self._open.clear()
        self.cost = 0
        self._happened("cleared", "")

    def mark_replay(self, id: str, of: str) -> None:
        """The record with this id, which begins now, repeats another one."""
        self._replays[id] = of

    # -- what happens: see Listener -------------------------------------------------------------------------

    def begun(self, record: Record) -> None:
        """See L{Listener}."""
        id = record.id
        captured = Captured(record, self._replays.pop(id, "") if self._replays else "")
        self._all[id] = self._open[id] = captured
        self.cost += captured.cost
        if self.followed:
            self._happened("begun", id)
        if self.cost > self.max_memory:
            self._make_room()

    def answered(self, record: Record) -> None:
        """See L{Listener}."""
        if self.followed and record.id in self._all:
            self._happened("answered", record.id)

    def ended(self, record: Record) -> None:
        """See L{Listener}."""
        captured = self._open.pop(record.id, None)
        if captured is not None:
            self._ended[record.id] = captured
            if self.followed:
                self._happened("ended", record.id)
            self._grown(captured, fields_cost(record.response_headers, record.response_size))

    def body(self, record: Record, outbound: bool, data: bytes) -> None:
        """See L{Listener}."""
        captured = self._all.get(record.id)
        if captured is not None:
            kept = captured.body(outbound).add(data, self.max_body)
            if kept:
                self._grown(captured, kept)

    def message(self, record: Record, outbound: bool, message: Message) -> None:
        """See L{Listener}. Of many messages the newest are kept."""
        captured = self._all.get(record.id)
        if captured is None:
            return
        if len(message.data) > self.max_body:
            message = Message(message.kind, message.data[: self.max_body], message.size, message.when)
        grown = captured.add_message(outbound, message, self.max_body)
        if self.followed:
            self._happened("message", record.id, captured.message_count - 1)
        self._grown(captured, grown)

    def _grown(self, captured: Captured, by: int) -> None:
        captured.cost += by
        self.cost += by
        if self.cost > self.max_memory:
            self._make_room()

    def _make_room(self) -> None:
        """Drop what ended first, and if all are open what began first."""
        while self.cost > self.max_memory and self._all:
            id, captured = (self._ended or self._open).popitem(last=False)
            self.cost -= captured.cost
            del self._all[id]
            self.dropped += 1

    def _happened(self, kind: str, id: str, message: int = -1) -> None:
        self.last_event += 1
        self.events.append(Event(self.last_event, kind, id, message))
        self.on_event()
