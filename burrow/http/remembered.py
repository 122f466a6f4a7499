"""
What heads mean, remembered by their exact bytes, so that one that comes again is not read again. No I/O.

Browsers, pollers and webhooks send the same head again and again, and their upstreams answer with the same.
What a head means to a connection is remembered for that connection alone: nothing that one visitor sent is
ever looked up for another. A head is remembered when it comes for the second time, so that those that come
once cost no memory.

What is held is bounded for each connection and for all together. The connections are all in one L{Memory};
whoever began to remember longest ago forgets when it is full.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Generic, TypeVar

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of memory for all connections together."""

MAX_EACH = 128 * 1024
"""Bytes of memory for one direction of one connection: some 15 heads of a browser's."""

MAX_HEAD = 8 * 1024
"""Bytes of a head that is remembered, at most."""

_MAX_SEEN = 64
"""Heads that came once, of which their hashes alone are kept."""

_T = TypeVar("_T")


def cost(head: bytes) -> int:
    """
    Bytes of memory that a head takes with what it means, about: it and what was written from it, and for each
    line a few small objects.
    """
    return 2 * len(head) + 256 * head.count(b"\n") + 1024


class Memory:
    """
    What all connections of a server remember. @ivar used: bytes that are in use.

    @param limit: bytes for all together. @param each: bytes for one direction of one connection.
    """

    def __init__(self, limit: int = MAX_BYTES, each: int = MAX_EACH) -> None:
        self.used = 0
        self.each = each
        self._limit = limit
        self._holders: OrderedDict[Remembered[Any], None] = OrderedDict()

    def take(self, holder: Remembered[Any], size: int) -> None:
        """So many bytes more are in use by C{holder}; others forget if they are too many."""
        self._holders.setdefault(holder)
        self.used += size
        while self.used > self._limit:
            next(iter(self._holders)).forget()

    def give_back(self, holder: Remembered[Any], size: int) -> None:
        """C{holder} has forgotten all it had."""
        if size:
            del self._holders[holder]
            self.used -= size


class Remembered(Generic[_T]):
    """
    What the heads of one direction of one connection mean. Call L{forget} when the connection ends.

    @ivar known: what each head means, by its bytes. To be read only.
    """

    def __init__(self, memory: Memory) -> None:
        self.known: dict[bytes, _T] = {}
        self._memory = memory
        self._seen: set[int] = set()
        self._size = 0

    def came(self, head: bytes, meaning: _T, size: int = 0) -> None:
        """
        A head came which is not known: remember it if it came before. C{size}: bytes of memory that its
        meaning takes, about, if C{head} is not all that it was read from.
        """
        number = hash(head)
        if number not in self._seen:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen.add(number)
        elif len(head) <= MAX_HEAD and (size := size + cost(head)) <= self._memory.each:
            if self._size + size > self._memory.each:
                self.forget()
            self.known[head] = meaning
            self._size += size
            self._memory.take(self, size)

    def forget(self) -> None:
        """Forget all heads."""
        self.known.clear()
        size, self._size = self._size, 0
        self._memory.give_back(self, size)
