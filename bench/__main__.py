"""
Measures all rows of all subjects in one run, and prints a table: see docs/performance.md.

    python -m bench [--quick] [--rows A,B] [--subjects A,B] [--before PATH] [--json FILE]
    python -m bench scale
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import rows, subjects
from bench.report import Report
from bench.rows import Row
from bench.subjects import Setup, Subject
from bench.upstreams import Upstreams

QUICK_SUBJECTS = ("burrow", "nginx", "direct", "frp")


class Field:
    """The subjects, started once for each setup, and all stopped at the end."""

    def __init__(self, folder: Path, upstreams: Upstreams) -> None:
        self._folder = folder
        self._upstreams = upstreams
        self._started: dict[tuple[type[Subject], Setup], Subject | None] = {}

    def get(self, kind: type[Subject], setup: Setup, report: Report) -> Subject | None:
        """A started subject; None if it does not start, which is noted."""
        if (kind, setup) not in self._started:
            folder = self._folder / f"{kind.name}-{len(self._started)}"
            folder.mkdir(mode=0o755)
            subject = kind(folder, self._upstreams, setup)
            try:
                subject.start()
            except Exception as error:  # whatever a peer does, the others are measured
                report.note(f"{kind.name} does not start", error)
                subject.stop()
                self._started[kind, setup] = None
            else:
                self._started[kind, setup] = subject
        return self._started[kind, setup]

    def close(self) -> None:
        for subject in self._started.values():
            if subject is not None:
                subject.stop()


def measure(
    chosen: Iterable[Row], kinds: list[type[Subject]], report: Report, rounds: int, seconds: float
) -> None:
    """All rows, one after the other. In each round the subjects take turns, each time another one first."""
    folder = Path(tempfile.mkdtemp(prefix="burrow-bench-"))
    folder.chmod(0o755)  # nginx and PostgreSQL read there as other users
    upstreams = Upstreams(folder)
    field = Field(folder, upstreams)
    try:
        for row in chosen:
            report.declare(row.name, row.metrics)
            taking = [kind for kind in kinds if row.takes(kind)]
            started = [field.get(kind, row.setup, report) for kind in taking]
            ready = [subject for subject in started if subject is not None]
            for number in range(rounds):
                first = number % len(ready) if ready else 0
                for subject in ready[first:] + ready[:first]:
                    tell(f"{row.name}, round {number + 1} of {rounds}: {subject.name}")
                    try:
                        report.add(row.name, subject.name, row.measure(subject, seconds))
                    except Exception as error:  # as above
                        report.note(f"{row.name} of {subject.name}", error)
    finally:
        field.close()
        upstreams.close()
        shutil.rmtree(folder, ignore_errors=True)


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
    parser.add_argument("--quick", action="store_true", help="one short round, in 90 s")
    parser.add_argument("--rows", help="names of rows or families, with commas")
    parser.add_argument("--subjects", help="names of subjects, with commas")
    parser.add_argument("--before", type=Path, metavar="PATH", help="measure this checkout of Burrow, too")
    parser.add_argument("--rounds", type=int, help="the median of so many is told (default: 3)")
    parser.add_argument("--seconds", type=float, help="how long each measurement is (default: 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else 3)
    seconds = given.seconds or (1 if given.quick else 4)
    kinds = choose(subjects.ALL, given.subjects, parser)
    if given.quick and given.subjects is None:
        kinds = [kind for kind in kinds if kind.name in QUICK_SUBJECTS]
    if given.before is not None:
        kinds.insert(1, subjects.other_checkout(given.before))
    chosen = choose(rows.ALL, given.rows, parser)
    if given.quick and given.rows is None:
        chosen = [row for row in chosen if row.quick]
    here = [kind for kind in kinds if not kind.missing()]
    report = Report([kind.name for kind in here])
    for kind in kinds:
        if kind.missing():
            report.notes.append(f"{kind.name} is left out: {', '.join(kind.missing())} is not on the PATH")
    began = time.monotonic()
    measure([row() for row in chosen], here, report, rounds, seconds)
    tell("")
    print(report.table())
    what = about(rounds, seconds)
    print(f"\n{what['date']}, {what['commit']}, {what['cores']} cores, Python {what['python']}:", end=" ")
    print(f"{rounds} rounds of {seconds:g} s; {time.monotonic() - began:.0f} s in all")
    if given.json is not None:
        report.write(given.json, what)


if __name__ == "__main__":
    main()
