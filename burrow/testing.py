"""
Fakes for tests of whatever runs on a session: plugins' authors may use them too.

L{SessionPair} is an agent's and a server's session joined in memory, on a clock that the test moves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.mux.interfaces import ICarrier
from burrow.mux.session import Session


@implementer(ICarrier)
class MemoryCarrier:
    """
    One direction of a L{SessionPair}: keeps what its session sends until the pair delivers it.

    @ivar blocked: while True nothing is delivered, as if the socket were full.
    @ivar chunk: how many bytes the other side gets at a time; None for whole messages.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.other: MemoryCarrier = self
        self.sent: deque[bytes] = deque()
        self.blocked = False
        self.closed = False
        self.chunk: int | None = None

    def send(self, data: bytes) -> None:
        """Keep the bytes; the session may send no more until they are delivered."""
        self.sent.append(data)
        self.session.carrier_paused()

    def close(self, reason: str, code: int) -> None:
        """Deliver what is kept, then end both sides."""
        while self.sent:
            self.other.session.carrier_received(self.sent.popleft())
        self._end(Failure(ConnectionDone()))

    def abort(self) -> None:
        """Drop what is kept and end both sides."""
        self.sent.clear()
        self._end(Failure(ConnectionLost()))

    def deliver(self) -> bool:
        """Give the other side what is kept; False if there was nothing to do."""
        if self.blocked or self.closed or not self.sent:
            return False
        data = self.sent.popleft()
        step = self.chunk or len(data)
        for start in range(0, len(data), step):
            self.other.session.carrier_received(data[start : start + step])
        if not self.sent:
            self.session.carrier_drained()
        return True

    def _end(self, reason: Failure) -> None:
        for carrier in (self, self.other):
            if not carrier.closed:
                carrier.closed = True
                carrier.session.carrier_lost(reason)


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
        self.agent_carrier = MemoryCarrier(self.agent)
        self.server_carrier = MemoryCarrier(self.server)
        self.agent_carrier.other = self.server_carrier
        self.server_carrier.other = self.agent_carrier
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
