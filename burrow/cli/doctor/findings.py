"""What checks found, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum

from burrow.cli.run import say
from burrow.shown import escaped


class Level(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"
    SKIPPED = "skipped"


class Wrong(Exception):
    """
    Something is wrong.

    @ivar advice: what to do about it.
    @ivar level: L{Level.FAILED}, or L{Level.WARNING} for what works today and may not tomorrow.
    """

    def __init__(self, text: str, advice: str, level: Level = Level.FAILED) -> None:
        super().__init__(text)
        self.advice = advice
        self.level = level


@dataclass(frozen=True)
class Finding:
    """
    What one check found.

    @ivar name: of the check. @ivar advice: what to do; empty if nothing has to be done.
    """

    name: str
    level: Level
    text: str
    advice: str = ""


class Findings:
    """
    Runs checks in order, and shows what each found as soon as it is known.

    @param as_json: whether each is shown as one JSON object a line.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._found: list[Finding] = []

    def check(self, name: str, work: Callable[[], str], *, needs: tuple[str, ...] = ()) -> bool:
        """
        Run one check.

        @param work: returns what is well. Raises L{Wrong}.
        @param needs: the checks without which this one makes no sense: if one of them failed, it is left out.
        @return: whether what was checked works.
        """
        bad = (Level.FAILED, Level.SKIPPED)
        missing = [each.name for each in self._found if each.name in needs and each.level in bad]
        if missing:
            finding = Finding(name, Level.SKIPPED, f"cannot be checked before this works: {missing[0]}")
        else:
            try:
                finding = Finding(name, Level.OK, work())
            except Wrong as error:
                finding = Finding(name, error.level, str(error), error.advice)
        self.add(finding)
        return finding.level in (Level.OK, Level.WARNING)

    def add(self, finding: Finding) -> None:
        """Keep and show a finding."""
        self._found.append(finding)
        if self._json:
            say(json.dumps({**asdict(finding), "level": finding.level.value.lower()}))
            return
        say(escaped(f"{finding.level.value:<8} {finding.name:<14} {finding.text}"))
        if finding.advice:
            say(escaped(f"{'':<23} -> {finding.advice}"))

    def end(self) -> int:
        """Show how many failed. @return: the command's exit code: 1 if any failed, else 0."""
        failed = [each for each in self._found if each.level is Level.FAILED]
        if not self._json:
            names = ", ".join(each.name for each in failed)
            say(f"{len(failed)} of {len(self._found)} checks failed: {names}" if failed else "All is well")
        return 1 if failed else 0
