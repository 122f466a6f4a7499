"""Small requests: how many a second, what one costs, how long one takes."""

from __future__ import annotations

from collections.abc import Callable

from bench.load import h2load, wrk
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject


def _counted(subject: Subject, load: Callable[[], tuple[dict[str, float], int]]) -> dict[str, float]:
    """
    @param load: makes requests; returns figures of them, and how many there were.
    @return: these figures, and the CPU that the subject's processes took for a request, in microseconds.
    """
    trees = subject.processes
    before = {role: tree.cpu() for role, tree in trees.items()}
    figures, count = load()
    used = {role: (tree.cpu() - before[role]) / count * 1e6 for role, tree in trees.items()}
    if used:
        figures["cpu"] = sum(used.values())
    return figures | {f"cpu-{role}": value for role, value in used.items()}


def measure(subject: Subject, connections: int, seconds: float, *fields: str) -> dict[str, float]:
    """wrk. @param fields: of each request, too. @return: rate, p50, p99, and the CPU of a request."""

    def load() -> tuple[dict[str, float], int]:
        made = wrk(subject.visit("web"), connections, seconds, *fields)
        return {"rate": made.rate, "p50": made.p50, "p99": made.p99}, made.count

    return _counted(subject, load)


def cpu_parts(what: str, how: str) -> tuple[Metric, ...]:
    """The CPU at each end. @param what: for which it is. @param how: the end of the labels."""
    return (
        Metric("cpu-server", f"CPU a {what}, server{how}", "us", less=True),
        Metric("cpu-agent", f"CPU a {what}, agent{how}", "us", less=True, compare=("frp", "bare", "before")),
    )


class Requests(Row):
    """wrk, 32 connections that are kept, 1 KiB answers."""

    name, family = "requests", "requests"
    setup = Setup(("web",))
    metrics = (
        Metric(
            "rate",
            "requests, 32 connections, plain",
            "1/s",
            (Goal(3.5, "frp"), Goal(0.42, "nginx"), Goal(1.0, "chisel")),
        ),
        Metric("cpu", "CPU a request, both ends", "us", (Goal(60),), less=True),
        *cpu_parts("request", ""),
        Metric("p99", "p99, 32 connections", "ms", less=True),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return measure(subject, 32, seconds)


class Https(Row):
    """The same over HTTPS."""

    name, family = "https", "requests"
    setup = Setup(("web",), tls=True)
    metrics = (
        Metric("rate", "requests, 32 connections, HTTPS", "1/s", (Goal(0.42, "nginx"),)),
        Metric("cpu", "CPU a request, both ends, HTTPS", "us", less=True),
        *cpu_parts("request", ", HTTPS"),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return measure(subject, 32, seconds)


class Http2(Row):
    """h2load, 4 connections with 25 requests at a time each."""

    name, family = "http2", "requests"
    setup = Setup(("web",), tls=True, http2=True)
    metrics = (
        Metric("rate", "requests, HTTP/2, 100 streams", "1/s", (Goal(0.42, "nginx"),)),
        Metric("cpu", "CPU a request, both ends, HTTP/2", "us", less=True),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        def load() -> tuple[dict[str, float], int]:
            rate, count = h2load(subject.visit("web"), 4, 25, seconds)
            return {"rate": rate}, count

        return _counted(subject, load)


class One(Row):
    """The same on one connection: one request after the other."""

    name, family = "one", "requests"
    setup = Setup(("web",))
    metrics = (Metric("p50", "p50, 1 connection, plain", "ms", (Goal(1.0, "frp"),), less=True),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return measure(subject, 1, seconds)
