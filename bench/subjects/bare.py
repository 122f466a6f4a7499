"""Nobody's tunnel: the least that two processes in Python do, which is a bound for Burrow (bench/bare.py)."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.subjects.base import PortForward
from tests.e2e.harness import free_port

_PROGRAM = Path(__file__).parents[1] / "bare.py"


class Bare(PortForward):
    """One connection between two loops that pass on frames."""

    name = "bare"
    can = frozenset({"http", "tcp"})

    def start(self) -> None:
        link = free_port()
        self._ports = {target: free_port() for target in self.setup.targets}
        program = (sys.executable, "-I", _PROGRAM)
        self._server = self.run(*program, "server", link, *self._ports.values())
        self._server.line("listening")
        self._agent = self.run(*program, "agent", link, *map(self.upstreams.port, self._ports))
        self.wait_until_open()
