"""Questions to a Redis that may be away, slow, or may have lost something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.store.base import Taken
from burrow.store.known.mending import NotKnown
from burrow.store.redis.guard import WentBack

PATIENCE = 0.5
"""Seconds that Redis may take for what is known here anyway."""

_T = TypeVar("_T")


class Questions:
    """
    @param mend: mends a Redis that went back.
    @ivar away: whether the last question failed.
    """

    log = Logger()

    def __init__(self, clock: Any, mend: Callable[[], Awaitable[None]]) -> None:
        self.away = False
        self._clock = clock
        self._mend = mend

    async def ask(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask Redis. If it went back it is mended, and asked again. @raise StoreError: it cannot tell now."""
        try:
            try:
                return await ask()
            except WentBack:
                await self._mend()
                return await ask()
        except (Taken, NotKnown):
            raise
        except StoreError as error:
            self.failed(error)
            raise

    async def ask_or(self, known: _T | None, ask: Callable[[], Awaitable[_T]]) -> _T:
        """
        Ask Redis as L{ask} does. If C{known} is not None, it is the answer while Redis is away or cannot
        tell, and if it takes longer than L{PATIENCE}.
        """
        if known is None:
            return await self.ask(ask)
        if self.away:
            return known
        try:
            return await self.soon(Deferred.fromCoroutine(self.ask(ask)), known)
        except Taken:
            raise
        except StoreError:
            return known

    def soon(self, asking: Deferred[_T], known: _T) -> Deferred[_T]:
        """
        The answer, or C{known} after L{PATIENCE}. The question goes on then: none to Redis is cancelled.
        """
        soon: Deferred[Any] = Deferred()
        late = self._clock.callLater(PATIENCE, soon.callback, known)

        def answered(answer: Any) -> None:
            if late.active():
                late.cancel()
                soon.callback(answer)

        asking.addBoth(answered)
        return soon

    def failed(self, error: StoreError) -> None:
        """Redis is away from now on."""
        if not self.away:
            self.away = True
            self.log.error("the store is away, what is known goes on: {error}", error=error)

    def succeeded(self) -> None:
        """Redis answers, and has what waited for it."""
        if self.away:
            self.away = False
            self.log.info("Redis is back: what waited for it is written")
