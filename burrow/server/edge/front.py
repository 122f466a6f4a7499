"""
The plain port of a server of several processes: reads a connection's first head, since the host that it asks
for decides which process serves the connection.

On the TLS port the ClientHello tells the host: see L{burrow.server.edge.tls}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from burrow.http.head import BadMessage
from burrow.http.request_head import RequestReader
from burrow.server.edge.sweep import Sweep
from burrow.sockets import swap_protocol

HandOver = Callable[[str, Any, bytes | bytearray], bool]
"""
Called with the host that a visitor asks for, its transport, and the bytes that were read from it. Returns
whether another process has the connection from now on: then it is lost here.
"""


def stay(host: str, transport: Any, data: bytes | bytearray) -> bool:
    """A L{HandOver} for a server of one process."""
    return False


class PlainFront(Protocol):
    """
    One connection until its first head is read.

    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    transport: Any

    def __init__(self, factory: Any, addr: IAddress) -> None:
        self.factory: Any = factory
        self.deadline: float | None = None
        self._addr = addr
        self._reader = RequestReader()
        self._received = bytearray()  # bounded by what a head may have: see dataReceived

    def connectionMade(self) -> None:
        """Begin the time for the head."""
        self.factory.sweep.add(self, self.factory.idle_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left, or another process has the connection."""
        self.factory.sweep.discard(self)

    def timed_out(self) -> None:
        """Called by the sweep: the head did not come in time. The protocol that serves visitors answers."""
        self.serve().timed_out()

    def dataReceived(self, data: bytes) -> None:
        """More of the head."""
        self._received += data
        try:
            found = self._reader.feed(data)
        except BadMessage:
            self.serve()
            return
        if found is None:
            if not self._reader.started:
                self._received.clear()  # empty lines before a head, of which there may be any number
            return
        if not self.factory.hand_over(found[0].host, self.transport, self._received):
            self.serve()

    def chosen(self) -> IProtocolFactory:
        """What builds the protocol that serves it."""
        inner: IProtocolFactory = self.factory.inner
        return inner

    def serve(self) -> Any:
        """Serve the connection in this process. @return: the protocol that does."""
        self.factory.sweep.discard(self)
        protocol: Any = self.chosen().buildProtocol(self._addr)
        swap_protocol(self.transport, protocol)
        if self._received:
            protocol.dataReceived(bytes(self._received))
        return protocol


class PlainFrontFactory(Factory):
    """
    Takes the connections of the plain port.

    @param inner: builds what serves a visitor. @param idle_timeout: seconds for the first head.
    @param alone: whether there is no other process now, so that no head need be read before it is served.
    """

    noisy = False

    def __init__(
        self,
        inner: IProtocolFactory,
        sweep: Sweep,
        idle_timeout: float,
        hand_over: HandOver,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self.inner = inner
        self.sweep = sweep
        self.idle_timeout = idle_timeout
        self.hand_over = hand_over
        self.alone = alone

    def buildProtocol(self, addr: Any) -> Any:
        """One connection."""
        return self.inner.buildProtocol(addr) if self.alone() else PlainFront(self, addr)
