"""Counts what a process asks its store, and how long the answers take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from burrow.store.base import IStore


class StoreCounts:
    """
    By the operation's name: C{count}, the sum of C{seconds}, and C{errors}. Operations are the methods of
    L{IStore}: there are a few dozen.
    """

    def __init__(self) -> None:
        self.count: defaultdict[str, int] = defaultdict(int)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.errors: defaultdict[str, int] = defaultdict(int)


class MeasuredStore:
    """
    A store whose operations are counted; it is that store in all else.

    @param store: an L{IStore}.
    """

    def __init__(self, clock: Any, store: Any) -> None:
        self.counts = StoreCounts()
        self._clock = clock
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in IStore or not callable(found):
            return found
        measured = partial(self._ask, name, found)
        setattr(self, name, measured)  # so that it is found at once from now on
        return measured

    def _ask(self, name: str, operation: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        began = self._clock.seconds()
        answer = operation(*arguments, **more)
        if isinstance(answer, Deferred):
            answer.addBoth(self._answered, name, began)
        return answer

    def _answered(self, result: Any, name: str, began: float) -> Any:
        counts = self.counts
        counts.count[name] += 1
        counts.seconds[name] += self._clock.seconds() - began
        if isinstance(result, Failure):
            counts.errors[name] += 1
        return result
