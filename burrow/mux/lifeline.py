"""
A carrier that outlives WebSockets: it stands between a session and its WebSockets (C{burrow.resume.v1}).

The session sees one carrier, which is slow at times. Its states::

    ATTACHED   a WebSocket moves packets
    DETACHED   there is none; what the session has to send waits, for the grace time at most
    ENDED      the session is lost: the grace time is over, or either side closed it on purpose

A WebSocket that ends with a closing handshake ends the session: this is how a peer closes it on purpose. Any
other end of a WebSocket only detaches the session. Of two WebSockets the newer one counts. What bounds the
bytes that wait: the replay's limit, and beyond it the streams' own queues, whose producers are paused.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import WireError
from burrow.mux.control import shown
from burrow.mux.interfaces import UNKNOWN_PEER, CloseCode, ICarrier
from burrow.mux.listeners import Listeners
from burrow.mux.session import Session
from burrow.wire.resume import REPLAY_LIMIT, Replay

GRACE = 60.0
"""Seconds that a detached session waits for its next carrier, by default."""

PUT_OFF = 7
"""Checks of the heartbeat, a second apart, for which a few bytes are not acknowledged."""


@implementer(ICarrier)
class Lifeline:
    """
    @param session: it is carried from now on. @param grace: seconds it may be detached.
    @ivar on_detached: called with a L{Failure} when a carrier is lost and the session goes on.
    @ivar on_attached: called with the peer's address when there is a carrier, the first or another.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, session: Session, *, grace: float = GRACE, limit: int = REPLAY_LIMIT
    ) -> None:
        self.session = session
        self.on_detached: Listeners[Failure] = Listeners()
        self.on_attached: Listeners[IAddress] = Listeners()
        self._clock = clock
        self._grace = grace
        self._replay = Replay(limit)
        self._again: list[bytes] = []  # the next is the last
        self._carrier: ICarrier | None = None
        self._busy = False
        self._broken = False
        self._put_off = 0
        self._ending: IDelayedCall | None = None
        session.attach(self)
        session.disconnected()

    @property
    def received(self) -> int:
        """How many bytes of the peer's byte stream came. A new carrier's handshake sends this number."""
        return self._replay.received

    @property
    def sent(self) -> int:
        """How many bytes of ours were sent, those that were sent again counted once."""
        return self._replay.sent

    def attach_carrier(
        self, carrier: ICarrier, peer_received: int, peer: IAddress = UNKNOWN_PEER
    ) -> ICarrier | None:
        """
        Go on with C{carrier}.

        @param peer_received: how many bytes of ours the peer has, by the handshake.
        @param peer: the address of the other end.
        @return: the carrier that was used until now. It must not call back any more, and must be aborted.
        @raise WireError: C{peer_received} is more than was sent. The session is ended.
        """
        try:
            self._again = self._replay.again(peer_received)[::-1]
        except WireError as error:
            self._end(Failure(error))
            raise
        before, self._carrier = self._carrier, carrier
        self._busy = self._broken = False
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        self.session.connected_to(peer)
        self.session.carrier_paused()  # until what is sent again is on its way
        self.carrier_drained()
        self.on_attached.tell(peer)
        return before

    def check(self) -> None:
        """Acknowledge what came; a few bytes after L{PUT_OFF} calls. The heartbeat calls it once a second."""
        if self._put_off < PUT_OFF and self._replay.few:
            self._put_off += 1
        else:
            self.acknowledge()

    def acknowledge(self) -> None:
        """Acknowledge what came, however little."""
        self._put_off = 0
        if self._carrier is not None:
            packet = self._replay.acknowledgement()
            if packet is not None and not self._carrier.send(packet):
                self._busy = True
                self.session.carrier_paused()

    # -- ICarrier: what the session calls ---------------------------------------------------------------

    def send(self, data: bytes, header: bytes = b"") -> bool:
        """Send whole frames, now or on a later carrier. The header is the packet's: a session gives none."""
        packet_header = self._replay.keep(data)
        if self._carrier is None:
            return False
        self._busy = not self._carrier.send(data, packet_header)
        return not (self._busy or self._replay.full)

    def close(self, reason: str, code: int) -> None:
        """End the session, by a closing handshake if there is a carrier."""
        if self._carrier is not None:
            self._carrier.close(reason, code)
        else:
            self._end(Failure(ConnectionDone(reason)))

    def abort(self) -> None:
        """End the session at once."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.abort()
        self._end(Failure(ConnectionLost("the session was ended")))

    # -- what the WebSocket calls ---------------------------------------------------------------------------

    def carrier_received(self, data: bytes | memoryview) -> None:
        """A packet came. After one that breaks the protocol, the same carrier's others are dropped."""
        if self._broken:
            return
        try:
            new = self._replay.receive(data)
        except WireError as error:
            self._broken = True
            self.log.warn("{peer} broke the protocol: {error}", peer=shown(self.session.peer), error=error)
            if self._carrier is not None:
                self._carrier.close(str(error), CloseCode.PROTOCOL_ERROR)
            return
        if new:
            self.session.carrier_received(new)
            if self._replay.due:
                self.acknowledge()
        else:
            self.session.heard()
            if not self._busy:
                self.carrier_drained()  # its acknowledgement may have made room

    def carrier_drained(self) -> None:
        """The carrier takes more: first what is to be sent again, then what the session has to send."""
        self._busy = False
        while self._again and self._carrier is not None and not self._busy:
            self._busy = not self._carrier.send(self._again.pop())
        if self._carrier is not None and not (self._busy or self._again or self._replay.full):
            self.session.carrier_drained()

    def carrier_lost(self, reason: Failure) -> None:
        """The carrier is lost: wait for the next one; after a closing handshake, end the session."""
        self._carrier = None
        self._busy = False
        self._again.clear()
        self.session.disconnected()
        if self.session.lost:
            return
        if reason.check(ConnectionDone):
            self._end(reason)
            return
        if self._ending is None:
            self._ending = self._clock.callLater(self._grace, self._expire)
        self.on_detached.tell(reason)

    # -- inside ------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        self._ending = None
        self._end(Failure(ConnectionLost(f"no new connection came within {self._grace:g} seconds")))

    def _end(self, reason: Failure) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        self._again.clear()
        self.session.carrier_lost(reason)
