"""
Questions to the store about many keys, which strangers choose: asked together, so that the load on the store
is bounded, and no key keeps another from its answer.

There is one question at a time, for all keys that wait, and a pause of L{PAUSE} before the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall

from burrow.errors import StoreError

PAUSE = 0.02
"""Seconds between the answer to one question and the next question."""

AT_ONCE = 500
"""Keys in one question, at most; the others wait for the next, in their order."""

_T = TypeVar("_T")


class Batches(Generic[_T]):
    """
    The keys that wait are bounded by the callers, one for each.

    @param ask: asks about some keys. Its answer has no key of which it cannot tell.
    @param unknown: the text of the L{StoreError} of who asked for such a key.
    @ivar at_once: see L{AT_ONCE}.
    """

    def __init__(
        self, clock: Any, ask: Callable[[list[str]], Awaitable[Mapping[str, _T]]], unknown: str
    ) -> None:
        self.at_once = AT_ONCE
        self._clock = clock
        self._question = ask
        self._unknown = unknown
        self._waiting: dict[str, list[Deferred[_T]]] = {}
        self._busy = False
        self._pause: IDelayedCall | None = None

    def ask(self, key: str) -> Deferred[_T]:
        """Ask about a key. Fires with the answer; fails as the question does, or with C{unknown}."""
        answer: Deferred[_T] = Deferred()
        self._waiting.setdefault(key, []).append(answer)
        if not self._busy and self._pause is None:
            ensureDeferred(self._ask())
        return answer

    def answer(self, key: str, known: _T) -> None:
        """Answer all at once who wait for a key that is not being asked for yet."""
        for answer in self._waiting.pop(key, ()):
            answer.callback(known)

    async def _ask(self) -> None:
        self._busy = True
        asked = {key: self._waiting.pop(key) for key in list(self._waiting)[: self.at_once]}
        found: Mapping[str, _T] = {}
        error: Exception = StoreError(self._unknown)
        try:
            found = await self._question(list(asked))
        except Exception as failed:
            error = failed
        self._busy = False
        self._pause = self._clock.callLater(PAUSE, self._ask_next)
        for key, answers in asked.items():
            for answer in answers:
                if key in found:
                    answer.callback(found[key])
                else:
                    answer.errback(error)

    def _ask_next(self) -> None:
        self._pause = None
        if self._waiting:
            ensureDeferred(self._ask())
