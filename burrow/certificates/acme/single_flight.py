"""
Work that runs once at a time for each key: callers that come meanwhile get the outcome of the one that runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class SingleFlight:
    """The keys whose work runs, with the callers that wait. Bounded by its callers."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[None]]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    async def do(self, key: str, work: Callable[[str], Awaitable[object]]) -> None:
        """Run C{work(key)}, or wait for the one that runs. Raises what it raises."""
        if key in self._waiting:
            waiting: Deferred[None] = Deferred()
            self._waiting[key].append(waiting)
            await waiting
            return
        self._waiting[key] = []
        outcome: Failure | None = None
        try:
            await work(key)
        except BaseException:
            outcome = Failure()
            raise
        finally:
            for one in self._waiting.pop(key):
                if outcome is None:
                    one.callback(None)
                else:
                    one.errback(outcome)
