"""
File descriptors: how many this process may have, and the warning when none is left. Each connection and each
file takes one.
"""

from __future__ import annotations

import errno
import os
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from twisted.logger import Logger

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of the system that mean that it cannot open anything now, but may later."""

TELL_EVERY = 60.0
"""Seconds between two warnings that none is left."""

LOW = 1024
"""With a lower limit, a server or an agent warns when it starts."""

_TRIED = (10_240, 4096)
"""Limits to try where the hard limit cannot be set (macOS reports infinity, and allows 10240)."""

_MORE = "raise the limit, by LimitNOFILE=65536 in a unit of systemd or `ulimit -n 65536` in a shell"


def limit() -> int | None:
    """How many this process may have; None if there is no limit, or the system does not tell it."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Raise the limit of this process as far as the system allows."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, *(number for number in _TRIED if number > soft)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        return


def low_warning() -> str:
    """
    The warning about a low limit, for the person who starts a server or an agent; empty if it is high enough.
    """
    most = limit()
    if most is None or most >= LOW:
        return ""
    return f"this process may have only {most} files and connections open at a time: {_MORE}"


def exhausted(count: int = 1) -> bool:
    """Whether not so many files can be opened now. For failures of a library that hides their cause."""
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in EXHAUSTED
    finally:
        for number in opened:
            os.close(number)
    return False


class Shortage:
    """Logs that no descriptor is left: once in L{TELL_EVERY} seconds for the whole process."""

    log = Logger()
    _known: WeakKeyDictionary[object, Shortage] = WeakKeyDictionary()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._told: float | None = None

    @classmethod
    def of(cls, reactor: object) -> Shortage:
        """The one of a reactor, and so of its process."""
        return cls._known.setdefault(reactor, cls(reactor))

    def met(self, number: int) -> None:
        """Log, unless it was logged lately. @param number: the error of the system, one of L{EXHAUSTED}."""
        now = self._clock.seconds()
        if self._told is not None and now - self._told < TELL_EVERY:
            return
        self._told = now
        if number == errno.EMFILE:
            text = f"all {limit()} files and connections that this process may have are open"
            advice = _MORE
        else:
            text = f"the system can open nothing more ({os.strerror(number)})"
            advice = "look at its memory and at sysctl fs.file-max"
        self.log.warn(
            "{text}: new connections wait or fail until others are closed; {advice}", text=text, advice=advice
        )
