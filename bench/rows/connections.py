"""New connections: each carries one request."""

from __future__ import annotations

from bench.load import wrk
from bench.rows.base import Goal, Metric, Row
from bench.rows.requests import counted
from bench.subjects.base import Setup, Subject


def _metrics(scheme: str) -> tuple[Metric, ...]:
    return (
        Metric("rate", f"new connections, {scheme}", "1/s", (Goal(0.35, "nginx"),)),
        Metric("cpu-server", f"CPU a connection, server, {scheme}", "us", less=True),
        Metric("cpu-agent", f"CPU a connection, agent, {scheme}", "us", less=True),
    )


class Connections(Row):
    """wrk, 32 at a time, each closed by its answer."""

    name, family = "connections", "connections"
    setup = Setup(("web",))
    metrics = _metrics("plain")

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        def load() -> tuple[dict[str, float], int]:
            made = wrk(subject.visit("web"), 32, seconds, "Connection: close")
            return {"rate": made.rate}, made.count

        return counted(subject, load)


class TlsConnections(Connections):
    """The same over HTTPS, with a handshake each."""

    name = "connections-tls"
    setup = Setup(("web",), tls=True)
    metrics = _metrics("HTTPS")
