"""New connections: each carries one request."""

from __future__ import annotations

from bench.load import wrk
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject


class Connections(Row):
    """wrk, 32 at a time, each closed by its answer."""

    name, family = "connections", "connections"
    setup = Setup(("web",))
    metrics = (Metric("rate", "new connections, plain", "1/s", (Goal(0.35, "nginx"),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return {"rate": wrk(subject.visit("web"), 32, seconds, "Connection: close").rate}


class TlsConnections(Connections):
    """The same over HTTPS, with a handshake each."""

    name = "connections-tls"
    setup = Setup(("web",), tls=True)
    metrics = (Metric("rate", "new connections, HTTPS", "1/s", (Goal(0.35, "nginx"),)),)
