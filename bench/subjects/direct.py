"""No tunnel: the visitor connects to the upstream, through the line if there is one."""

from __future__ import annotations

from dataclasses import replace

from bench.subjects.base import Subject, Visit

_OPPOSITE = {"up": "down", "down": "up", "both": "both"}


class Direct(Subject):
    """The visitor's side of the line is the one that connects here, so that its directions are swapped."""

    name = "direct"
    can = frozenset({"http", "tcp", "line"})

    def start(self) -> None:
        self.setup = replace(self.setup, shape=_OPPOSITE[self.setup.shape])
        self._ports = {}
        for target in self.setup.targets:
            self._ports[target] = self.agents_port(self.upstreams.port(target))
        self.wait_until_open()

    def visit(self, target: str) -> Visit:
        return Visit(self._ports[target])
