"""
Work that runs once at a time for each key: callers that come meanwhile get the outcome of the one that runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_T = TypeVar("_T")


class SingleFlight:
    """The keys whose work runs, with the callers that wait. Bounded by its callers."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[Any]]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    async def do(self, key: str, work: Callable[[str], Awaitable[_T]]) -> _T:
        """
        Run C{work(key)}, or wait for the one that runs. Returns what it returns, and raises what it raises.

        The work is nobody's alone: a caller that is cancelled, as one whose visitor left, waits no more, and
        the work goes on.
        """
        outcome: Deferred[_T] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(outcome)
        else:
            self._waiting[key] = [outcome]
            Deferred.fromCoroutine(self._run(key, work))
        return await outcome

    async def _run(self, key: str, work: Callable[[str], Awaitable[_T]]) -> None:
        result: _T | Failure
        try:
            result = await work(key)
        except BaseException:
            result = Failure()
        for outcome in self._waiting.pop(key):
            outcome.callback(result)
