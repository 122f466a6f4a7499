"""Small requests while a download runs through the same tunnel."""

from __future__ import annotations

import time

from bench.load import downloading, pace, percentile
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject

EVERY = 0.01
"""Seconds between two small requests, unless one takes longer."""


def small_beside_bulk(subject: Subject, seconds: float, warm_up: float) -> dict[str, float]:
    """The download begins C{warm_up} seconds before the first small request."""
    visit = subject.visit("web")
    with downloading(visit, warm_up + seconds) as bulk_rate:
        time.sleep(warm_up)
        took = pace(visit, seconds, EVERY)
        return {"p50": percentile(took, 50), "p99": percentile(took, 99), "bulk": bulk_rate()}


class Beside(Row):
    """On the loopback: what is waited for are the processors."""

    name, family = "beside", "beside"
    setup = Setup(("web",))
    quick = False
    metrics = (
        Metric("p50", "small request beside bulk, p50", "ms", (Goal(1.0, "best"),), less=True),
        Metric("p99", "small request beside bulk, p99", "ms", (Goal(1.0, "best"),), less=True),
        Metric("bulk", "the bulk beside them", "MB/s"),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        figures = small_beside_bulk(subject, seconds, 0.5)
        return figures | {"bulk": figures["bulk"] / 1e6}
