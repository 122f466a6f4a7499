"""What agents and tunnels cost that nobody visits."""

from __future__ import annotations

import time

from bench.processes import Tree
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject
from bench.subjects.burrow import Burrow

SETTLE = 2.0
"""Seconds after which what was started is idle."""

SHOWN = 500
"""The figure of CPU is for so many agents."""


def cpu_of(tree: Tree, seconds: float) -> float:
    """The cores that are busy, on average over so many seconds."""
    before, began = tree.cpu(), time.monotonic()
    time.sleep(seconds)
    return (tree.cpu() - before) / (time.monotonic() - began)


class Idle(Row):
    """500 agents with a tunnel each, in two processes; 50 of frp's, a process each. What the server takes."""

    name, family = "idle", "idle"
    setup = Setup(("web",))
    subjects = ("burrow", "frp")
    quick, fresh = False, True
    metrics = (
        Metric("memory", "server memory an idle agent, plain", "KB", (Goal(31),), less=True),
        Metric("cpu", f"server CPU, {SHOWN} idle agents, plain", "cores", (Goal(0.02),), less=True),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        count = SHOWN if isinstance(subject, Burrow) else SHOWN // 10
        tree = subject.processes["server"]
        time.sleep(SETTLE)
        memory, cpu = tree.memory(), cpu_of(tree, seconds)
        subject.crowd(count, 1)
        time.sleep(SETTLE)
        grown = (tree.memory() - memory) / count / 1e3
        return {"memory": grown, "cpu": (cpu_of(tree, seconds * 2) - cpu) * SHOWN / count}


class TlsIdle(Idle):
    """The same with agents that connect by TLS."""

    name = "idle-tls"
    setup = Setup(("web",), tls=True)
    metrics = (
        Metric("memory", "server memory an idle agent, TLS", "KB", (Goal(67),), less=True),
        Metric("cpu", f"server CPU, {SHOWN} idle agents, TLS", "cores", (Goal(0.02),), less=True),
    )


class Tunnels(Row):
    """1,000 tunnels of one agent."""

    name, family = "tunnels", "idle"
    setup = Setup(("web",))
    subjects = ("burrow", "frp")
    quick, fresh = False, True
    metrics = (Metric("memory", "server memory an extra tunnel", "KB", (Goal(4),), less=True),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        count = 1000
        tree = subject.processes["server"]
        time.sleep(SETTLE)
        memory = tree.memory()
        subject.crowd(1, count)
        time.sleep(SETTLE)
        return {"memory": (tree.memory() - memory) / count / 1e3}


class Back(Row):
    """1,000 agents. All processes of the server are killed; counted from when its port listens again."""

    name, family = "back", "idle"
    setup = Setup(("web",))
    subjects = ("burrow",)
    quick, fresh = False, True
    metrics = (
        Metric("back", "1,000 agents back after kill -9 and start", "s", (Goal(3),), less=True),
        Metric("away", "the same from the kill on", "s", less=True),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        assert isinstance(subject, Burrow)
        subject.crowd(1000, 1)
        time.sleep(SETTLE)
        back, away = killed(subject)
        return {"back": back, "away": away}


def killed(subject: Burrow) -> tuple[float, float]:
    """
    Kill all processes of a server that has one crowd, and start it.

    @return: the seconds until all tunnels are open, from when its port listens, and from the kill.
    """
    killed, listens = subject.restart()
    back = subject.crowds[0].wait()
    return back - listens, back - killed
