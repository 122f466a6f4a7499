"""
Health checks of agents that share a name (C{--health-path}): each is asked through its own tunnel, so that
what is checked is the whole way, and any agent in any language takes part.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow import __version__
from burrow.clock import cancel
from burrow.errors import StreamGone
from burrow.http.failure import FAILURE_HEADER
from burrow.http.head import BadMessage
from burrow.http.response_head import ResponseReader
from burrow.protocols.sharing import HEALTH_PATH
from burrow.repeat import repeating
from burrow.server.sharing import Shared
from burrow.server.tunnel import Tunnel

CHECK_EVERY = 5.0
"""Seconds between two checks of an agent that may have visitors."""

CHECK_AGAIN = 1.0
"""Seconds between two checks of one that may not."""

ANSWER_WITHIN = 5.0
"""Seconds for the head of an answer."""

VISITOR = "127.0.0.1:0"
"""What an agent is told of where a check comes from: the server itself."""


class _Check(Protocol):
    """
    One check. @param told: called once with whether the service answered as it should, and why not.
    """

    transport: Any

    def __init__(self, clock: Any, tunnel: Tunnel, told: Any) -> None:
        self._tunnel = tunnel
        self._told = told
        self._reader = ResponseReader()
        self._timeout: IDelayedCall = clock.callLater(ANSWER_WITHIN, self._late)

    def connectionMade(self) -> None:
        """Ask."""
        path = self._tunnel.options[HEALTH_PATH.key]
        self.transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {self._tunnel.host}\r\nAccept: */*\r\nConnection: close\r\n"
            f"User-Agent: Burrow/{__version__} (health check)\r\n\r\n".encode()
        )

    def dataReceived(self, data: bytes) -> None:
        """Some of the head, or of the body, which nobody needs."""
        try:
            while self._told is not None and (read := self._reader.feed(data, b"GET")) is not None:
                head, data = read
                if head.status < 200:
                    continue
                failure = head.headers.value(FAILURE_HEADER.lower()).decode("latin-1")
                self._end(head.status < 400 and not failure, failure or f"it answered {head.status}")
        except BadMessage as error:
            self._end(False, error.text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream ended, perhaps without an answer."""
        self._end(False, "the connection to it was lost")

    def _late(self) -> None:
        self._end(False, f"it did not answer within {ANSWER_WITHIN:g} s")

    def _end(self, good: bool, why: str) -> None:
        told, self._told = self._told, None
        if told is not None:
            cancel(self._timeout)
            if self.transport is not None:
                self.transport.abortConnection()
            told(good, why)


class Health:
    """
    Checks all agents of this node that share a name whose owner asked for it.

    @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
    """

    log = Logger()

    def __init__(self, clock: Any, shared: Shared) -> None:
        self._clock = clock
        self._shared = shared
        self._due: dict[Tunnel, float] = {}
        self._loop = repeating(clock, self._round, "health checks")
        shared.on_joined.append(self._joined)

    def stop(self) -> None:
        """Check no more."""
        if self._loop.running:
            self._loop.stop()

    def _joined(self, tunnel: Tunnel) -> None:
        if tunnel.options.get(HEALTH_PATH.key):
            self._due[tunnel] = self._clock.seconds()
            if not self._loop.running:
                self._loop.start(CHECK_AGAIN)

    def _round(self) -> None:
        now = self._clock.seconds()
        for tunnel, due in list(self._due.items()):
            if tunnel not in self._shared.members(tunnel.name):
                del self._due[tunnel]
            elif due <= now and tunnel.connected:
                self._due[tunnel] = float("inf")  # until it is known
                self._check(tunnel)
        if not self._due:
            self._loop.stop()

    def _check(self, tunnel: Tunnel) -> None:
        check = _Check(self._clock, tunnel, lambda good, why: self._told(tunnel, good, why))
        try:
            tunnel.connect(check, VISITOR, "http")
        except StreamGone:
            check.connectionLost()

    def _told(self, tunnel: Tunnel, good: bool, why: str) -> None:
        if tunnel in self._due and tunnel.share is not None:
            self._due[tunnel] = self._clock.seconds() + (CHECK_EVERY if good else CHECK_AGAIN)
            if tunnel.share.fit and not good:
                self.log.warn(
                    "an agent that shares {url} gets no visitors while others can: {path}: {why}",
                    url=tunnel.url,
                    path=tunnel.options[HEALTH_PATH.key],
                    why=why,
                )
            tunnel.share.fit = good
