"""
A visitor's connection, from its beginning to its end, whatever version of HTTP is spoken on it.

Its states are L{State}, and L{NEXT} says which may follow which. L{burrow.server.edge.http1} reads requests
and writes answers.

A visitor that closes its half (a FIN, or TLS's close_notify) sends no more, and may still read. What it asked
and is whole is passed on with the same end behind it, and answered; what is not whole is reset. A visitor
that is gone looks the same until something is written to it.

What bounds the buffers: reading stops when MAX_WAITING bytes wait here, or when the stream to the agent is
full; when the visitor does not read, the stream is paused and no other request is begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.http.remembered import Remembered
from burrow.http.response_head import ResponseHead
from burrow.mux.pipe import break_off, end_writing
from burrow.server.edge.context import Edge, Finishable, Own
from burrow.server.edge.flow import Answering, Reading
from burrow.server.edge.forwarded import Hop
from burrow.server.edge.kept import KeptStream
from burrow.server.edge.pace import Pace
from burrow.server.edge.shown import Shown
from burrow.server.route import IRoute
from burrow.sockets import idle, lowest_transport, swap_protocol, taken

LINGER = 3.0
"""Seconds that a visitor may be silent which still sends what is answered already."""

_MAX_LINGERS = 10


class State(Enum):
    """What a visitor's connection is at."""

    IDLE = "no request is under way; the next one's head is waited for, for idle_timeout at most"
    EXCHANGE = "a request is under way; its exchange has a time of its own"
    LINGERING = (
        "all is said; what still comes is dropped until the visitor closes or sends nothing for LINGER, so "
        "that no reset destroys the answer on its way"
    )
    FLUSHING = "the connection closes once what is written is sent, for as long as the visitor takes it"
    BROKEN = "the connection is being reset"
    HANDED = "another protocol has the connection: an agent's WebSocket; after 101, L{Upgraded}"
    GONE = "the connection is lost"


_ENDS = (State.LINGERING, State.FLUSHING, State.BROKEN, State.GONE)
NEXT: dict[State, tuple[State, ...]] = {
    State.IDLE: (State.EXCHANGE, *_ENDS),
    State.EXCHANGE: (State.IDLE, State.HANDED, *_ENDS),
    State.LINGERING: (State.FLUSHING, State.BROKEN, State.GONE),
    State.FLUSHING: (State.FLUSHING, State.BROKEN, State.GONE),  # itself: TLS's end is not waited for
    State.BROKEN: (State.BROKEN, State.GONE),  # itself: what is written is not waited for
    State.HANDED: (),
    State.GONE: (),
}
"""The states that may follow each."""

OPEN = (State.IDLE, State.EXCHANGE)
"""The states in which bytes of the visitor's are used."""


