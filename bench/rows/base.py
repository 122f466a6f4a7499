"""A row of the table: what is done with each subject, what figures that gives, and what is wanted of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.subjects.base import Setup, Subject


@dataclass(frozen=True)
class Goal:
    """
    What is wanted of a figure of Burrow's.

    @ivar factor: so many times the figure of C{of}; or the figure itself where C{of} is empty.
    @ivar of: a subject; "best" for the best of all peers.
    """

    factor: float
    of: str = ""


@dataclass(frozen=True)
class Metric:
    """
    A figure that a row gives.

    @ivar key: its name in the JSON.
    @ivar goals: all of them are wanted. Empty: it is only shown.
    @ivar less: whether less is better.
    @ivar compare: the subjects that Burrow's figure is divided by.
    """

    key: str
    label: str
    unit: str
    goals: tuple[Goal, ...] = ()
    less: bool = False
    compare: tuple[str, ...] = ("nginx", "frp", "frp-ws", "direct", "bare", "before")


class Row(ABC):
    """
    One thing that is measured.

    @cvar name: for --rows.
    @cvar family: for --rows, too: all rows of a file.
    @cvar quick: whether --quick has it.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    setup: ClassVar[Setup]
    quick: ClassVar[bool] = True
    subjects: ClassVar[Sequence[str] | None] = None
    """The subjects that it makes sense for; None for all that are capable of its setup."""
    fresh: ClassVar[bool] = False
    """Whether it needs a subject that was just started, each time."""
    also: ClassVar[Sequence[str]] = ()
    """Special subjects that are measured here."""

    def takes(self, subject: type[Subject]) -> bool:
        """Whether a subject is measured here. Another checkout of Burrow is, where Burrow is."""
        if not subject.serves(self.setup):
            return False
        if subject.special:
            return subject.name in self.also
        return self.subjects is None or subject.name in (*self.subjects, "before")

    @abstractmethod
    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        """Figures by the keys of C{metrics}; those that cannot be had are left out."""
