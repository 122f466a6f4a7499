"""Reads the bodies of a server's answers: whole ones, and live ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from burrow.client.sse import EventReader, ServerEvent
from burrow.clock import cancel
from burrow.errors import BurrowError, ServerUnreachable

SILENCE = 40.0
"""Seconds that a live answer may be silent. A server sends a line each 15 s."""

MAX_ANSWER = 32 << 20
"""Bytes of an answer, at most."""


def whole(response: IResponse) -> Deferred[bytes]:
    """The body. Fails with L{ServerUnreachable} if it is larger than L{MAX_ANSWER}."""
    collecting = _Collecting()
    response.deliverBody(collecting)
    return collecting.done


def _end(reader: Protocol) -> None:
    """Close the connection that an answer comes from."""
    if reader.transport is not None:
        reader.transport.loseConnection()


class _Collecting(Protocol):
    """@ivar done: fires with all bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.done: Deferred[bytes] = Deferred(lambda done: _end(self))

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        self._size += len(data)
        if self._size > MAX_ANSWER:
            self._parts.clear()
            _end(self)
            return
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        if self.done.called:
            return
        if self._size > MAX_ANSWER:
            self.done.errback(ServerUnreachable("the server's answer is too large"))
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(ServerUnreachable("the connection was lost in the middle of an answer"))


class Reading(Protocol):
    """
    Reads a live answer.

    @ivar ended: fails when it has ended. @ivar last: the id of the last event that had one.
    """

    def __init__(self, reactor: Any, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._tell = tell
        self._events = EventReader()
        self.last = ""
        self.ended: Deferred[None] = Deferred()
        self._silence = reactor.callLater(SILENCE, self._fail, ServerUnreachable("the server is silent"))

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if not self._silence.active():
            return
        self._silence.reset(SILENCE)
        try:
            for event in self._events.feed(data):
                self._take(event)
        except ValueError as error:
            self._fail(ServerUnreachable(f"the server's events cannot be read: {error}"))

    def _take(self, event: ServerEvent) -> None:
        told = json.loads(event.data)
        if not isinstance(told, dict):
            raise ValueError("no object")
        if event.kind == "end":
            detail = str(told.get("detail", "the server ended it"))
            # What is asked again is refused, if the token was revoked, and answered if the server restarts.
            self._fail(ServerUnreachable(detail.rstrip(".")))
            return
        self.last = event.id or self.last
        self._tell(event.kind, told)

    def _fail(self, error: BurrowError) -> None:
        self.stop()
        if not self.ended.called:
            self.ended.errback(error)

    def stop(self) -> None:
        """Read no more, and close the connection."""
        cancel(self._silence)
        _end(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        if self._silence.active():
            self._fail(ServerUnreachable("the connection was lost"))
