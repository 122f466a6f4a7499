"""
One request of a served app, between two threads: the reactor's, which has the stream, and the app's.

What bounds it: the stream is paused while L{LIMIT} bytes wait for the app, and the app while as many wait for
the stream.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from burrow.http.request_head import RequestHead
from burrow.wire.pieces import put

LIMIT = 64 * 1024
"""Bytes that wait in either direction, about; and one read, or what an app sends at once."""


class IStream(Protocol):
    """
    What an exchange needs of its stream.

    @ivar paused: whether the stream takes nothing more just now.
    """

    reactor: Any
    paused: bool

    def flush(self, exchange: Exchange) -> None:
        """There is something to send."""

    def take_more(self, exchange: Exchange) -> None:
        """There is room for more of the request."""


class Exchange:
    """
    @ivar head: the request's. @ivar visitor: its address, host and port. @ivar scheme: "http" or "https".
    @ivar on_change: called on the reactor's thread when something has changed that the app may wait for.
    @ivar whole: whether all of the request has come. @ivar gone: whether the visitor has left.
    @ivar left: whether it has closed its half, which mostly means the same.
    @ivar answered: whether the app has said all. @ivar broken: whether what it said is not to be believed.
    """

    def __init__(self, stream: IStream, head: RequestHead, visitor: tuple[str, int], scheme: str) -> None:
        self.head = head
        self.visitor = visitor
        self.scheme = scheme
        self.on_change: Callable[[], object] = lambda: None
        self.whole = False
        self.gone = False
        self.left = False
        self.answered = False
        self.broken = False
        self._stream = stream
        self._changed = threading.Condition()
        self._incoming: deque[bytes] = deque()
        self._waiting = 0
        self._held = False
        self._outgoing: list[bytes] = []
        self._unsent = 0
        self._asked = False

    # -- for the stream, on the reactor's thread ------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """More of the request. @return: whether there is room for more; else L{IStream.take_more} follows."""
        with self._changed:
            if data and not self.answered:
                put(self._incoming, data)
                self._waiting += len(data)
            self._held = self._waiting > LIMIT
            held = self._held
        self.change()
        return not held

    def finish(self) -> None:
        """The request is whole."""
        self.whole = True
        self.change()

    def half_close(self) -> None:
        """The visitor has closed its half. An answer is still sent to it."""
        self.left = True
        self.change()

    def lose(self) -> None:
        """The visitor has left."""
        with self._changed:
            self.gone = True
            self._outgoing.clear()
            self._unsent = 0
        self.change()

    def outgoing(self) -> bytes:
        """What is to be sent now."""
        with self._changed:
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            self._asked = False
            self._unsent = 0
        return data

    def change(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self._changed.notify_all()
        self.on_change()

    # -- for the app, on any thread -------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether the app has to wait before it sends more."""
        return not self.gone and (self._unsent > LIMIT or self._stream.paused)

    def take(self, limit: int = LIMIT) -> bytes:
        """What has come of the request and was not taken, up to so many bytes; empty if nothing is there."""
        with self._changed:
            taken = self._incoming.popleft() if self._incoming else b""
            if len(taken) > limit:
                self._incoming.appendleft(taken[limit:])
                taken = taken[:limit]
            self._waiting -= len(taken)
            more = self._held and self._waiting <= LIMIT // 2
            self._held = self._held and not more
        if more:
            self._stream.reactor.callFromThread(self._stream.take_more, self)
        return taken

    @property
    def empty(self) -> bool:
        """Whether nothing is there to take."""
        return not self._incoming

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes. @param last: whether that is all."""
        with self._changed:
            if self.gone or self.answered:
                return
            if data:
                self._outgoing.append(data)
                self._unsent += len(data)
            if last:
                self.answered = True
                self._incoming.clear()
                self._waiting = 0
                self._held = False
            asked, self._asked = self._asked, True
        if not asked:
            self._stream.reactor.callFromThread(self._stream.flush, self)

    def break_off(self) -> None:
        """What was sent is not whole, and never will be: the visitor's connection is reset."""
        self.broken = True
        self.send(b"", last=True)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Block until it is so, or the visitor has left. Not for the reactor's thread."""
        with self._changed:
            self._changed.wait_for(lambda: self.gone or condition())
