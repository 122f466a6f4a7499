"""
The heartbeat of a session: finds out by yamux pings, which any implementation answers, whether the peer is
there.

Any byte that is received is a sign of life, so an answer that is late behind a bulk transfer does no harm.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from burrow.mux.control import shown
from burrow.mux.session import Session

INTERVAL = 1.0
"""Seconds between two checks of the session."""

PING_EVERY = 2.5
"""Seconds between pings. They measure the round trip too."""

SUSPECT_AFTER = 4.0
"""Seconds of silence after which the connection is suspected: an agent dials the next one meanwhile."""

DEAD_AFTER = 9.0
"""
Seconds of silence after which the connection is given up; the check that notices it is up to a second late.
"""

_JUMP = 5.0


def _nothing() -> None:
    return None


class Heartbeat:
    """
    Watches one connection of a session: pings it, and sweeps the session's lingering streams.

    @param on_dead: called once when the connection is to be given up; the heartbeat has stopped.
    @param on_suspect: called when silence becomes suspicious, and when the clock jumped: the machine slept.
    @param on_check: called at the end of each check.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        session: Session,
        on_dead: Callable[[], None],
        *,
        on_suspect: Callable[[], None] = _nothing,
        on_check: Callable[[], None] = _nothing,
    ) -> None:
        self._on_dead = on_dead
        self._on_suspect = on_suspect
        self._on_check = on_check
        self._clock = clock
        self._session = session
        self._pinged = float("-inf")
        self._checked = clock.seconds()
        self._suspected = False
        self._loop = LoopingCall(self._check_or_log)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin; the first ping goes out now."""
        self._checked = self._clock.seconds()
        self._loop.start(INTERVAL, now=True)

    def stop(self) -> None:
        """End. May be called more than once."""
        if self._loop.running:
            self._loop.stop()

    def _check_or_log(self) -> None:
        """Go on when a callback raises: nothing but the heartbeat notices a peer that stopped answering."""
        try:
            self._check()
        except Exception:
            self.log.failure(
                "heartbeat: a check of the session with {peer} failed; the next follows in a second",
                peer=shown(self._session.peer),
            )

    def _check(self) -> None:
        now = self._clock.seconds()
        slept, self._checked = now - self._checked > _JUMP, now
        silent = now - self._session.last_received
        if slept:
            # This machine slept and received nothing meanwhile: ping before the connection is given up.
            self._session.heard()
            self._pinged = float("-inf")
            self._on_suspect()
        elif silent >= DEAD_AFTER:
            self.log.warn(
                "heartbeat: {peer} has been silent for {silent:.0f} s; the connection is given up",
                peer=shown(self._session.peer),
                silent=silent,
            )
            self.stop()
            self._on_dead()
            return
        elif silent < SUSPECT_AFTER:
            self._suspected = False
        elif not self._suspected:
            self._suspected = True
            self._on_suspect()
        self._session.sweep()
        if now - self._pinged >= PING_EVERY:
            self._pinged = now
            self._session.ping().addErrback(lambda reason: None)  # on_lost says so, too
        self._on_check()
