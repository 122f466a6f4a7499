"""
Is the peer still there? Found out with yamux pings, which any implementation answers.

Any byte received is a sign of life, so a pong that is late behind a bulk transfer kills nothing.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from burrow.mux.session import Session

INTERVAL = 2.5
"""Seconds between looks at the session."""

PING_EVERY = 5.0
"""Seconds between pings. They measure the round trip too."""

DEAD_AFTER = 12.0
"""Seconds of silence after which the carrier is given up: 14.5 with the last interval."""


class Heartbeat:
    """Pings a session, sweeps its lingering streams, and aborts its carrier when it is silent."""

    log = Logger()

    def __init__(self, clock: IReactorTime, session: Session) -> None:
        self._clock = clock
        self._session = session
        self._pinged = float("-inf")
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin; the first ping goes out now."""
        self._loop.start(INTERVAL, now=True)

    def stop(self) -> None:
        """End. May be called more than once."""
        if self._loop.running:
            self._loop.stop()

    def _beat(self) -> None:
        now = self._clock.seconds()
        silent = now - self._session.last_received
        if silent >= DEAD_AFTER:
            self.log.warn(
                "{peer} has been silent for {silent:.0f} s; giving the connection up",
                peer=self._session.peer,
                silent=silent,
            )
            self.stop()
            self._session.abort()
            return
        self._session.sweep()
        if now - self._pinged >= PING_EVERY:
            self._pinged = now
            self._session.ping().addErrback(lambda reason: None)  # lost with the session, which tells
