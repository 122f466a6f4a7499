"""Ends a server in order: it stops listening, sends its agents to other nodes, and lets running work end."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow.server.agents import Agents
from burrow.server.edge.context import Edge
from burrow.server.finishing import POLL_EVERY, Finishing
from burrow.server.listening import Listeners
from burrow.server.nodes.arrivals import Arrivals
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Links
from burrow.server.nodes.neighbours import Neighbours
from burrow.server.nodes.ports import RemotePorts
from burrow.server.ports import Ports
from burrow.server.ssh.connections import Connections
from burrow.server.tunnels import Tunnels

LEAVE_WITHIN = 10.0
"""Seconds that agents have to move to other nodes when this one stops."""


class Leaving:
    """
    @param listeners: the main ports. @param edge: the HTTP visitors' connections.
    @param ports: the public TCP ports. @param remote_ports: those of other nodes' tunnels.
    @param finishing: ends what is idle, and says whether something still runs.
    @param ssh: the connections of agents that are a plain ssh, which cannot move by themselves.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        *,
        listeners: Listeners,
        edge: Edge,
        neighbours: Neighbours,
        ports: Ports,
        remote_ports: RemotePorts,
        cluster: Cluster,
        links: Links,
        arrivals: Arrivals,
        tunnels: Tunnels,
        agents: Agents,
        finishing: Finishing,
        ssh: Connections,
    ) -> None:
        self._ssh = ssh
        self._clock = clock
        self._listeners = listeners
        self._edge = edge
        self._neighbours = neighbours
        self._ports = ports
        self._remote_ports = remote_ports
        self._cluster = cluster
        self._links = links
        self._arrivals = arrivals
        self._tunnels = tunnels
        self._agents = agents
        self._finishing = finishing

    async def drain(self, within: float) -> None:
        """
        A successor serves: stop listening, send the agents to it, and return when nothing runs here.

        @param within: seconds after which it returns anyway.
        """
        await self._stop_accepting()
        await self._cluster.drain()
        self.log.info(
            "draining: agents move to other nodes; running streams have {seconds:g} s to end", seconds=within
        )
        self._ssh.tell(
            f"this process of the server is being replaced: your connection goes on, for {within:g} s at "
            "most; start ssh again to come to the new one"
        )
        ends = self._clock.seconds() + within
        while self._clock.seconds() < ends and (
            self._edge.visitors
            or self._finishing.greeting
            or self._ports.visitors
            or self._agents.connected
            or self._ssh.open
            or self._arrivals.busy
        ):
            await self._send_agents_away()
            await deferLater(self._clock, POLL_EVERY)

    async def finish(self, within: float) -> None:
        """
        The server stops: stop listening, and give what runs C{within} seconds to end (see
        L{burrow.server.finishing}). If other nodes are running, send the agents there.
        """
        await self._stop_accepting(for_good=True)
        if within and await self._cluster.strangers():
            await self._finish_elsewhere(within)
        else:
            self._remote_ports.stop()
            await self._ports.close_all()
            await self._finishing.finish(within)

    async def _finish_elsewhere(self, within: float) -> None:
        now = self._clock.seconds()
        ends, agents_until = now + within, now + min(within, LEAVE_WITHIN)
        await self._cluster.drain()
        self._links.cut_relayed_agents()
        self.log.info(
            "stopping: agents move to other nodes; running streams have {seconds:g} s to end", seconds=within
        )
        while True:
            await self._send_agents_away()
            self._ssh.end_idle("this node of the server stops: start ssh again, which leads to another")
            now = self._clock.seconds()
            running = self._finishing.running() or (self._agents.connected and now < agents_until)
            if not running or now >= ends:
                break
            await deferLater(self._clock, POLL_EVERY)

    async def _stop_accepting(self, *, for_good: bool = False) -> None:
        """Accept no more visitors and agents; HTTP connections end after the current answer."""
        self._edge.drain()
        self._neighbours.close()
        self._remote_ports.drain()
        await self._listeners.close(for_good=for_good)
        self._finishing.serve_fronts()

    async def _send_agents_away(self) -> None:
        """
        Send the agents to other nodes. When no tunnel is open here, close the ports, which are open there.
        """
        for agent in list(self._agents.connected):
            agent.send_away()
        if not self._tunnels.any_open:
            self._remote_ports.stop()
            await self._ports.close_all()
