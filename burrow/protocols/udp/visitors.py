"""
On the server: the visitors of a UDP port. Each address has a stream to the agent while datagrams come.

An address that nothing came from or went to for some time is forgotten, and its stream closed: UDP has no
end. Whoever sends from many addresses, which can be forged, pushes out addresses that the upstream never
answered before others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import BurrowError
from burrow.mux.control import visitor_address
from burrow.protocols.udp.stream import DatagramStream

MAX_VISITORS = 1024
"""Addresses that one port has streams for, at most."""

MAX_EARLY = 16
"""Datagrams of an address that wait until its stream is open, at most; later ones are dropped."""

_LOOKED_AT = 64
"""Of those silent for longest, how many are looked at for one that was never answered."""

Address = tuple[Any, ...]


class UdpVisitors(DatagramProtocol):
    """
    The visitors of one tunnel's port.

    @param tunnel: see L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}.
    @param idle: seconds without a datagram after which an address is forgotten.
    @ivar began: called with each L{UdpVisitor} that is new, and its address; it may set C{on_end}.
    @ivar dropped: datagrams that were dropped. @ivar counts: of their kind, which has them, too.
    """

    log = Logger()
    transport: Any

    def __init__(
        self,
        tunnel: Any,
        idle: float,
        most: int = MAX_VISITORS,
        counts: Counter[str] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._most = most
        self.tunnel = tunnel
        self.began: Callable[[UdpVisitor, str], None] = lambda visitor, address: None
        self.dropped = 0
        self._idle = idle
        self._visitors: OrderedDict[Address, UdpVisitor] = OrderedDict()  # silent for longest first
        self._ending: IDelayedCall | None = None
        self._clock: Any = None

    def startProtocol(self) -> None:
        """The port is open."""
        self._clock = self.transport.reactor

    def stopProtocol(self) -> None:
        """The port is closed: nothing can be answered any more."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        for visitor in list(self._visitors.values()):
            visitor.end()

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """From a visitor."""
        visitor = self._visitors.get(addr)
        if visitor is None:
            visitor = self._add(addr)
        self._heard(addr, visitor)
        visitor.received(datagram)

    def send(self, datagram: bytes, visitor: UdpVisitor) -> None:
        """To a visitor."""
        self._heard(visitor.address, visitor)
        try:
            self.transport.write(datagram, visitor.address)
        except (OSError, MessageLengthError):
            self.dropped += 1  # the network refuses it: a datagram may always be lost
            self.counts["dropped"] += 1

    def forget(self, visitor: UdpVisitor) -> None:
        """Its stream has ended."""
        if self._visitors.get(visitor.address) is visitor:
            del self._visitors[visitor.address]

    def _heard(self, addr: Address, visitor: UdpVisitor) -> None:
        if self._visitors.get(addr) is visitor:
            self._visitors.move_to_end(addr)
        visitor.heard = self._clock.seconds()

    def _add(self, addr: Address) -> UdpVisitor:
        if len(self._visitors) >= self._most:
            candidates = list(islice(self._visitors.values(), _LOOKED_AT))
            unanswered = (each for each in candidates if not each.answered)
            next(unanswered, candidates[0]).end()
        visitor = self._visitors[addr] = UdpVisitor(self, addr)
        self.began(visitor, visitor_address(addr[0], addr[1]))
        visitor.start(visitor_address(addr[0], addr[1]))
        if self._ending is None:
            self._ending = self._clock.callLater(self._idle, self._end_idle)
        return visitor

    def _end_idle(self) -> None:
        self._ending = None
        now = self._clock.seconds()
        while self._visitors:
            visitor = next(iter(self._visitors.values()))
            left = visitor.heard + self._idle - now
            if left > 0:
                self._ending = self._clock.callLater(left, self._end_idle)
                return
            visitor.end()


class UdpVisitor(DatagramStream):
    """
    One address.

    @ivar tunnel: the tunnel whose stream it has; None before. @ivar heard: when something came or went, in
        the clock's seconds. @ivar answered: whether the upstream has sent it something.
    @ivar on_end: called when it is forgotten. @ivar counted: called with bytes received, and bytes sent.
    """

    tunnel: Any = None
    heard = 0.0
    answered = False

    def __init__(self, port: UdpVisitors, address: Address) -> None:
        super().__init__(port.counts)
        self.address = address
        self.on_end: Callable[[], None] = lambda: None
        self.counted: Callable[[int, int], None] = lambda received, sent: None
        self._port = port
        self._early: deque[bytes] = deque()
        self._finding: Deferred[None] | None = None
        self._connected = self._ended = False

    def start(self, shown: str) -> None:
        """Open its stream. @param shown: its address, as the agent is told."""
        finding = Deferred.fromCoroutine(self._connect(shown))
        if not finding.called:
            self._finding = finding
        finding.addErrback(self._failed)

    async def _connect(self, shown: str) -> None:
        tunnel = await self._port.tunnel.found()
        self._finding = None
        if self._ended:
            return
        tunnel.connect(self, shown, "udp")
        self.tunnel = tunnel
        tunnel.requests += 1

    def _failed(self, reason: Failure) -> None:
        if not reason.check(BurrowError, CancelledError):
            self.log.failure("a visitor's datagrams cannot be passed on", reason)
        self.end()

    def connectionMade(self) -> None:
        """The stream is open: send what waits for it."""
        super().connectionMade()
        self._connected = True
        while self._early:
            self.send(self._early.popleft())

    def received(self, datagram: bytes) -> None:
        """From the visitor."""
        self.counted(len(datagram), 0)
        if self._connected:
            self.send(datagram)
        elif len(self._early) < MAX_EARLY:
            self._early.append(datagram)
        else:
            self.drop()

    def datagram_received(self, datagram: bytes) -> None:
        """From the upstream."""
        self.answered = True
        self.counted(0, len(datagram))
        self._port.send(datagram, self)

    def end(self) -> None:
        """Forget the address."""
        if self._ended:
            return
        self._ended = True
        self._port.dropped += self.dropped
        self._port.forget(self)
        if self._finding is not None:
            self._finding.cancel()
        if self._connected and self.transport is not None:
            self.close()
        self.on_end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The agent ended the stream, or its session is lost: the next datagram opens another."""
        self._connected = False
        self.end()
