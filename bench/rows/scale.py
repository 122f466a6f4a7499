"""python -m bench scale: what a server takes that has many agents and tunnels."""

from __future__ import annotations

import time

from bench.processes import Tree
from bench.rows.base import Goal, Metric, Row
from bench.rows.idle import SETTLE, cpu_of, killed
from bench.subjects.base import Setup, Subject
from bench.subjects.burrow import Burrow

AGENTS = 1000
TUNNELS = 10
"""Of each agent."""


def _metrics(how: str) -> tuple[Metric, ...]:
    every, extra = f"{AGENTS * TUNNELS:,} tunnels", f"{AGENTS * (TUNNELS - 1):,} tunnels"
    return (
        Metric("open", f"{how}: {AGENTS:,} agents connect, with a tunnel each", "s", less=True),
        Metric("memory", f"{how}: server memory an idle agent", "KB", less=True),
        Metric("cpu", f"{how}: server CPU an idle agent", "us/s", (Goal(40),), less=True),
        Metric("agents-back", f"{how}: they are back after kill -9 and start", "s", (Goal(3),), less=True),
        Metric("agents-away", f"{how}: the same from the kill on", "s", less=True),
        Metric("more", f"{how}: then they open {extra} more", "s", less=True),
        Metric("tunnel-memory", f"{how}: server memory an extra tunnel", "KB", (Goal(4),), less=True),
        Metric("tunnel-cpu", f"{how}: server CPU an extra tunnel", "us/s", less=True),
        Metric("all-memory", f"{how}: server memory with {every}", "MB", less=True),
        Metric("back", f"{how}: {every} back after kill -9 and start", "s", less=True),
        Metric("away", f"{how}: the same from the kill on", "s", less=True),
    )


class Scale(Row):
    """1,000 agents with a tunnel each; then nine more each. After each the server is killed and started."""

    name, family = "scale", ""
    setup = Setup(("web",))
    subjects = ("burrow",)
    quick, fresh = False, True
    metrics = _metrics("plain")

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        assert isinstance(subject, Burrow)
        figures = {}
        tree = subject.processes["server"]
        memory, cpu = _idle(tree, seconds)
        began = time.monotonic()
        subject.crowd(AGENTS, 1)
        figures["open"] = time.monotonic() - began
        memory_1, cpu_1 = _idle(tree, seconds)
        figures["memory"] = (memory_1 - memory) / AGENTS / 1e3
        figures["cpu"] = (cpu_1 - cpu) / AGENTS * 1e6
        figures["agents-back"], figures["agents-away"] = killed(subject)

        tree, crowd = subject.processes["server"], subject.crowds[0]
        memory_1, _ = _idle(tree, 0)
        asked = time.monotonic()
        figures["more"] = crowd.want(TUNNELS) - asked
        memory_2, cpu_2 = _idle(tree, seconds)
        extra = AGENTS * (TUNNELS - 1)
        figures["tunnel-memory"] = (memory_2 - memory_1) / extra / 1e3
        figures["tunnel-cpu"] = (cpu_2 - cpu_1) / extra * 1e6
        figures["all-memory"] = memory_2 / 1e6
        figures["back"], figures["away"] = killed(subject)
        return figures


def _idle(tree: Tree, seconds: float) -> tuple[int, float]:
    """Memory, and the cores that are busy."""
    time.sleep(SETTLE)
    return tree.memory(), cpu_of(tree, seconds * 2) if seconds else 0.0


class TlsScale(Scale):
    """The same with agents that connect by TLS, and a certificate for each name."""

    name = "scale-tls"
    setup = Setup(("web",), tls=True)
    metrics = _metrics("TLS")
