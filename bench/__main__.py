"""
Measures all rows of all subjects in one run, and prints a table: see docs/performance.md.

    python -m bench [--quick] [--rows A,B] [--subjects A,B] [--before PATH] [--json FILE]
    python -m bench scale [--rows scale|scale-tls] [--before PATH] [--json FILE]
    python -m bench simulate                   # a node with 50,000 agents dies: see docs/scale.md
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import rows, simulate, subjects
from bench.report import Report
from bench.rows import Row
from bench.subjects import Setup, Subject
from bench.upstreams import Upstreams

QUICK_SUBJECTS = ("burrow", "nginx", "direct", "frp", "frp-ws")


class Field:
    """The subjects, started once for each setup, and all stopped at the end."""

    def __init__(self, folder: Path, upstreams: Upstreams, report: Report) -> None:
        self._folder = folder
        self._upstreams = upstreams
        self._report = report
        self._count = 0
        self._kept: dict[tuple[type[Subject], Setup], Subject | None] = {}

    def get(self, kind: type[Subject], setup: Setup) -> Subject | None:
        """A subject that may have served before; None if it does not start, which is noted."""
        if (kind, setup) not in self._kept:
            self._kept[kind, setup] = self.start(kind, setup)
        return self._kept[kind, setup]

    def start(self, kind: type[Subject], setup: Setup) -> Subject | None:
        """The same, of one that the caller stops."""
        self._count += 1
        folder = self._folder / f"{kind.name}-{self._count}"
        folder.mkdir(mode=0o755)
        subject = kind(folder, self._upstreams, setup)
        try:
            subject.start()
        except Exception as error:  # whatever a peer does, the others are measured
            self._report.note(f"{kind.name} does not start", error)
            subject.stop()
            return None
        return subject

    def close(self) -> None:
        for subject in self._kept.values():
            if subject is not None:
                self.stop(subject)

    def stop(self, subject: Subject) -> None:
        """One that does not stop costs no figures."""
        try:
            subject.stop()
        except Exception as error:
            self._report.note(f"{subject.name} does not stop", error)


def measure(
    chosen: Iterable[Row], kinds: list[type[Subject]], report: Report, rounds: int, seconds: float
) -> None:
    """All rows, one after the other. In each round the subjects take turns, each time another one first."""
    folder = Path(tempfile.mkdtemp(prefix="burrow-bench-"))
    folder.chmod(0o755)  # nginx and PostgreSQL read there as other users
    upstreams = Upstreams(folder)
    field = Field(folder, upstreams, report)
    try:
        for row in chosen:
            report.declare(row.name, row.metrics)
            taking = [kind for kind in kinds if row.takes(kind)]
            for number in range(rounds):
                first = number % len(taking) if taking else 0
                for kind in taking[first:] + taking[:first]:
                    tell(f"{row.name}, round {number + 1} of {rounds}: {kind.name}")
                    _measure_once(row, kind, field, report, seconds)
    finally:
        field.close()
        upstreams.close()
        shutil.rmtree(folder, ignore_errors=True)


def left_out(chosen: Iterable[Row], kinds: list[type[Subject]]) -> list[str]:
    """A sentence for each row for which none of the subjects is capable: it says which are."""
    found = []
    for row in chosen:
        if not any(row.takes(kind) for kind in kinds):
            able = ",".join(kind.name for kind in subjects.ALL if row.takes(kind))
            found.append(f"{row.name} is left out: none of the subjects takes it; write --subjects {able}")
    return found


def _measure_once(row: Row, kind: type[Subject], field: Field, report: Report, seconds: float) -> None:
    start = field.start if row.fresh else field.get
    subject = start(kind, row.setup)
    if subject is None:
        return
    try:
        report.add(row.name, kind.name, row.measure(subject, seconds))
    except Exception as error:  # as above
        report.note(f"{row.name} of {kind.name}", error)
    finally:
        if row.fresh:
            field.stop(subject)


def tell(text: str) -> None:
    """What is done now, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def about(rounds: int, seconds: float) -> dict[str, Any]:
    """What a reader of the figures needs to know."""

    def commit(path: Path) -> str:
        command = ["git", "-C", str(path), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "rounds": rounds,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": commit(subjects.Burrow.root),
    }


def choose(all_of_them: Iterable[Any], given: str | None, parser: argparse.ArgumentParser) -> list[Any]:
    """Those whose name, or family, is in a list with commas; all where none is given."""
    everything = list(all_of_them)
    if given is None:
        return everything
    wanted = {name.strip() for name in given.split(",")}
    found = [one for one in everything if {one.name, getattr(one, "family", "")} & wanted]
    unknown = wanted - {name for one in found for name in (one.name, getattr(one, "family", ""))}
    if unknown:
        names = ", ".join(one.name for one in everything)
        parser.error(f"there is no {', '.join(sorted(unknown))}: there are {names}")
    return found


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument(
        "what", nargs="?", choices=("all", "scale", "simulate"), default="all", help="(default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="one short round, in 90 s")
    parser.add_argument("--rows", help="names of rows or families, with commas")
    parser.add_argument("--subjects", help="names of subjects, with commas")
    parser.add_argument("--before", type=Path, metavar="PATH", help="measure this checkout of Burrow, too")
    parser.add_argument("--rounds", type=int, help="the median of so many is told (default: 3)")
    parser.add_argument("--seconds", type=float, help="how long each measurement is (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    given = parser.parse_args()
    if given.what == "simulate":
        simulate.main()
        return
    scale = given.what == "scale"
    rounds = given.rounds or (1 if given.quick or scale else 3)
    seconds = given.seconds or (1 if given.quick else 3)
    kinds = choose(subjects.ALL, given.subjects, parser)
    if given.quick and given.subjects is None:
        kinds = [kind for kind in kinds if kind.name in QUICK_SUBJECTS]
    if given.before is not None:
        kinds.insert(1, subjects.other_checkout(given.before))
    chosen = choose(rows.SCALE if scale else rows.ALL, given.rows, parser)
    if given.quick and given.rows is None:
        chosen = [row for row in chosen if row.quick]
    if any(row.setup.line for row in chosen) and subjects.Direct not in kinds:
        kinds.append(subjects.Direct)  # it shows what the line itself carries
    here = [kind for kind in kinds if not kind.missing()]
    report = Report([kind.name for kind in here])
    for kind in kinds:
        if kind.missing():
            report.notes.append(f"{kind.name} is left out: {', '.join(kind.missing())} is not on the PATH")
    taken = [row() for row in chosen]
    report.notes += left_out(taken, here)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all processes end
    try:
        measure(taken, here, report, rounds, seconds)
    except KeyboardInterrupt:
        report.notes.append("it was interrupted: what follows is missing")
    tell("")
    print(report.table())
    what = about(rounds, seconds)
    print(f"\n{what['date']}, {what['commit']}, {what['cores']} cores, Python {what['python']}:", end=" ")
    print(f"{rounds} rounds of {seconds:g} s; {time.monotonic() - began:.0f} s in all")
    if given.json is not None:
        report.write(given.json, what)


if __name__ == "__main__":
    main()
