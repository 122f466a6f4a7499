"""The regular poll of Redis: learns what was removed, writes what waited, reads everything now and then."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.store.base import Taken
from burrow.store.known.mending import Mending
from burrow.store.known.questions import Questions
from burrow.store.known.records import KnownRecords
from burrow.store.redis.guard import WentBack
from burrow.store.redis.store import RedisStore

POLL_EVERY = 1.0
"""Seconds between two polls."""

READ_EVERY = 30
"""Polls after which everything is read anew; what was revoked or released is seen at each."""


class Polling:
    """
    Its poll finds out whether Redis is there, and whether it is the one that it was.

    @param questions: is told whether it is there.
    """

    log = Logger()

    def __init__(
        self, clock: Any, redis: RedisStore, records: KnownRecords, mending: Mending, questions: Questions
    ) -> None:
        self._redis = redis
        self._records = records
        self._mending = mending
        self._questions = questions
        self._polls = 0
        self._loop = repeating(clock, self.poll, "a poll of Redis")

    def start(self) -> None:
        """Poll every L{POLL_EVERY} seconds, and not yet now."""
        self._loop.start(POLL_EVERY, now=False)

    def stop(self) -> None:
        """Poll no more by itself."""
        if self._loop.running:
            self._loop.stop()

    async def poll(self) -> None:
        """Poll once, now. A L{StoreError} is told to the questions, and not raised."""
        try:
            await self._turn()
        except StoreError as error:
            self._questions.failed(error)
            return
        self._questions.succeeded()

    async def _turn(self) -> None:
        try:
            marks = await self._redis.guard.new_marks()
        except WentBack:
            await self._mending.fill()
            marks = await self._redis.guard.new_marks()
        for mark, version in marks.items():
            self._records.removed(mark, version)
        await self.write()
        self._polls += 1
        if self._mending.whole and (self._mending.unread or self._polls % READ_EVERY == 0):
            await self._mending.read()

    async def write(self) -> None:
        """Write what could not be written before."""
        for name in list(self._records.renewed):
            try:
                self._records.learn(await self._redis.reserve(self._records.names[name]))
            except Taken as error:
                self._records.lose(name)
                self.log.error("a reservation that waited for Redis is lost: {error}", error=error)
            self._records.renewed.discard(name)
        while self._records.used:
            token_id, when = next(iter(self._records.used.items()))
            await self._redis.token_used(token_id, when)
            self._records.used.pop(token_id, None)
