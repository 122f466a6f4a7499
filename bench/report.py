"""The results of a run: medians, ratios, the table and the JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.rows.base import Goal, Metric

OURS = "burrow"
COMPARED = ("nginx", "frp", "frp-ws", "direct", "bare", "served", "before")
"""The subjects that the table has ratios to."""

NOT_PEERS = (OURS, "watched", "served", "before", "direct", "bare", "nginx")
"""Who is not meant by "the best of all"."""


@dataclass
class Result:
    """One metric: the figures of each subject, one a round."""

    row: str
    metric: Metric
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, subject: str, value: float) -> None:
        self.figures.setdefault(subject, []).append(value)

    def median(self, subject: str) -> float | None:
        """None where nothing was measured."""
        values = self.figures.get(subject)
        return statistics.median(values) if values else None

    def times(self, other: float | None) -> float | None:
        """How many times better Burrow's figure is than another: 1 for equal, 2 for half the milliseconds."""
        ours = self.median(OURS)
        if ours is None or other is None:
            return None
        better, worse = (other, ours) if self.metric.less else (ours, other)
        if not ours or not other:  # less than can be measured
            return None
        return better / worse

    def ratio(self, subject: str) -> float | None:
        """How many times better Burrow is than a subject, where the metric compares them."""
        return self.times(self.median(subject)) if subject in self.metric.compare else None

    def target(self, goal: Goal) -> float | None:
        """The figure that a goal asks for; None where what it refers to was not measured."""
        if not goal.of:
            return goal.factor
        if goal.of == "best":
            peers = [self.median(name) for name in self.figures if name not in NOT_PEERS]
            known = [value for value in peers if value is not None]
            base = (min if self.metric.less else max)(known) if known else None
        else:
            base = self.median(goal.of)
        return None if base is None else goal.factor * base

    def reached(self, goal: Goal) -> float | None:
        """1 or more: the goal is reached."""
        return self.times(self.target(goal))


class Report:
    """
    All results of a run.

    @ivar notes: what could not be measured, and why.
    """

    def __init__(self, subjects: Sequence[str]) -> None:
        self.subjects = list(subjects)
        self.results: dict[tuple[str, str], Result] = {}
        self.notes: list[str] = []

    def declare(self, row: str, metrics: Iterable[Metric]) -> None:
        """A row is part of the table from now on, whatever is measured."""
        for metric in metrics:
            self.results[row, metric.key] = Result(row, metric)

    def add(self, row: str, subject: str, figures: dict[str, float]) -> None:
        """What a row gave in one round. Figures that it does not declare are dropped."""
        for key, value in figures.items():
            if (row, key) in self.results:
                self.results[row, key].add(subject, value)

    def note(self, what: str, error: BaseException) -> None:
        """Something could not be measured. Of what a program printed, its end is told."""
        text = " ".join(f"{error}".split()) or repr(error)
        self.notes.append(f"{what}: {text if len(text) < 300 else '...' + text[-300:]}")

    # -- for people -----------------------------------------------------------------------------------------

    def table(self) -> str:
        """Two tables in Markdown: the figures, and Burrow's ratios. Notes follow."""
        shown = [result for result in self.results.values() if result.figures]
        names = [name for name in self.subjects if any(name in result.figures for result in shown)]
        figures = [["", "unit", *names]]
        for result in shown:
            figures.append(
                [
                    result.metric.label,
                    result.metric.unit,
                    *(show(result.median(name)) for name in names),
                ]
            )
        compared = [name for name in COMPARED if name in names]
        head = ["Burrow's ratio: more is better", *(f"to {name}" for name in compared)]
        ratios = [[*head, "wanted", "reached"]]
        for result in shown:
            to = [show(result.ratio(name)) for name in compared]
            wanted = "; ".join(self._wanted(result, goal) for goal in result.metric.goals)
            reached = "; ".join(show(result.reached(goal)) or "-" for goal in result.metric.goals)
            if any(to) or wanted:
                ratios.append([result.metric.label, *to, wanted, reached])
        texts = [_markdown(figures), _markdown(ratios), *(f"Note: {note}" for note in self.notes)]
        return "\n\n".join(texts)

    @staticmethod
    def _wanted(result: Result, goal: Goal) -> str:
        target = result.target(goal)
        if not goal.of:
            return show(target)
        than = goal.of if goal.factor == 1 else f"{goal.factor:g} x {goal.of}"
        return f"{than} = {show(target)}" if target is not None else than

    # -- for programs ---------------------------------------------------------------------------------------

    def as_json(self, about: dict[str, Any]) -> dict[str, Any]:
        """All figures of all rounds, medians, ratios and goals. C{about}: what the run was."""
        return {
            **about,
            "subjects": self.subjects,
            "notes": self.notes,
            "results": [
                {
                    "row": result.row,
                    "metric": result.metric.key,
                    "label": result.metric.label,
                    "unit": result.metric.unit,
                    "less_is_better": result.metric.less,
                    "figures": result.figures,
                    "medians": {name: result.median(name) for name in result.figures},
                    "ratios": {name: result.ratio(name) for name in COMPARED if name in result.figures},
                    "wanted": [
                        {
                            "factor": goal.factor,
                            "of": goal.of,
                            "target": result.target(goal),
                            "reached": result.reached(goal),
                        }
                        for goal in result.metric.goals
                    ],
                }
                for result in self.results.values()
            ],
        }

    def write(self, file: Path, about: dict[str, Any]) -> None:
        file.write_text(json.dumps(self.as_json(about), indent=1) + "\n")


def show(value: float | None) -> str:
    """Three digits are as many as mean something; empty for what was not measured."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1g}"


def _markdown(lines: list[list[str]]) -> str:
    """A table whose first line is its head, the columns aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def row(cells: list[str]) -> str:
        return (
            "| "
            + " | ".join(
                cell.ljust(width) if number == 0 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            + " |"
        )

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(map(row, [lines[0], rule, *lines[1:]]))
