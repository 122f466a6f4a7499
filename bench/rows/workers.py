"""What a second worker is worth."""

from __future__ import annotations

import contextlib
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.load import wrk
from bench.rows.base import Metric, Row
from bench.subjects.base import Setup, Subject, Visit
from bench.subjects.burrow import Burrow

AGENTS = 8
CONNECTIONS = 32
"""Of all visitors together."""


class Workers(Row):
    """HTTPS through one agent and through eight, with one worker and with two: two servers, in turns."""

    name, family = "workers", "workers"
    setup = Setup(("web",), tls=True)
    subjects = ("burrow",)
    quick = False
    metrics = (
        Metric("one-1", "HTTPS, 1 agent, 1 worker", "1/s"),
        Metric("one-2", "HTTPS, 1 agent, 2 workers", "1/s"),
        Metric("eight-1", "HTTPS, 8 agents, 1 worker", "1/s"),
        Metric("eight-2", "HTTPS, 8 agents, 2 workers", "1/s"),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        assert isinstance(subject, Burrow)
        figures = {}
        with contextlib.ExitStack() as started:
            visits = {workers: self._start(subject, workers, started) for workers in (1, 2)}
            time.sleep(2)  # workers look for each other once a second
            for name, agents in (("one", 1), ("eight", AGENTS)):
                for workers in (1, 2):
                    figures[f"{name}-{workers}"] = _rate(visits[workers][:agents], seconds)
        return figures

    def _start(self, like: Burrow, workers: int, started: contextlib.ExitStack) -> list[Visit]:
        server = type(like)(Path(tempfile.mkdtemp(dir=like.folder)), like.upstreams, like.setup)
        started.callback(server.stop)
        server.workers = workers
        server.start()
        return [server.one_more(f"n{number}") for number in range(AGENTS)]


def _rate(visits: list[Visit], seconds: float) -> float:
    """Requests a second of all together."""
    with ThreadPoolExecutor(len(visits)) as pool:
        loads = pool.map(lambda visit: wrk(visit, CONNECTIONS // len(visits), seconds), visits)
        return sum(load.rate for load in loads)