@implementer(IHalfCloseableProtocol)
class Visitor(Protocol):
    """
    One visitor's connection. A subclass reads requests and writes answers: see the last section.

    @param scheme: "https" inside TLS, else "http". @param own: what the server itself says to a request.
    @ivar state: see L{State}.
    @ivar ended: whether the visitor closed its half: it sends no more, or is gone.
    @ivar asked: whether it ever brought a request.
    @ivar hop: see L{IConnection<burrow.server.edge.connection.IConnection>}, as C{shown} and C{own}.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    transport: Any
    hop: Hop
    shown: Shown | None

    def __init__(self, edge: Edge, scheme: str, own: Own) -> None:
        self.state = State.IDLE
        self.ended = False
        self.asked = False
        self.own = own
        self.deadline: float | None = None
        self._edge = edge
        self._scheme = scheme
        self._buffer = b""
        self._reading = Reading(self)
        self._answers = Answering(self)
        self._answered: Remembered[ResponseHead] = Remembered(edge.memory)
        self._kept = KeptStream(edge.sweep, self._reading, self._answers, self._answered)
        self.stream_to = self._kept.to  # see IConnection
        self.use_part = self._kept.use_part
        self._takes = Pace(edge.sweep, edge.rate, self._taken, self._abort)
        self._received = 0
        self._moved: int | None = 0
        self._lingers = 0

    def _enter(self, state: State) -> None:
        """Change the state; nothing else does."""
        if state not in NEXT[self.state]:
            raise RuntimeError(f"a visitor's connection cannot be {state.name} after {self.state.name}")
        self.state = state

    # -- the connection's events --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The first head has idle_timeout to come."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.shown = getattr(self.transport, "shown", None)
        self.hop = Hop(self._edge.forwarding, self.transport.getPeer(), self._scheme)
        self.transport.registerProducer(self._answers, True)
        self._edge.visitors.add(self)
        self._edge.sweep.add(self, self._edge.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the visitor's."""
        self._received += len(data)
        if self.state in OPEN:
            self._buffer += data
            self.advance()

    def readConnectionLost(self) -> None:
        """The visitor closed its half, or is gone."""
        self.ended = True
        if self.state is State.LINGERING:
            self._close()
        else:
            self.advance()

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor is gone. What it asked and is whole goes on to the upstream, with the end behind it."""
        self._enter(State.GONE)
        self._withdraw()
        self._stop_exchange()
        self._kept.drop(left=True)

    def timed_out(self) -> None:
        """Called by the sweep: what was waited for did not come."""
        if self.state is State.IDLE:
            if self._answers.full:
                self._edge.sweep.add(self, self._edge.idle_timeout)  # its pace is watched
            else:
                self._head_timed_out()
        elif self.state is State.LINGERING:
            self._lingers += 1
            if self._lingers < _MAX_LINGERS and self._moves(self._received, 1):
                self._edge.sweep.add(self, LINGER)
            else:
                self._close()
        elif self.state is State.FLUSHING and self._moved is None:
            self._moved = taken(self.transport) or 0
            self._edge.sweep.add(self, self._edge.idle_timeout)
        elif self.state is State.FLUSHING:
            least = self._edge.rate.least * self._edge.idle_timeout
            if not least or self._moves(taken(self.transport), least):
                self._edge.sweep.add(self, self._edge.idle_timeout)
            else:
                self._abort()

    def _moves(self, count: int | None, least: float) -> bool:
        """Whether a count has grown by at least so much since it was looked at last."""
        if count is None:
            return False
        before, self._moved = self._moved, count
        return count - (before or 0) >= least

    # -- how fast the visitor is --------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """Bytes read and not used yet."""
        return len(self._buffer)

    def visitor_full(self) -> None:
        """See L{Flowing<burrow.server.edge.flow.Flowing>}."""
        self._takes.watch()

    def visitor_reads(self) -> None:
        """See L{Flowing<burrow.server.edge.flow.Flowing>}."""
        self._takes.fast_enough()
        self.advance()

    def _taken(self) -> int | None:
        """What it has taken, while more waits for it."""
        return taken(self.transport) if self._answers.full else None

    # -- for a tunnel or server that stops: see L{Finishable<burrow.server.edge.context.Finishable>} --------

    @property
    def tunnel(self) -> IRoute | None:
        """The tunnel that this connection has a stream of."""
        return self._kept.route

    @property
    def running(self) -> bool:
        """Whether there is something to finish: see L{burrow.server.finishing}."""
        if self._endless and self.state in (State.EXCHANGE, State.FLUSHING):
            return not idle(self.transport)
        return self.state is not State.IDLE or self._head_begun

    def parts(self) -> Iterable[Finishable]:
        """It has one stream to a tunnel at a time."""
        return (self,)

    def end(self) -> None:
        """See L{Connected<burrow.server.edge.context.Connected>}."""
        self._close()

    def finish(self) -> None:
        """Nothing runs here: give up the stream; an event stream has no other end than its connection's."""
        if self._endless:
            self._close()
        else:
            self._kept.drop()

    # -- the end ------------------------------------------------------------------------------------------

    def _give_to(self, protocol: Any) -> None:
        """Put another protocol on the connection, for good."""
        self._enter(State.HANDED)
        self._withdraw()
        self.transport.unregisterProducer()
        if self._reading.paused and not self.ended:
            self._reading.paused = False
            self.transport.resumeProducing()  # what has it now reads as it likes
        swap_protocol(self.transport, protocol)

    def _withdraw(self) -> None:
        """The connection is not this object's any more."""
        self._edge.visitors.discard(self)
        self._edge.sweep.discard(self)
        self._takes.stop()
        self._answered.forget()

    def _give_up(self) -> None:
        """Give up what is under way, and the stream."""
        self._stop_exchange()
        self._kept.drop()

    def break_off(self) -> None:
        """
        Reset the connection once what is written is sent: only a broken connection says that some of an
        answer is missing.
        """
        self._enter(State.BROKEN)
        self._give_up()
        self.transport.unregisterProducer()
        break_off(self.transport)

    def _abort(self) -> None:
        """Reset the connection at once: the visitor does not take what is written."""
        self._enter(State.BROKEN)
        self._give_up()
        self.transport.abortConnection()

    def _close(self) -> None:
        """Close once everything is written."""
        self._enter(State.FLUSHING)
        self._give_up()
        self._moved = None
        self._edge.sweep.add(self, 0)  # nearly all are gone before the next look, and need not be measured
        self.transport.unregisterProducer()
        if self.transport.disconnecting:
            # TLS has said its end, and waited for the visitor's.
            lowest_transport(self.transport).loseConnection()
        else:
            self.transport.loseConnection()

    def _linger(self) -> None:
        """Close, but read on for a while: the visitor is still sending what is answered already."""
        self._buffer = b""
        if self.ended:
            self._close()
            return
        self._enter(State.LINGERING)
        self._give_up()
        self._reading.update()
        self._moved = self._received
        self._edge.sweep.add(self, LINGER)
        self.transport.unregisterProducer()
        end_writing(self.transport)

    # -- what a version of HTTP decides -------------------------------------------------------------------

    def advance(self) -> None:
        """Use the bytes that wait, as far as they can be used now. Called whenever that may have changed."""
        raise NotImplementedError

    def _head_timed_out(self) -> None:
        """No head came within idle_timeout."""
        raise NotImplementedError

    def _stop_exchange(self) -> None:
        """No answer is wanted to what is under way."""
        raise NotImplementedError

    @property
    def _head_begun(self) -> bool:
        """Whether some of a head has come."""
        raise NotImplementedError

    @property
    def _endless(self) -> bool:
        """Whether what is under way has no end of its own."""
        raise NotImplementedError
