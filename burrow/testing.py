"""
Fakes for tests of whatever runs on a session: plugins' authors may use them too.

L{SessionPair} is an agent's and a server's session joined in memory, on a clock that the test moves.
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
    One end of a connection in memory: keeps what its user sends until L{deliver} gives it to the other end.

    It ends as a WebSocket does, one end at a time: after C{close} the other end gets what is kept and the
    good-bye, sends what it has kept itself, and is lost; the end that closed is lost behind it. After
    C{abort} this end is lost with the next L{deliver}, the other end with one of its own.

    @ivar user: the session or lifeline that it carries; None for one that was replaced: it is called no more.
    @ivar blocked: while True nothing is delivered, as if the socket were full.
    @ivar chunk: how many bytes the other side gets at a time; None for whole messages.
    @ivar closed: whether this end was lost.
    @ivar close_code: the code that this end said good-bye with; None before. @ivar close_reason: likewise.
    @ivar peer_code: the code that the other end said good-bye with, once that was delivered.
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
        self._saying = False
        self._ending: Failure | None = None

    @classmethod
    def pair(cls, one: Session | Lifeline, other: Session | Lifeline) -> tuple[MemoryCarrier, MemoryCarrier]:
        """Both ends of a new connection."""
        ends = cls(one), cls(other)
        ends[0].other, ends[1].other = ends[1], ends[0]
        return ends

    def send(self, data: bytes) -> None:
        """Keep the bytes; the session may send no more until they are delivered."""
        if self.closed or self._saying or self._ending is not None or self.close_code is not None:
            return  # as on a WebSocket that is closing
        self.sent.append(data)
        if self.user is not None:
            self.user.carrier_paused()

    def close(self, reason: str, code: int) -> None:
        """Say good-bye behind what is kept; the other end is lost, then this one."""
        if self.close_code is None and not self._saying:
            self.close_code, self.close_reason = code, reason
            self._saying = True

    def abort(self) -> None:
        """Drop what is kept and end: this side with the next delivery, then the other."""
        self.sent.clear()
        self._saying = False
        self._ending = Failure(ConnectionLost("aborted"))

    def lose(self) -> None:
        """This end alone is lost, now; the other end hears nothing of it, as when a cable is cut."""
        self._end(Failure(ConnectionLost("cut")))

    def deliver(self) -> bool:
        """Give the other end the next of what is kept, or end; False if there was nothing to do."""
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
        if self._saying:
            self._saying = False
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
        """The other end's good-bye: answer it, behind what is kept, and end."""
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

    @param clock: what both use, a new one by default; L{pump} moves it by nothing, the test by what it likes.
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
        """Run until neither side has anything to do now. At most C{turns} times."""
        for _ in range(turns):
            self.clock.advance(0)
            moved = [self.agent_carrier.deliver(), self.server_carrier.deliver()]
            if not any(moved) and not self._due():
                return
        raise AssertionError("the two sessions never come to rest")

    def _due(self) -> bool:
        now = self.clock.seconds()
        return any(call.getTime() <= now for call in self.clock.getDelayedCalls())


class Recorder(Protocol):
    """
    Remembers what happens to it.

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
    A store whose operations interleave: each is begun, done and answered at times of its own.

    @param inner: does them, each in one step. @param delay: seconds until the next is done, or answered.
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
