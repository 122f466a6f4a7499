"""What the inspector keeps of one request or connection. No I/O."""

from __future__ import annotations

from collections import deque
from itertools import chain

from burrow.traffic.record import Fields, Message, Record

ENTRY_COST, FIELD_COST, MESSAGE_COST = 2048, 150, 250
"""Bytes that Python needs for what has no bytes of its own, about."""

MAX_MESSAGES = 1000
"""Messages of one record that are kept, at most: the newest."""


class Body:
    """
    A body as it passed: still with its Content-Encoding, without its framing.

    @ivar data: its beginning, at most as much as the store keeps of a body. @ivar size: bytes of the whole.
    """

    __slots__ = ("data", "size")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.size = 0

    @property
    def truncated(self) -> bool:
        """Whether only its beginning is kept."""
        return len(self.data) < self.size

    def add(self, data: bytes, limit: int) -> int:
        """Keep more of it, up to C{limit} bytes in all. @return: how many bytes more are kept."""
        self.size += len(data)
        room = limit - len(self.data)
        if room <= 0:
            return 0
        data = data if len(data) <= room else data[:room]
        if not self.data:
            self.data = data  # mostly all of it: not copied
        else:
            if isinstance(self.data, bytes):
                self.data = bytearray(self.data)
            self.data += data
        return len(data)


class Captured:
    """
    One record, with its bodies and messages.

    @ivar record: it grows until it has ended. @ivar request, response: the bodies.
    @ivar messages: whether each goes to the visitor, and the message; the newest. @ivar first_message: the
        number, from 0, of the first one that is still kept.
    @ivar replay_of: the id of the record that this one repeats; empty if it repeats none.
    @ivar cost: bytes of memory, about.
    """

    __slots__ = (
        "cost",
        "first_message",
        "messages",
        "messages_cost",
        "record",
        "replay_of",
        "request",
        "response",
    )

    NO_BODY = Body()
    """The body of what has none: never changed."""

    NO_MESSAGES: deque[tuple[bool, Message]] = deque()
    """Likewise."""

    def __init__(self, record: Record, replay_of: str = "") -> None:
        self.record = record
        self.request = self.response = self.NO_BODY
        self.messages = self.NO_MESSAGES
        self.messages_cost = 0
        self.first_message = 0
        self.replay_of = replay_of
        self.cost = ENTRY_COST + fields_cost(record.request_headers, record.request_size) + len(record.target)

    def body(self, outbound: bool) -> Body:
        """The response's if C{outbound}, else the request's: to be added to."""
        if outbound:
            if self.response is self.NO_BODY:
                self.response = Body()
            return self.response
        if self.request is self.NO_BODY:
            self.request = Body()
        return self.request

    def add_message(self, outbound: bool, message: Message, limit: int) -> int:
        """
        Keep a message, and drop the oldest beyond L{MAX_MESSAGES} and beyond C{limit} bytes of all together.

        @return: how many bytes more are kept; below 0 if fewer.
        """
        before = self.messages_cost
        if self.messages is self.NO_MESSAGES:
            self.messages = deque()
        self.messages.append((outbound, message))
        self.messages_cost += message_cost(message)
        while len(self.messages) > 1 and (
            len(self.messages) > MAX_MESSAGES or self.messages_cost > limit + MESSAGE_COST
        ):
            self.messages_cost -= message_cost(self.messages.popleft()[1])
            self.first_message += 1
        return self.messages_cost - before

    @property
    def message_count(self) -> int:
        """How many there were."""
        return self.first_message + len(self.messages)


def fields_cost(fields: Fields, size: int) -> int:
    """
    Bytes that header fields need, about.

    @param size: bytes of their names and values; 0 if they are to be counted: 3 us for a usual head, which
        heads that came before need not cost.
    """
    return FIELD_COST * len(fields) + (size or sum(map(len, chain.from_iterable(fields))))


def message_cost(message: Message) -> int:
    """Bytes that a message needs, about."""
    return len(message.data) + MESSAGE_COST
