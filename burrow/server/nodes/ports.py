"""The public ports of tunnels that other nodes hold: this node listens on them too, and passes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.logger import Logger

from burrow.errors import StreamGone, Unavailable
from burrow.protocols.base import Kind, Reach
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Lease
from burrow.server.ports import PortFrontFactory, Ports

TRY_AGAIN = 5.0
"""Seconds until a port that was busy is tried again."""


class _Elsewhere:
    """A tunnel, wherever it is held when a visitor comes."""

    def __init__(self, name: str, find: Callable[[str], Awaitable[Any]]) -> None:
        self._name = name
        self._find = find

    async def found(self) -> Any:
        """The tunnel where it is now. @raise StreamGone: nowhere."""
        tunnel = await self._find(self._name)
        if tunnel is None:
            raise StreamGone("no agent has this tunnel open")
        return tunnel


class RemotePorts:
    """
    Keeps the ports open; bounded by the server's TCP ports. One that is busy is tried again until it is open.

    @param find: the tunnel of a name, here or elsewhere, once its agent is connected; or None.
    @param hand: hands the visitor of a name's port to the process that holds it: see L{Neighbours.hand}.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        kinds: dict[str, Kind],
        ports: Ports,
        cluster: Cluster,
        find: Callable[[str], Awaitable[Any]],
        hand: Callable[[str, int, Any], bool],
    ) -> None:
        self._hand = hand
        self._clock = clock
        self._again: IDelayedCall | None = None
        self._kinds = kinds
        self._ports = ports
        self._cluster = cluster
        self._find = find
        self._served: dict[int, tuple[str, IProtocolFactory]] = {}

    def update(self) -> None:
        """The other nodes' leases changed, or one of the ports was busy."""
        self.stop()
        wanted = {lease.port: lease.name for lease in self._cluster.theirs if lease.port is not None}
        for port, (name, factory) in list(self._served.items()):
            if wanted.get(port) != name:
                del self._served[port]
                closing = ensureDeferred(self._ports.close(port, factory))
                closing.addErrback(lambda reason: self.log.failure("a port was not closed", reason))
        for lease in list(self._cluster.theirs):
            if lease.port not in self._served:
                self.serve(lease)

    def serve(self, lease: Lease) -> None:
        """Serve the port of a tunnel that another node holds, if it has one and we may."""
        kind = self._kinds.get(lease.kind)
        port = lease.port
        if port is None or kind is None or kind.reach is not Reach.TCP_PORT:
            return
        factory = PortFrontFactory(
            kind.visitor_factory(_Elsewhere(lease.name, self._find)), partial(self._hand, lease.name, port)
        )
        try:
            self._ports.listen(port, factory, shared=True)
        except Unavailable as error:
            self.log.debug("{name} cannot be served here too: {error}", name=lease.name, error=error)
            if self._again is None:
                self._again = self._clock.callLater(TRY_AGAIN, self.update)
            return
        self._served[port] = lease.name, factory

    def stop(self) -> None:
        """Try no busy port again, until L{update} or L{serve} finds another."""
        again, self._again = self._again, None
        if again is not None and again.active():
            again.cancel()
