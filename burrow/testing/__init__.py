"""
Fakes for tests of code that runs on a session. Authors of plugins may use them, too.

L{SessionPair} is an agent's and a server's session joined in memory, on a clock that the test moves.
L{burrow.testing.tunnel} has a whole tunnel of a kind, for authors of kinds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.interfaces import ICarrier
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session


@implementer(ICarrier)
class MemoryCarrier:
    """
    One end of a connection in memory: keeps the bytes that its user sends until L{deliver} is called.

    It ends as a WebSocket does, one end at a time. After C{close} the other end gets the kept bytes and the
    close frame, sends the bytes that it has kept itself, and is lost; then the end that closed is lost. After
    C{abort} this end is lost with its next L{deliver}, the other end with one of its own.

    @ivar user: the session or lifeline that it carries; None after another carrier has replaced this one:
        then nothing is called.
    @ivar blocked: while True, L{deliver} delivers nothing, as if the socket were full.
    @ivar chunk: how many bytes the other side gets at a time; None for whole messages.
    @ivar closed: whether this end was lost.
    @ivar close_code: the code of C{close} at this end; None before. @ivar close_reason: its reason.
    @ivar peer_code: the code of C{close} at the other end, when it was delivered.
    """

    def __init__(self, user: Session | Lifeline) -> None:
        self.user: Session | Lifeline | None = user
        self.other: MemoryCarrier = self
        self.sent: deque[bytes] = deque()
        self.blocked = False
        self.closed = False
        self.chunk: int | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.peer_code: int | None = None
        self._closing = False
        self._ending: Failure | None = None

    @classmethod
    def pair(cls, one: Session | Lifeline, other: Session | Lifeline) -> tuple[MemoryCarrier, MemoryCarrier]:
        """Both ends of a new connection."""
        ends = cls(one), cls(other)
        ends[0].other, ends[1].other = ends[1], ends[0]
        return ends

    def send(self, data: bytes, header: bytes = b"") -> bool:
        """Keep the bytes; the session may send no more until they are delivered."""
        if self.closed or self._closing or self._ending is not None or self.close_code is not None:
            return True  # as on a WebSocket that is closing
        self.sent.append(header + data)
        return False

    def close(self, reason: str, code: int) -> None:
        """Close after the kept bytes: the other end is lost first, then this one."""
        if self.close_code is None and not self._closing:
            self.close_code, self.close_reason = code, reason
            self._closing = True

    def abort(self) -> None:
        """Drop the kept bytes: this end is lost with its next delivery, then the other."""
        self.sent.clear()
        self._closing = False
        self._ending = Failure(ConnectionLost("aborted"))

    def lose(self) -> None:
        """Lose this end now, without a word to the other end, as when a cable is cut."""
        self._end(Failure(ConnectionLost("cut")))

    def deliver(self) -> bool:
        """Deliver the next message, or end. @return: whether there was anything to do."""
        if self.closed:
            return False
        if self._ending is not None and not self.sent:
            if not self.other.closed and self.other._ending is None:
                self.other._ending = self._ending
                if not self._ending.check(ConnectionDone):
                    self.other.sent.clear()
            self._end(self._ending)
            return True
        if self.blocked:
            return False
        if self.sent:
            self._deliver(self.sent.popleft())
            return True
        if self._closing:
            self._closing = False
            self.other._hear(self)
            return True
        return False

    def _deliver(self, data: bytes) -> None:
        step = self.chunk or len(data)
        for start in range(0, len(data), step):
            if self.other.user is not None and not self.other.closed:
                self.other.user.carrier_received(data[start : start + step])
        if not self.sent and not self.closed and self.user is not None:
            self.user.carrier_drained()

    def _hear(self, closer: MemoryCarrier) -> None:
        """The other end has closed: answer after the kept bytes, and end."""
        self.peer_code = closer.close_code
        if self._ending is None:
            self._ending = Failure(ConnectionDone(closer.close_reason))

    def _end(self, reason: Failure) -> None:
        self.closed = True
        self.sent.clear()
        if self.user is not None:
            self.user.carrier_lost(reason)


class SessionPair:
    """
    Two sessions joined in memory.

    @param clock: of both sessions; a new one by default. L{pump} runs what is due; only the test advances it.
    @ivar agent: the client's session. @ivar server: the server's.
    """

    def __init__(
        self,
        *,
        agent_factory: IProtocolFactory | None = None,
        server_factory: IProtocolFactory | None = None,
        max_streams: int = 65_536,
        clock: Clock | None = None,
    ) -> None:
        self.clock = Clock() if clock is None else clock
        self.agent = Session(self.clock, client=True, factory=agent_factory, max_streams=max_streams)
        self.server = Session(self.clock, client=False, factory=server_factory, max_streams=max_streams)
        self.agent_carrier, self.server_carrier = MemoryCarrier.pair(self.agent, self.server)
        self.agent.attach(self.agent_carrier)
        self.server.attach(self.server_carrier)

    def pump(self, turns: int = 100_000) -> None:
        """Deliver until neither side has anything to do. @raise AssertionError: not within C{turns} turns."""
        for _ in range(turns):
            if not self.turn():
                return
        raise AssertionError("the two sessions never come to rest")

    def turn(self) -> bool:
        """Deliver one message each way. @return: whether there may be more to do."""
        self.clock.advance(0)
        moved = [self.agent_carrier.deliver(), self.server_carrier.deliver()]
        return any(moved) or self._due()

    def _due(self) -> bool:
        now = self.clock.seconds()
        return any(call.getTime() <= now for call in self.clock.getDelayedCalls())


class Recorder(Protocol):
    """
    A protocol that records its events.

    @ivar received: all bytes so far. @ivar lost: the reason of connectionLost, or None.
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Remember the bytes."""
        self.received += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """Remember the reason."""
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseRecorder(Recorder):
    """
    A L{Recorder} that outlives the peer's FIN.

    @ivar read_lost: whether the peer's FIN came.
    """

    read_lost = False

    def readConnectionLost(self) -> None:
        """Remember it."""
        self.read_lost = True

    def writeConnectionLost(self) -> None:
        """Nothing to remember."""


class Recorders(Factory):
    """
    Builds recorders and keeps them.

    @ivar built: all of them, in order.
    """

    noisy = False

    def __init__(self, make: Callable[[], Recorder] = Recorder) -> None:
        self.built: list[Recorder] = []
        self._make = make

    def buildProtocol(self, addr: object) -> Recorder:
        """One more recorder."""
        recorder = self._make()
        recorder.factory = self
        self.built.append(recorder)
        return recorder


class SlowStore:
    """
    A store whose operations interleave: each is begun, done and answered after a delay of its own.

    @param inner: the store that does them, each in one step. @param delay: returns the seconds of each delay.
    """

    def __init__(self, clock: Clock, inner: Any, delay: Callable[[], float]) -> None:
        self._clock = clock
        self._inner = inner
        self._delay = delay

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def ask(*arguments: Any, **options: Any) -> Deferred[Any]:
            answer: Deferred[Any] = Deferred()

            def do() -> None:
                doing = maybeDeferred(found, *arguments, **options)
                doing.addBoth(lambda result: self._clock.callLater(self._delay(), answer.callback, result))

            self._clock.callLater(self._delay(), do)
            return answer

        return ask
