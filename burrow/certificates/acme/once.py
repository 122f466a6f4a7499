"""One piece of work at a time for a key: who asks for it meanwhile gets the same outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Once:
    """What runs, by key; bounded by who asks."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[None]]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    async def do(self, key: str, work: Callable[[str], Awaitable[object]]) -> None:
        """Run C{work(key)}, or wait for the one that runs. Fails as it fails."""
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
