"""What it costs visitors that somebody looks: the questions of dashboard and inspector beside full load."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Iterator

from bench.load import wrk
from bench.rows.base import Goal, Metric, Row
from bench.rows.idle import SETTLE
from bench.subjects.base import Setup, Subject
from bench.subjects.burrow import Burrow

TUNNELS = 1000
EVERY = 4
"""Seconds after which the dashboard's page asks for all tunnels, if there are many."""


TURNS = 4
"""How often each of both is measured; memory is told after each turn."""


def _memory_after(role: str) -> list[Metric]:
    label = f"{role} memory after turn {{}} of {TURNS}"
    return [Metric(f"{role}{turn}", label.format(turn), "MB", less=True) for turn in range(1, TURNS + 1)]


class Looking(Row):
    """
    Requests through an agent as it is by default, beside 1,000 tunnels; then the same while curl asks what a
    dashboard's two pages (all tunnels; the requests of the busy one) and the inspector's page ask. The
    browser itself is left out: it would take the machine's cores for drawing.
    """

    name, family = "looking", "looking"
    setup = Setup(("web",))
    subjects = ("watched",)
    quick, fresh = False, True
    metrics = (
        Metric("alone", "requests beside 1,000 tunnels, nobody looks", "1/s"),
        Metric("looked", "the same with dashboard and inspector open", "1/s"),
        Metric("part", "the second as part of the first", "", (Goal(0.95),)),
        Metric("server", "server memory that it grew by, each minute of load", "MB", less=True),
        Metric("agent", "agent memory that it grew by, each minute of load", "MB", less=True),
        *_memory_after("server"),
        *_memory_after("agent"),
        Metric("late", "server memory that it grew by, each minute of the last half", "MB", less=True),
        Metric("late-agent", "agent memory that it grew by, each minute of the last half", "MB", less=True),
    )

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        assert isinstance(subject, Burrow)
        subject.crowd(4, TUNNELS // 4)
        visit = subject.visit("web")
        rates: dict[str, list[float]] = {"alone": [], "looked": []}
        wrk(visit, 32, 2 * seconds)  # until the inspector's memory is full: it grows no more then
        time.sleep(SETTLE)
        seen = [_memory(subject)]
        for _ in range(TURNS):  # in turns, since a machine changes within seconds
            rates["alone"].append(wrk(visit, 32, seconds).rate)
            with _looked_at(subject):
                rates["looked"].append(wrk(visit, 32, seconds).rate)
            seen.append(_memory(subject))
        means = {key: sum(values) / len(values) for key, values in rates.items()}
        after = {
            f"{role}{turn}": seen[turn][role] for turn in range(1, TURNS + 1) for role in ("server", "agent")
        }
        grown = {role: _growth(seen, role) for role in ("server", "agent")}
        late = {
            f"late{end}": _growth(seen[TURNS // 2 :], role)
            for end, role in (("", "server"), ("-agent", "agent"))
        }
        return {**means, "part": means["looked"] / means["alone"], **grown, **after, **late}


def _memory(subject: Burrow) -> dict[str, float]:
    """MB of each role, and the time in minutes."""
    sizes = {role: tree.memory() / 1e6 for role, tree in subject.processes.items()}
    return {**sizes, "minutes": time.monotonic() / 60}


def _growth(seen: list[dict[str, float]], role: str) -> float:
    """MB a minute, from the first look to the last."""
    first, last = seen[0], seen[-1]
    return (last[role] - first[role]) / (last["minutes"] - first["minutes"])


@contextlib.contextmanager
def _looked_at(subject: Burrow) -> Iterator[None]:
    """Ask as the pages do, until the end."""
    token = subject.world.token(f"boss{time.monotonic_ns()}", "admin")
    api = f"{subject.world.env['BURROW_SERVER']}/_burrow/api/v1"
    key = ["-H", f"Authorization: Bearer {token}"]
    ask = shlex.join(["curl", "-sf", "-o", "/dev/null", *key, f"{api}/tunnels?limit=1000"])
    commands = [
        ["sh", "-c", f"while {ask}; do sleep {EVERY}; done"],
        ["curl", "-sfN", *key, f"{api}/events?follow=1"],
        ["curl", "-sfN", *key, f"{api}/requests?follow=1&tunnel=web"],
        ["curl", "-sfN", f"{subject.inspector}/api/events"],
    ]
    lookers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    try:
        time.sleep(1)
        yield
        for command, looker in zip(commands, lookers, strict=True):
            if looker.poll() is not None:
                raise RuntimeError(f"nobody looked: {command[0]} {command[-1]} ended")
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()
