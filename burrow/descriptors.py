"""
File descriptors, of which each connection and each file takes one: how many a process may have, and the word
that none is left.
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
except ImportError:  # Windows, which has no such limit
    resource = None

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of the system that say that it can open nothing more now. That may pass."""

TELL_EVERY = 60.0
"""Seconds until it is told again that none is left."""

LOW = 1024
"""Below so many, whoever starts a server or an agent is warned."""

_TRIED = (10_240, 4096)
"""What is asked for where the highest limit cannot be had (macOS says infinite, and means 10240)."""

_MORE = "raise the limit, by LimitNOFILE=65536 in a unit of systemd or `ulimit -n 65536` in a shell"


def limit() -> int | None:
    """How many this process may have; None where that is not limited, or nobody can tell."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Allow this process as many as the system lets us, where it knows such a limit."""
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
    """What to tell whoever starts a server or an agent that may have few; empty if it may have enough."""
    most = limit()
    if most is None or most >= LOW:
        return ""
    return f"this process may have only {most} files and connections open at a time: {_MORE}"


def exhausted() -> bool:
    """Whether nothing can be opened now. For where a library hides why it failed."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False


class Shortage:
    """Tells in the log that no descriptor is left; once in L{TELL_EVERY} seconds, whoever meets it."""

    log = Logger()
    _known: WeakKeyDictionary[object, Shortage] = WeakKeyDictionary()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._told: float | None = None

    @classmethod
    def of(cls, reactor: object) -> Shortage:
        """That of a reactor, and so of its process."""
        return cls._known.setdefault(reactor, cls(reactor))

    def met(self, number: int) -> None:
        """@param number: the system's error, one of L{EXHAUSTED}."""
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
            "{text}: what is new waits, or fails, until others are closed; {advice}", text=text, advice=advice
        )
