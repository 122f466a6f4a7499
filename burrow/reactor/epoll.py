"""The reactor: Twisted's on epoll, with transports of ours and without a log context around each event."""

from __future__ import annotations

import socket
from collections.abc import Callable
from select import EPOLLERR, EPOLLIN
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.udp import Port as DatagramPort
from twisted.logger import Logger

from burrow.reactor.transports import Accepted, Connector, Port, Server, TurnTransport
from burrow.reactor.turns import most_events

_log = Logger()


def _guarded(work: Callable[..., Any], *arguments: Any) -> Any:
    """What C{work} returns. What it raises is logged, and L{CONNECTION_LOST} returned."""
    try:
        return work(*arguments)
    except BaseException:
        _log.failure("{work!r} failed", work=work)
        return CONNECTION_LOST


class BurrowReactor(EPollReactor):
    """
    Twisted's reactor, whose TCP transports are those of L{burrow.reactor.transports}. UNIX sockets, UDP,
    processes and timers are Twisted's own.

    A turn is: what timers do; what descriptors do; what connections bring that were accepted; what was asked
    for by L{call_at_turn_end}; and then each transport that has something to send sends it.
    """

    def __init__(self) -> None:
        self._accepted: list[Accepted] = []
        self._unsent: list[TurnTransport] = []
        self._at_turn_end: list[Callable[[], object]] = []
        self._most = 0
        super().__init__()

    def call_at_turn_end(self, work: Callable[[], object]) -> None:
        """Call something once, before what this turn wrote is sent. It costs a fifth of C{callLater(0)}."""
        self._at_turn_end.append(work)

    def getReaders(self) -> list[Any]:
        """See L{twisted.internet.interfaces.IReactorFDSet}: those that the turn's end reads, too."""
        return [*super().getReaders(), *(new for new in self._accepted if new.wanted)]

    def removeAll(self) -> list[Any]:
        """See L{twisted.internet.interfaces.IReactorFDSet}: the same. The end of the turn reads none."""
        new = [each for each in self._accepted if each.wanted]
        for each in new:
            each.stopReading()
        return [*new, *super().removeAll()]

    def read_at_turn_end(self, transport: Accepted) -> None:
        """See L{Accepted}."""
        self._accepted.append(transport)

    def send_at_turn_end(self, transport: TurnTransport) -> None:
        """See L{TurnTransport.startWriting}."""
        self._unsent.append(transport)

    def doPoll(self, timeout: float | None) -> None:
        """
        Wait for events, and handle them.

        What one of them raises is logged, and disconnects its descriptor alone, as under Twisted's own loop,
        which puts a log context around each.
        """
        if self._unsent or self._at_turn_end or self._accepted:  # what timers did
            self._end_turn()
            timeout = 0  # the next timer may be another one now
        selectables = self._selectables
        # Not fewer than before while something may be left: else each one that closes delays all others.
        most = max(most_events(len(selectables)), self._most)
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, most)
        except InterruptedError:
            return
        self._most = most if len(events) == most else 0
        ports = []
        for number, event in events:
            selectable = selectables.get(number)
            if selectable is None:  # an event before it in this turn closed it
                continue
            if event == EPOLLIN and isinstance(selectable, TurnTransport):
                why = _guarded(selectable.doRead)
                if why:
                    _guarded(self._disconnectSelectable, selectable, why, True)
            elif isinstance(selectable, Port):
                ports.append((selectable, number, event))
            else:
                if event & EPOLLERR and isinstance(selectable, DatagramPort):
                    event |= EPOLLIN  # what ICMP told is read. Twisted would close the port
                _guarded(self._doReadOrWrite, selectable, number, event)
        # Last: the kernel may report a port before the connections that a peer closed to make others. Both
        # would count for its address at once.
        for port, number, event in ports:
            if selectables.get(number) is port:
                _guarded(self._doReadOrWrite, port, number, event)
        self._end_turn()

    doIteration = doPoll

    def _end_turn(self) -> None:
        accepted, self._accepted = self._accepted, []
        for new in accepted:
            why = _guarded(new.read_first)
            if why:
                _guarded(self._disconnectSelectable, new, why, True)
        for _ in range(2):  # what a session sends then is encrypted by a call that this asks for
            calls, self._at_turn_end = self._at_turn_end, []
            for work in calls:
                _guarded(work)
        unsent, self._unsent = self._unsent, []
        for transport in unsent:
            why = _guarded(transport.send)
            if why:
                _guarded(self._disconnectSelectable, transport, why, False)

    # -- transports of ours -----------------------------------------------------------------------

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See L{twisted.internet.interfaces.IReactorTCP}."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30.0, bindAddress: Any = None
    ) -> Any:
        """See L{twisted.internet.interfaces.IReactorTCP}."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """See L{twisted.internet.interfaces.IReactorSocket}."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        port = Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        port.startListening()
        return port

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:
        """See L{twisted.internet.interfaces.IReactorSocket}."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)
        return Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)

    def take_connected(self, handle: socket.socket, peer: tuple[Any, ...], factory: Any) -> Any:
        """
        Use a connected TCP socket, and not a duplicate of it, as C{adoptStreamConnection} does.

        @param handle: the reactor's from now on. @param peer: its address, as C{getpeername} returns it.
        @return: the protocol that C{factory} builds, connected.
        """
        kind = IPv4Address if len(peer) == 2 else IPv6Address
        protocol = factory.buildProtocol(kind("TCP", *peer))
        protocol.makeConnection(Server(handle, protocol, peer, None, peer[1], self))
        return protocol
