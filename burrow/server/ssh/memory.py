"""Two sessions of one process, joined: what one sends, the other receives a turn of the reactor later."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.interfaces import ICarrier
from burrow.mux.session import Session


@implementer(ICarrier)
class _End:
    """One session's carrier. It keeps one message at a time."""

    other: _End

    def __init__(self, clock: Any, session: Session) -> None:
        self._clock = clock
        self._session = session
        self._data: bytes | None = None
        self._reason: Exception | None = None
        self._scheduled = False
        self._over = False

    def send(self, data: bytes, header: bytes = b"") -> bool:
        """See L{ICarrier}."""
        if self._over or self._reason is not None:
            return True
        self._data = header + data
        self._schedule()
        return False

    def close(self, reason: str, code: int) -> None:
        """See L{ICarrier}."""
        if self._reason is None:
            self._reason = ConnectionDone(reason)
            self._schedule()

    def abort(self) -> None:
        """See L{ICarrier}."""
        self._data = None
        self._reason = self._reason or ConnectionLost("aborted")
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self._over:
            return
        data, self._data = self._data, None
        if data is not None and not self.other._over:
            self.other._session.carrier_received(data)
        if self._over:
            return
        if self._reason is not None:
            self._end(self._reason)
            self.other._end(self._reason)
        elif data is not None:
            self._session.carrier_drained()

    def _end(self, reason: Exception) -> None:
        if not self._over:
            self._over = True
            self._session.carrier_lost(Failure(reason))


def join_sessions(clock: Any, one: Session, two: Session, peer: IAddress) -> None:
    """
    Have each of two sessions carry to the other. @param peer: what the second is told of the first's address.
    """
    ends = _End(clock, one), _End(clock, two)
    ends[0].other, ends[1].other = ends[1], ends[0]
    one.attach(ends[0])
    two.attach(ends[1], peer)
