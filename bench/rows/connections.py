"""New connections: each carries one request."""

from __future__ import annotations

from bench.rows.base import Goal, Metric, Row
from bench.rows.requests import cpu_parts, measure
from bench.subjects.base import Setup, Subject


def _metrics(scheme: str) -> tuple[Metric, ...]:
    return (
        Metric("rate", f"new connections, {scheme}", "1/s", (Goal(0.35, "nginx"),)),
        *cpu_parts("connection", f", {scheme}"),
    )


class Connections(Row):
    """wrk, 32 at a time, each closed by its answer."""

    name, family = "connections", "connections"
    setup = Setup(("web",))
    metrics = _metrics("plain")

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return measure(subject, 32, seconds, "Connection: close")


class TlsConnections(Connections):
    """The same over HTTPS, with a handshake each."""

    name = "connections-tls"
    setup = Setup(("web",), tls=True)
    metrics = _metrics("HTTPS")
