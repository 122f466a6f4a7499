"""A Python app behind a tunnel of its own, by C{burrow.serve}, beside the same app behind uvicorn."""

from __future__ import annotations

from bench.load import wrk
from bench.processes import Tree
from bench.rows.base import Metric, Row
from bench.subjects.base import Setup, Subject


class Serving(Row):
    """
    Column "served" is C{burrow.serve}, "burrow" an agent that forwards to uvicorn, "direct" uvicorn alone.
    The CPU time is that of the app's machine: the agent and uvicorn, or the one process that is both.
    """

    name, family = "serving", "serving"
    setup = Setup(("app",))
    subjects = ("burrow", "direct")
    also = ("served",)
    quick = False
    metrics = (
        Metric("rate", "requests to an ASGI app, 32 connections", "1/s", compare=("served", "direct")),
        Metric("p50", "the same, 1 connection, p50", "ms", less=True, compare=("served", "direct")),
        Metric("cpu", "CPU a request, app and agent", "us", less=True, compare=("served", "direct")),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        visit, trees = subject.visit("app"), []
        if "agent" in subject.processes:
            trees.append(subject.processes["agent"])
        if subject.name != "served":
            trees.append(Tree(subject.upstreams.app))
        before = sum(tree.cpu() for tree in trees)
        load = wrk(visit, 32, seconds)
        used = sum(tree.cpu() for tree in trees) - before
        return {"rate": load.rate, "cpu": used / load.count * 1e6, "p50": wrk(visit, 1, seconds).p50}
