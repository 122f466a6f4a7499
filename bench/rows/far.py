"""An agent that is far away: a round trip of 100 ms between it and the server."""

from __future__ import annotations

from bench.load import download, upload
from bench.relay import Line
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject, Visit
from bench.upstreams import BIG

FAR = Line(None, 0.05)

LEAST = 4.0
"""Seconds of a transfer, at most: in less, windows that begin small would be most of what is measured."""


class FarDownload(Row):
    """
    One download by a visitor, so that the agent uploads; twice as long as other rows take at most. "direct"
    is what the line itself carries: the relay's own limit.
    """

    name, family = "far-download", "far"
    setup = Setup(("web", "sink"), line=FAR)
    metrics = (Metric("rate", "100 ms round trip: one download, the agent uploads", "MB/s", (Goal(100),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return {"rate": download(subject.visit("web"), max(LEAST, seconds * 2)) / 1e6}


class FarUpload(Row):
    """The other way, counted where it arrives."""

    name, family = "far-upload", "far"
    setup = Setup(("web", "sink"), line=FAR)
    quick = False
    metrics = (Metric("rate", "100 ms round trip: one upload, the agent downloads", "MB/s", (Goal(100),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        sink = Visit(subject.upstreams.port("sink"))
        return {"rate": upload(subject.visit("sink"), sink, max(LEAST, seconds * 2), BIG) / 1e6}
