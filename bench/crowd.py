"""Many idle agents of a Burrow server, in several processes (bench/agents.py)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.e2e.harness import Program, World

PER_PROCESS = 250
"""Agents in one process."""

PATIENCE = 120.0
"""Seconds until all tunnels are open, at most."""

_PROGRAM = Path(__file__).with_name("agents.py")


class Crowd:
    """
    C{count} agents, each with C{tunnels} tunnels.

    @param root: the checkout whose agents they are.
    """

    def __init__(self, world: World, root: Path, upstream: int, count: int, tunnels: int) -> None:
        self.count, self.tunnels = count, tunnels
        self._processes: list[Program] = []
        self._orders: list[int] = []
        self._told: list[int] = []
        environment = {**world.env, "PYTHONPATH": str(root)}
        for first in range(0, count, PER_PROCESS):
            some = min(PER_PROCESS, count - first)
            command = [sys.executable, "-P", _PROGRAM, some, tunnels, f"a{first}", upstream]
            reading, writing = os.pipe()
            with open(reading) as orders:
                self._processes.append(Program(*command, env=environment, stdin=orders, cwd=root))
            self._orders.append(writing)
            self._told.append(0)

    def wait(self) -> float:
        """
        Wait until all tunnels are open that were not when this was called last.

        @return: when that was, by L{time.monotonic}.
        """
        return max(float(found[1]) for found in self._next(r"^open ([\d.]+)$"))

    def want(self, tunnels: int) -> float:
        """Have each agent open more tunnels, and wait. @return: as L{wait}."""
        self.tunnels = tunnels
        for orders in self._orders:
            os.write(orders, b"%d\n" % tunnels)
        return self.wait()

    def again(self) -> None:
        """The server is about to be killed: L{wait} waits from now on until all are open anew."""
        for orders in self._orders:
            os.write(orders, b"again\n")
        self._next("^waiting$")

    def _next(self, pattern: str) -> list[re.Match[str]]:
        """The next line of each process that matches."""
        all_found = []
        for number, process in enumerate(self._processes):
            told = self._told[number]
            found = process.line(pattern, told, PATIENCE)
            self._told[number] = process.lines.index(found.string, told) + 1
            all_found.append(found)
        return all_found

    def stop(self) -> None:
        """They say no good-bye."""
        for process in self._processes:
            process.kill()
            process.stop()
        for orders in self._orders:
            os.close(orders)
