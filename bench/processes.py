"""What processes cost: CPU time and memory of whole trees, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """
    What /proc/PID/stat says of one process (proc_pid_stat(5)).

    @ivar cpu: seconds, user and system, of all its threads, and of its children that have ended and that it
        has waited for.
    @ivar memory: bytes that are resident.
    """

    cpu: float
    memory: int


def parse_stat(text: str) -> Stat:
    """The name of the program, in parentheses, may have spaces and parentheses itself."""
    fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return Stat(ticks / _TICKS, int(fields[21]) * _PAGE)


def family(pid: int) -> list[int]:
    """A process and all that descend from it; those that end meanwhile are left out."""
    found = [pid]
    for one in found:
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
            for thread in threads:
                found += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


class Tree:
    """Processes with all their descendants."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids

    def _stats(self) -> list[Stat]:
        found = []
        for pid in set().union(*map(family, self.pids)):
            try:
                found.append(parse_stat(Path(f"/proc/{pid}/stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system. Its resolution is that of the kernel's tick, 10 ms."""
        return sum(stat.cpu for stat in self._stats())

    def memory(self) -> int:
        """Bytes of resident memory now."""
        return sum(stat.memory for stat in self._stats())
