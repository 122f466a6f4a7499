"""Work that takes long, such as the hash of a password: in the reactor's threads, a little at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from twisted.internet.threads import deferToThreadPool

from burrow.policy.means import Busy

AT_ONCE = 2
WAITING = 32
"""What may be under way, that which waits for its turn included; more is L{Busy}."""


class SlowWork:
    """@param run: calls a function in a thread, for tests."""

    def __init__(self, reactor: Any, run: Callable[..., Deferred[Any]] | None = None) -> None:
        self._run = run or (lambda *work: deferToThreadPool(reactor, reactor.getThreadPool(), *work))
        self._turns = DeferredSemaphore(AT_ONCE)
        self._under_way = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """See L{InThread<burrow.policy.means.InThread>}."""
        if self._under_way >= WAITING:
            return fail(Busy())
        self._under_way += 1
        # Not the result of the work itself: a visitor who leaves cancels that, and the thread would go on.
        result: Deferred[Any] = Deferred()

        def done(outcome: Any) -> None:
            self._under_way -= 1
            if not result.called:
                result.callback(outcome)

        self._turns.run(self._run, function, *arguments).addBoth(done)
        return result
