"""The public TCP ports: who has which, and the sockets that listen on them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory

from burrow.mux.control import BadOption, NameTaken
from burrow.server.listening import TcpSockets, stop_listening


class _Switch(Factory):
    """Listens for a tunnel that may be replaced by its successor while the socket stays."""

    noisy = False

    def __init__(self, inner: IProtocolFactory, visitors: set[Any]) -> None:
        self.inner = inner
        self._visitors = visitors

    def buildProtocol(self, addr: Any) -> Any:
        protocol: Any = self.inner.buildProtocol(addr)
        if protocol is not None:
            self._visitors.add(protocol)
            lost = protocol.connectionLost

            def connection_lost(reason: Any) -> None:
                self._visitors.discard(protocol)
                lost(reason)

            # Not wrapped in another protocol: what it provides (half-closes) must be seen.
            protocol.connectionLost = connection_lost
        return protocol


class Ports:
    """
    @param interface: the address that public ports listen on; empty for all. @param allowed: which may be.
    @param sockets: opens them.
    @ivar visitors: the connections that are open.
    """

    def __init__(self, sockets: TcpSockets, interface: str, allowed: range) -> None:
        self.visitors: set[Any] = set()
        self._sockets = sockets
        self._interface = interface
        self._allowed = allowed
        self._open: dict[int, tuple[IListeningPort, _Switch]] = {}

    def check(self, port: int) -> None:
        """@raise BadOption: the port is not for tunnels."""
        if port not in self._allowed:
            first, last = self._allowed.start, self._allowed.stop - 1
            raise BadOption(f"port {port} is not possible here: the server's TCP ports are {first} to {last}")

    def candidates(self, taken: Iterable[int]) -> list[int]:
        """The ports that are neither reserved nor open, in random order, so that none is guessed."""
        busy = {*taken, *self._open}
        free = [port for port in self._allowed if port not in busy]
        random.shuffle(free)
        return free

    def listen(self, port: int, factory: IProtocolFactory, *, shared: bool = False) -> None:
        """
        Serve C{port} by C{factory} from now on, whoever served it before.

        @param shared: whether another node may have the port open, perhaps on this machine.
        @raise NameTaken: another program has the port.
        """
        if port in self._open:
            self._open[port][1].inner = factory
            return
        switch = _Switch(factory, self.visitors)
        try:
            listening = self._sockets.listen(port, switch, self._interface, shared=shared)
        except CannotListenError as error:
            raise NameTaken(f"port {port} is in use on the server by another program") from error
        self._open[port] = listening, switch

    async def close(self, port: int, factory: IProtocolFactory) -> None:
        """Stop to serve C{port}, unless another factory has it by now. Connections go on."""
        listening, switch = self._open.get(port, (None, None))
        if listening is not None and switch is not None and switch.inner is factory:
            del self._open[port]
            self._sockets.closed(port)
            await stop_listening(listening)

    async def close_all(self) -> None:
        """Stop to serve any."""
        opened, self._open = self._open, {}
        for listening, _ in opened.values():
            await stop_listening(listening)
