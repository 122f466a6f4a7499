"""
Simulates the death of a node in a cluster, on a clock of its own.

Real are L{Backoff}, the nodes' L{Cluster} with its leases, and the store in memory behind them. Modelled are
the network, which takes no time; the balancer, which gives a connection to any living node at random; and
a node, which takes so many agents a second, the oldest connection first, and keeps L{BACKLOG} waiting.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from burrow.client.backoff import Backoff
from burrow.errors import StoreError
from burrow.link.dial import CONNECT_TIMEOUT
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Node
from burrow.store.memory import MemoryStore

BACKLOG = 1024
STEP = 0.05
"""Seconds of the simulated clock in one step."""

SYN_AGAIN = (1.0, 3.0, 7.0)
"""Seconds after which a system repeats a SYN that was dropped."""

AGENT_RATE = 400.0
"""Agents a second that a node takes: 1,000 come back in 2.5 s."""


class Counted:
    """One node's way to the store. Counts the questions; fails all when the node is dead."""

    def __init__(self, store: MemoryStore, clock: Clock, counts: Counter[int]) -> None:
        self._store, self._clock, self._counts = store, clock, counts
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in ("follow", "whole"):
            return found

        def ask(*arguments: Any, **named: Any) -> Any:
            if self.dead:
                return fail(StoreError("the node is dead"))
            self._counts[int(self._clock.seconds())] += 1
            return found(*arguments, **named)

        return ask


@dataclass(frozen=True)
class Storm:
    """
    @ivar half: seconds until half of the agents are back. @ivar all: until all are.
    @ivar dials: the most connections that came in a second, repeated SYNs included, to all nodes.
    @ivar operations: the most questions to the store in a second, by all nodes.
    @ivar attempts: connections for each agent, on average.
    """

    half: float
    all: float
    dials: int
    operations: int
    attempts: float


class Simulation:
    """
    @param agents: how many the dying node has, with a tunnel each. @param nodes: how many there are, with it.
    @param rate: agents a second that each node takes.
    """

    def __init__(self, agents: int, nodes: int, rate: float = AGENT_RATE, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._clock = Clock()
        self._rate = rate
        store = MemoryStore(self._clock.seconds)
        self._asked: Counter[int] = Counter()
        self._dials: Counter[int] = Counter()
        self._ways = [Counted(store, self._clock, self._asked) for _ in range(nodes)]
        self._nodes = []
        for number, way in enumerate(self._ways):
            cluster: Any = Cluster(self._clock, way, f"n{number}", now=self._clock.seconds)  # type: ignore[arg-type]
            node = Node(f"n{number}", "10.0.0.1", 7000, "s", "", "0", 0.0, group=f"n{number}")
            Deferred.fromCoroutine(cluster.join(node))
            self._nodes.append(cluster)
        self._backoffs = [Backoff(self._random.uniform) for _ in range(agents)]
        for agent in range(agents):
            Deferred.fromCoroutine(self._nodes[0].hold(f"t{agent}", "http", None, f"token{agent}"))
        self._clock.pump([STEP] * 40)
        self._due: list[tuple[float, int, int, int]] = []
        self._attempt = [0] * agents
        self._queues: list[deque[tuple[int, int]]] = [deque() for _ in range(nodes)]
        self._back: dict[int, float] = {}

    def run(self) -> Storm:
        """Kill the first node, and go on until all of its agents are on others."""
        self._ways[0].dead = True
        self._asked.clear()
        count, begin = len(self._backoffs), self._clock.seconds()
        for agent in range(count):
            self._dial_later(agent)
        room = [0.0] * len(self._nodes)
        while len(self._back) < count:
            self._clock.advance(STEP)
            while self._due and self._due[0][0] <= self._clock.seconds():
                _, agent, attempt, syns = heapq.heappop(self._due)
                if agent not in self._back and self._attempt[agent] == attempt:
                    self._event(agent, syns)
            for number in range(1, len(self._nodes)):
                room[number] = min(room[number] + self._rate * STEP, self._rate)
                while room[number] >= 1 and self._queues[number]:
                    agent, attempt = self._queues[number].popleft()
                    if self._attempt[agent] == attempt:
                        room[number] -= 1
                        self._take(number, agent)
        times = sorted(when - begin for when in self._back.values())
        attempts = sum(self._attempt) / count
        return Storm(
            times[count // 2], times[-1], max(self._dials.values()), max(self._asked.values()), attempts
        )

    def _dial_later(self, agent: int) -> None:
        self._attempt[agent] += 1
        when = self._clock.seconds() + self._backoffs[agent].next()
        heapq.heappush(self._due, (when, agent, self._attempt[agent], 0))

    def _event(self, agent: int, syns: int) -> None:
        """It sends a SYN, or gives up the connection."""
        if syns < 0:
            self._dial_later(agent)
            return
        now = self._clock.seconds()
        self._dials[int(now)] += 1
        attempt = self._attempt[agent]
        queue = self._queues[self._random.randrange(1, len(self._nodes))]
        if syns == 0:
            heapq.heappush(self._due, (now + CONNECT_TIMEOUT + 1, agent, attempt, -1))
        if len(queue) < BACKLOG:
            queue.append((agent, attempt))
        elif syns < len(SYN_AGAIN):
            wait = SYN_AGAIN[syns] - (SYN_AGAIN[syns - 1] if syns else 0.0)
            heapq.heappush(self._due, (now + wait, agent, attempt, syns + 1))

    def _take(self, number: int, agent: int) -> None:
        """What a node asks the store when it opens a tunnel again: the reservation, and the lease."""
        self._asked[int(self._clock.seconds())] += 1
        Deferred.fromCoroutine(self._nodes[number].hold(f"t{agent}", "http", None, f"token{agent}"))
        self._back[agent] = self._clock.seconds()


def main() -> None:
    """Show what happens with 50,000 agents, for some sizes of the cluster."""
    print("nodes  agents   half back   all back   dials/s   store/s   dials an agent")
    for nodes in (3, 5, 11):
        storm = Simulation(50_000, nodes).run()
        print(
            f"{nodes:5}  50,000 {storm.half:9.1f} s {storm.all:8.1f} s {storm.dials:9,} {storm.operations:9,}"
            f" {storm.attempts:12.1f}"
        )


if __name__ == "__main__":
    main()
