"""What a suite says of each of its cases, directly and through a tunnel, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_RUN = "not run"
"""The verdict of a case that only the other run has."""

SHOWN = 20
"""Findings of a comparison that are shown. Where all cases fail, one reason has many."""


@dataclass(frozen=True)
class Finding:
    """
    A case that a person has to look at.

    @ivar reason: why it is as it should be; empty if nobody knows.
    """

    case: str
    direct: str
    through: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """
    Two runs of one suite.

    @ivar name: what was compared. @ivar direct: the verdict of each case without a tunnel, or the one that
        the suite's authors want where there is nothing to run it against. @ivar through: the same, through a
        tunnel.
    @ivar passing: verdicts, or beginnings of verdicts, that are a pass.
    @ivar explained: why a case does not pass, or differs, where that is known.
    @ivar reference: what C{direct} is, in words.
    """

    name: str
    direct: Mapping[str, str]
    through: Mapping[str, str]
    passing: tuple[str, ...] = ("pass",)
    explained: Mapping[str, str] = field(default_factory=dict)
    reference: str = "directly"

    @property
    def passed(self) -> int:
        """How many cases pass through the tunnel."""
        return sum(verdict.startswith(self.passing) for verdict in self.through.values())

    @property
    def differing(self) -> int:
        """How many verdicts are not the same both ways."""
        return sum(direct != through for _, direct, through in self._pairs())

    @property
    def findings(self) -> list[Finding]:
        """
        The cases that do not pass directly, or differ through the tunnel: a suite that fails both ways, since
        its service did not start, is no success. An explanation of a case that passes both ways is one, too.
        """
        found = []
        for case, direct, through in self._pairs():
            reason = self.explained.get(case, "")
            if direct != through or not direct.startswith(self.passing):
                found.append(Finding(case, direct, through, reason))
            elif reason:
                found.append(Finding(case, direct, through, ""))
        if not self.direct:
            found.append(Finding("every case", NOT_RUN, NOT_RUN, ""))
        return found

    @property
    def holds(self) -> bool:
        """Whether each finding is explained."""
        return all(finding.reason for finding in self.findings)

    def _pairs(self) -> list[tuple[str, str, str]]:
        cases = [*self.direct, *(case for case in self.through if case not in self.direct)]
        return [(case, self.direct.get(case, NOT_RUN), self.through.get(case, NOT_RUN)) for case in cases]

    def lines(self) -> list[str]:
        """The comparison as a person reads it: one line, and one for each finding."""
        lines = [f"{self.name}: {len(self.through)} cases, {self.passed} pass, {self.differing} differ"]
        for finding in self.findings[:SHOWN]:
            verdict = finding.direct
            if finding.direct != finding.through:
                verdict = f"{self.reference} {finding.direct}, through the tunnel {finding.through}"
            lines.append(f"    {finding.case}: {verdict}: {finding.reason or 'NOT EXPLAINED'}")
        more = len(self.findings) - SHOWN
        if more > 0:
            lines.append(f"    and {more} more")
        return lines
