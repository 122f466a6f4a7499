"""
The heartbeat of a session: finds out by yamux pings, which any implementation answers, whether the peer is
there.

Any byte that is received is a sign of life, so an answer that is late behind a bulk transfer does no harm.

No heartbeat has a timer of its own: those of one clock that are due within L{STEP} seconds share one.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from burrow.mux.control import shown
from burrow.mux.session import Session

INTERVAL = 1.0
"""Seconds between two checks of the session."""

PING_EVERY = 2.5
"""Seconds between pings. They measure the round trip too."""

PEER_LATE_AFTER = 3.0
"""Seconds of silence after which a heartbeat that leaves the pings to its peer sends one all the same."""

STEP = 1 / 32
"""Seconds that a check may be early, so that it comes with others, as a part of L{INTERVAL}."""

SUSPECT_AFTER = 4.0
"""Seconds of silence after which the connection is suspected: an agent dials the next one meanwhile."""

DEAD_AFTER = 9.0
"""
Seconds of silence after which the connection is given up; the check that notices it is up to a second late.
"""

_JUMP = 5.0


def _nothing() -> None:
    return None


class _Turn:
    """The heartbeats of one clock that are checked together, once every L{INTERVAL}."""

    def __init__(self, clock: IReactorTime, first: float) -> None:
        self._clock = clock
        self.due = first
        self.members: dict[Heartbeat, None] = {}
        self._call: IDelayedCall = clock.callLater(first - clock.seconds(), self._run)

    def _run(self) -> None:
        self.due += INTERVAL
        behind = self._clock.seconds() - self.due
        if behind >= 0:  # checks that were missed are left out
            self.due += INTERVAL * (behind // INTERVAL + 1)
        self._call = self._clock.callLater(self.due - self._clock.seconds(), self._run)
        for heartbeat in list(self.members):
            if heartbeat in self.members:
                heartbeat.check()

    def remove(self, heartbeat: Heartbeat) -> bool:
        """@return: whether it was the last one; then the turn has ended."""
        self.members.pop(heartbeat, None)
        if not self.members and self._call.active():
            self._call.cancel()
        return not self.members


_turns: WeakKeyDictionary[IReactorTime, list[_Turn]] = WeakKeyDictionary()
"""Those of each clock that have members: 1 / L{STEP} and one, at most."""


def _turn_of(clock: IReactorTime, first: float) -> _Turn:
    """One whose next check is at C{first} seconds, or little earlier."""
    turns = _turns.setdefault(clock, [])
    for turn in turns:
        if first - STEP * INTERVAL < turn.due <= first:
            return turn
    turns.append(_Turn(clock, first))
    return turns[-1]


class Heartbeat:
    """
    Watches one connection of a session: pings it, and sweeps the session's lingering streams.

    @param sparing: whether the peer pings anyway. Then nothing is pinged while no stream is open but the
        control channel, unless the peer's ping is late; and the checks are half an interval after the peer's
        pings.
    @param on_dead: called once when the connection is to be given up; the heartbeat has stopped.
    @param on_suspect: called when silence becomes suspicious, and when the clock jumped: the machine slept.
    @ivar on_check: called at the end of each check.
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
        sparing: bool = False,
    ) -> None:
        self._on_dead = on_dead
        self._on_suspect = on_suspect
        self.on_check = on_check
        self._clock = clock
        self._session = session
        self._pinged = float("-inf")
        self._checked = clock.seconds()
        self._suspected = False
        self._sparing = sparing
        self._turn: _Turn | None = None

    def start(self) -> None:
        """Begin; the first ping goes out now."""
        now = self._checked = self._clock.seconds()
        self._turn = _turn_of(self._clock, now + (INTERVAL / 2 if self._sparing else INTERVAL))
        self._turn.members[self] = None
        self.check()

    def stop(self) -> None:
        """End. May be called more than once."""
        turn, self._turn = self._turn, None
        if turn is not None and turn.remove(self):
            _turns[self._clock].remove(turn)

    def check(self) -> None:
        """
        Look how long the peer has been silent; its turn calls it. Go on when a callback raises: nothing but
        the heartbeat notices a peer that stopped answering.
        """
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
            # This machine slept and received nothing meanwhile: it pings before the connection is given up.
            self._session.heard()
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
        if now - self._pinged >= PING_EVERY and not self._spared(silent):
            self._pinged = now
            self._session.ping().addErrback(lambda reason: None)  # on_lost says so, too
        self.on_check()

    def _spared(self, silent: float) -> bool:
        """Whether the peer's pings do: ours would be two messages more for each of an idle session's."""
        return (
            self._sparing
            and silent < PEER_LATE_AFTER
            and self._session.stream_count <= 1
            and self._pinged != float("-inf")  # the first measures the round trip
        )
