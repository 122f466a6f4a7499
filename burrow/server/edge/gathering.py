"""A request's body that a rule has to read whole before it decides: a signed webhook's, a form's."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred, succeed

from burrow.addresses import customer
from burrow.http.headers import Fields, Headers
from burrow.http.response_head import ResponseHead
from burrow.policy.means import Busy
from burrow.wire.pieces import put

MOST = 64 * 1024 * 1024
"""Bytes of all such bodies of a process, at most."""

SHARE = 8
"""One address, or IPv6 /64, takes this part of them at most, so that the others' have room."""


class Room:
    """
    What all bodies together take.

    @param most: bytes, at most. @ivar used: bytes.
    """

    def __init__(self, most: int = MOST) -> None:
        self.used = 0
        self._most = most
        self._of: Counter[str] = Counter()

    def take(self, who: str, size: int) -> bool:
        """Take so many bytes. @param who: the L{customer} that sends them. @return: whether there is room."""
        if self.used + size > self._most or self._of[who] + size > self._most // SHARE:
            return False
        self.used += size
        self._of[who] += size
        return True

    def give_back(self, who: str, size: int) -> None:
        """What was taken is free again."""
        self.used -= size
        self._of[who] -= size
        if not self._of[who]:
            del self._of[who]


class Gathering:
    """
    One body.

    @param address: who sends it. @param length: how many bytes it has; None if that is not known.
    @ivar limit: bytes, at most.
    @ivar done: fires with the body; with None if it is too large; fails with L{Busy} if there is no room.
    @ivar over: whether no more of it is wanted, though it is not whole.
    """

    def __init__(self, room: Room, address: str, limit: int, length: int | None) -> None:
        self.done: Deferred[bytes | None] = Deferred()
        self.over = False
        self._room = room
        self._who = customer(address)
        self.limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._trailers: Fields = []
        if length is not None and length > limit:
            self.over = True
            self.done.callback(None)

    def add(self, data: bytes, trailers: Fields | None) -> None:
        """Some of it has come. @param trailers: the fields behind it, if this is its end."""
        if self.over:
            return
        if self._size + len(data) > self.limit:
            self.drop()
            self._tell(None)
        elif not self._room.take(self._who, len(data)):
            self.drop()
            if not self.done.called:
                self.done.errback(Busy())
        else:
            self._size += len(data)
            put(self._pieces, data)
            if trailers is not None:
                self._trailers = trailers
                self._pieces = [b"".join(self._pieces)]
                self._tell(self._pieces[0])

    def again(self, limit: int) -> Deferred[bytes | None]:
        """What another rule reads, after the first has read it."""
        return succeed(None if self.over or self._size > limit else self._pieces[0])

    def take(self) -> tuple[bytes, Fields]:
        """The whole body and its trailers, for the upstream: they are kept no more."""
        body, trailers = b"".join(self._pieces), self._trailers
        self.drop()
        return body, trailers

    def drop(self) -> None:
        """Nobody wants it any more, nor what comes of it still."""
        self.over = True
        size, self._size = self._size, 0
        if size:
            self._room.give_back(self._who, size)
        self._pieces = []

    def _tell(self, body: bytes | None) -> None:
        if not self.done.called:  # it is cancelled when its visitor leaves
            self.done.callback(body)


CONTINUE = ResponseHead(100, b"Continue", Headers(), 0, False, True, None, True)
