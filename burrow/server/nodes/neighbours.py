"""
The other processes of this server on this machine: hands each visitor's socket to the one that holds the
tunnel.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from burrow.server.hosts import Hosts
from burrow.server.listening import Guard
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.handover import Door, Handover, possible


class Neighbours:
    """
    @param group: the id that this process shares with its neighbours; empty if it has none.
    @param domain: the base domain.
    @param port_served: returns the factory of a TCP port for a connection that is handed over, or None.
    @param guard: wraps each factory that serves public connections.
    @param from_peer: wraps one for a connection of which a balancer told who the visitor is.
    """

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        group: str,
        hosts: Hosts,
        port_served: Callable[[int], IProtocolFactory | None],
        guard: Guard,
        from_peer: Callable[[IProtocolFactory, str, int], IProtocolFactory] = lambda factory, *peer: factory,
    ) -> None:
        self._from = from_peer
        self._reactor = reactor
        self._cluster = cluster
        self._group = group
        self._hosts = hosts
        self._port_served = port_served
        self._guard = guard
        self._served: dict[str, IProtocolFactory] = {}
        self._handover = Handover()
        self._door = Door(reactor, self._take) if group and possible() else None

    @property
    def door(self) -> str:
        """The address of this process's door, for neighbours; empty if it has none."""
        return "" if self._door is None else self._door.name

    def alone(self) -> bool:
        """Whether no neighbour is known to which a visitor could be handed over."""
        others = self._cluster.others.values()
        return self._door is None or not any(node.door and node.group == self._group for node in others)

    def serve(self, at: str, factory: IProtocolFactory) -> None:
        """
        Serve by C{factory} the connections that neighbours hand over.

        @param at: the port where the visitors came: "https" or "http".
        @param factory: its protocols must not hand over again.
        """
        self._served[at] = self._guard(factory)

    def hand_https(self, host: str, transport: Any, data: bytes | bytearray) -> bool:
        """See L{HandOver<burrow.server.edge.front.HandOver>}."""
        return self._hand_host(host, "https", transport, data)

    def hand_http(self, host: str, transport: Any, data: bytes | bytearray) -> bool:
        """See L{HandOver<burrow.server.edge.front.HandOver>}."""
        return self._hand_host(host, "http", transport, data)

    def _hand_host(self, host: str, at: str, transport: Any, data: bytes | bytearray) -> bool:
        return self._hand(self._hosts.name(host), at, None, transport, data)

    def hand_port(self, name: str, port: int, transport: Any) -> bool:
        """Hand over the visitor of a tunnel's TCP port, by the tunnel's name. See L{Handover.hand}."""
        return self._hand(name, "tcp", port, transport, b"")

    def _hand(self, name: str, at: str, port: int | None, transport: Any, data: bytes | bytearray) -> bool:
        """Hand the visitor of a tunnel to the neighbour that holds it. See L{Handover.hand}."""
        if self._door is None or name in self._cluster.members.shares:
            return False  # agents of this process share the name
        lease = self._cluster.elsewhere(name)
        node = None if lease is None else self._cluster.others.get(lease.node)
        if node is None or not node.door or node.draining or node.group != self._group:
            return False
        return self._handover.hand(node.door, at, port, transport, data)

    def _take(
        self, at: str, port: int | None, handle: socket.socket, data: bytes, peer: list[Any] | None = None
    ) -> None:
        """Serve a connection that a neighbour hands over."""
        factory = self._served.get(at) if port is None else self._port_served(port)
        if factory is None:
            return  # its tunnel was closed meanwhile, so the connection is closed too
        if peer is not None:
            factory = self._from(factory, *peer)
        transport = self._reactor.adoptStreamConnection(handle.fileno(), handle.family, factory)
        if data and transport is not None and transport.connected:
            transport.protocol.dataReceived(data)

    def update(self) -> None:
        """The set of nodes changed."""
        self._handover.forget({node.door for node in self._cluster.others.values()})

    def close(self) -> None:
        """Take and hand over no more connections."""
        door, self._door = self._door, None
        if door is not None:
            door.close()
        self._handover.forget()
