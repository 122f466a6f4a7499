"""One download as fast as it goes."""

from __future__ import annotations

from bench.load import download
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject


class Bulk(Row):
    """256 MiB by curl, broken off when the time is over: at least twice as long as other rows take."""

    name, family = "bulk", "bulk"
    setup = Setup(("web",))
    metrics = (Metric("rate", "bulk download, plain", "MB/s", (Goal(1.3, "frp"),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return {"rate": download(subject.visit("web"), seconds * 2) / 1e6}


class TlsBulk(Bulk):
    """The same over HTTPS. frp by its WebSocket over TLS with plain visitors (frp-ws) has less to encrypt."""

    name = "bulk-tls"
    setup = Setup(("web",), tls=True)
    metrics = (Metric("rate", "bulk download, HTTPS", "MB/s", (Goal(1.6, "frp-ws"),)),)
    also = ("frp-ws",)
