"""
The connections of ssh clients, for a server that ends. It imports nothing of Conch.

Keys and sequence numbers of an SSH connection cannot be handed to another process. So a process that is
replaced serves its connections until their clients leave, and tells them what to do meanwhile.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

END_WITHIN = 2.0
"""Seconds that a client has to read why its connection ends."""

_POLL_EVERY = 0.02


class Connection(Protocol):
    """
    One connection.

    @ivar idle: whether no visitor uses it now; also true before its login is over.
    """

    @property
    def idle(self) -> bool: ...

    def tell(self, text: str) -> None:
        """Tell the person, if there is a terminal, now or soon."""

    def end(self, why: str) -> None:
        """Tell the client why, and end it (RFC 4253 section 11.1). The second call does nothing."""

    def abort(self) -> None:
        """Cut it."""


class Connections:
    """
    Those that are open.

    @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
    @ivar notice: what those that come are told, too; empty for nothing.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.open: set[Connection] = set()
        self.notice = ""

    def tell(self, text: str) -> None:
        """Tell all that are there, and all that come."""
        self.notice = text
        for connection in list(self.open):
            connection.tell(text)

    def end_idle(self, why: str) -> None:
        """End those that no visitor uses now."""
        for connection in list(self.open):
            if connection.idle:
                connection.end(why)

    async def end_all(self, why: str) -> None:
        """
        End all; return when they are closed. Those that are not after L{END_WITHIN} seconds, or when this is
        cancelled, are cut.
        """
        for connection in list(self.open):
            connection.end(why)
        ends = self._clock.seconds() + END_WITHIN
        with contextlib.suppress(CancelledError):
            while self.open and self._clock.seconds() < ends:
                await deferLater(self._clock, _POLL_EVERY)
        for connection in list(self.open):
            connection.abort()
