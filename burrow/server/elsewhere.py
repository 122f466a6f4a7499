"""The public ports of tunnels that other nodes hold: this node listens on them too, and passes on."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger

from burrow.errors import StreamGone
from burrow.mux.control import NameTaken
from burrow.protocols.base import Kind, Reach
from burrow.server.cluster import Cluster, Lease
from burrow.server.ports import Ports
from burrow.server.relay import Relay


class _Elsewhere:
    """A tunnel, wherever it is held when a visitor comes."""

    def __init__(self, name: str, cluster: Cluster, relay: Relay) -> None:
        self._name = name
        self._cluster = cluster
        self._relay = relay

    def connect(self, protocol: IProtocol, visitor: str, scheme: str) -> None:
        lease = self._cluster.elsewhere(self._name)
        tunnel = self._relay.tunnel(lease) if lease is not None else None
        if tunnel is None:
            raise StreamGone("the node that holds the tunnel cannot be reached")
        tunnel.connect(protocol, visitor, scheme)


class ElsewherePorts:
    """Keeps the ports open; bounded by the server's TCP ports."""

    log = Logger()

    def __init__(self, kinds: dict[str, Kind], ports: Ports, cluster: Cluster, relay: Relay) -> None:
        self._kinds = kinds
        self._ports = ports
        self._cluster = cluster
        self._relay = relay
        self._served: dict[int, tuple[str, IProtocolFactory]] = {}

    def update(self) -> None:
        """The other nodes' leases changed."""
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
        factory = kind.visitor_factory(_Elsewhere(lease.name, self._cluster, self._relay))
        try:
            self._ports.listen(port, factory)
        except NameTaken as error:
            self.log.debug("{name} cannot be served here too: {error}", name=lease.name, error=error)
            return
        self._served[port] = lease.name, factory
