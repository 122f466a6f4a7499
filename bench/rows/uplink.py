"""An agent behind a home's uplink: small requests while a download fills it."""

from __future__ import annotations

from bench.relay import Line
from bench.rows.base import Goal, Metric, Row
from bench.rows.beside import small_beside_bulk
from bench.subjects.base import Setup, Subject

RATE = 20e6
"""Bits a second."""


UNQUEUED = 10.9
"""Milliseconds of a small request on a direct line without a queue: so empty the queue is to stay."""


def _metrics(what: str, *goals: Goal) -> tuple[Metric, ...]:
    return (
        Metric("p50", f"small request, {what}, p50", "ms", (Goal(1.0, "direct"), *goals), less=True),
        Metric("p99", f"small request, {what}, p99", "ms", less=True),
        Metric("filled", f"the bulk beside it, {what}", "% of the line", (Goal(95),)),
    )


class Uplink(Row):
    """20 Mbit/s, and a queue of 400 ms before it, as home routers have: who fills it waits in it."""

    name, family = "uplink", "uplink"
    setup = Setup(("web",), line=Line(RATE, 0.0, int(RATE / 8 * 0.4)), shape="up")
    metrics = _metrics("uplink 20 Mbit/s, queue 400 ms", Goal(UNQUEUED))

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        figures = small_beside_bulk(subject, seconds, 2.0)  # until the queue is as full as it gets
        return figures | {"filled": figures["bulk"] * 8 / RATE * 100}


class ShortUplink(Uplink):
    """The same with a queue of 7 ms: what waits then, waits at the sender."""

    name = "uplink-short"
    setup = Setup(("web",), line=Line(RATE, 0.0, int(RATE / 8 * 0.007)), shape="up")
    quick = False
    metrics = _metrics("uplink 20 Mbit/s, queue 7 ms")
