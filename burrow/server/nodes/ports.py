"""
The public TCP ports of tunnels that other nodes hold: this node listens on them too, and passes visitors on.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.logger import Logger

from burrow.errors import Unavailable
from burrow.protocols.base import Kind, Reach
from burrow.protocols.options import read_options
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Lease
from burrow.server.ports import Ports
from burrow.server.route import IRoute

RETRY_AFTER = 5.0
"""Seconds until a port that was busy is tried again."""


_By = tuple[Any, ...]


def _served_by(lease: Lease) -> _By:
    """The port of a lease, and what its visitors are served, and let in, by."""
    return lease.port, lease.kind, lease.options, lease.version


class _ByName:
    """
    The tunnel of a name, for L{ITunnelProtocol.visitor_factory<burrow.protocols.base.ITunnelProtocol>}: each
    visitor is passed on to the node that holds it then.
    """

    def __init__(self, lease: Lease, kind: Kind, find: Callable[[str], Awaitable[IRoute]]) -> None:
        self._name = lease.name
        self._find = find
        self.options = read_options(kind.options, json.loads(lease.options or "{}"))
        self.version = lease.version

    async def found(self) -> IRoute:
        """The current route. @raise StreamGone: no agent has the tunnel open."""
        return await self._find(self._name)


class RemotePorts:
    """
    Keeps the ports open, and tries a busy one again until it is open.

    @param find: see L{Routes.of_port<burrow.server.routes.Routes.of_port>}.
    @param hand: hands the visitor of a name's port to the process that holds it: see
        L{Neighbours.hand_port<burrow.server.nodes.neighbours.Neighbours.hand_port>}.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        kinds: dict[str, Kind],
        ports: Ports,
        cluster: Cluster,
        find: Callable[[str], Awaitable[IRoute]],
        hand: Callable[[str, int, Any], bool],
    ) -> None:
        self._hand = hand
        self._clock = clock
        self._retrying: IDelayedCall | None = None
        self._kinds = kinds
        self._ports = ports
        self._cluster = cluster
        self._find = find
        self._served: dict[str, tuple[_By, IProtocolFactory]] = {}
        self._busy: set[str] = set()
        self._draining = self._stopped = False
        cluster.on_leases.append(self.update)
        cluster.on_taken.append(self.serve)

    def update(self, names: Collection[str]) -> None:
        """The leases of other nodes on these names changed."""
        if self._draining:
            return
        leases = [self._cluster.elsewhere(name) for name in names]
        before = []
        for name, lease in zip(names, leases, strict=True):
            if name in self._served and (lease is None or _served_by(lease) != self._served[name][0]):
                before.append(self._served.pop(name))
            if lease is None:
                self._busy.discard(name)
        for lease in leases:
            if lease is not None and lease.name not in self._served:
                self.serve(lease)
        for (port, *_), factory in before:  # unless it is served by another factory now
            closing = Deferred.fromCoroutine(self._ports.close(port, factory))
            closing.addErrback(
                lambda reason: self.log.failure(
                    "cannot close the port of a tunnel that another node held", reason
                )
            )
        if not self._busy:
            self._cancel_retry()

    def serve(self, lease: Lease) -> None:
        """Serve the port of a tunnel that another node holds, if it has one and L{stop} was not called."""
        kind = self._kinds.get(lease.kind)
        port = lease.port
        if port is None or kind is None or not kind.reach.by_port or self._stopped:
            return
        if lease.name in self._cluster.members.shares:
            return  # agents of this node share it: their port leads to those of other nodes, too
        if kind.reach is Reach.UDP_PORT and self._same_group(lease.node):
            return  # on a socket that processes share, datagrams would come to this one, too
        try:
            factory = kind.visitor_factory(_ByName(lease, kind, self._find))
        except Exception:  # a kind is anybody's code, and a newer release may have other options
            self.log.failure(
                "the plugin for tunnels of kind {kind} failed: visitors cannot reach {name} by this node",
                kind=lease.kind,
                name=lease.name,
            )
            return
        try:
            self._ports.listen(
                port,
                factory,
                tunnel=lease.name,
                kind=lease.kind,
                shared=True,
                hand_over=partial(self._hand, lease.name, port),
            )
        except Unavailable as error:
            self.log.debug(
                "port {port} of tunnel {name} is busy here, it is tried again in {seconds} s: {error}",
                port=port,
                name=lease.name,
                seconds=RETRY_AFTER,
                error=error,
            )
            self._busy.add(lease.name)
            if self._retrying is None:
                self._retrying = self._clock.callLater(RETRY_AFTER, self._retry)
            return
        self._busy.discard(lease.name)
        self._served[lease.name] = _served_by(lease), factory

    def _same_group(self, node: str) -> bool:
        """Whether a node is a process of the same C{burrow server} as this one."""
        own, other = self._cluster.node, self._cluster.others.get(node)
        return own is not None and other is not None and own.group == other.group

    def drain(self) -> None:
        """This node will end: open no more ports of other nodes' tunnels, except by L{serve}."""
        self._draining = True

    def stop(self) -> None:
        """Open no more ports, and try no busy one again. Open ports stay open."""
        self._draining = self._stopped = True
        self._cancel_retry()

    def _retry(self) -> None:
        self._retrying = None
        busy, self._busy = self._busy, set()
        self.update(busy)

    def _cancel_retry(self) -> None:
        retrying, self._retrying = self._retrying, None
        if retrying is not None:
            retrying.cancel()
