"""
The regular poll of Redis: learns what changed and what was removed, and writes what waited.

A server that asks for changes itself polls by that. Everything is read at the start, and again where the log
of changes does not reach back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, islice
from typing import Any

import attr
from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.store.base import Taken
from burrow.store.changes import Changes, Note, reaches_back
from burrow.store.known.checked import CheckedRedis
from burrow.store.known.mending import Mending
from burrow.store.known.questions import Questions
from burrow.store.known.records import KnownRecords
from burrow.store.redis.store import RedisStore

POLL_EVERY = 1.0
"""Seconds between two polls."""

ASKED_WITHIN = 1.5
"""Seconds since a server asked for changes, within which nothing else is polled."""

CHECK_EVERY = 30
"""Polls after which some of what is known is checked: a record may be removed by hand."""

CHECK_AT_ONCE = 200
"""Tokens and names that are checked then."""


class Polling:
    """
    Its poll finds out whether Redis is there, and whether it is the one that it was.

    @param questions: is told whether it is there.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        redis: RedisStore,
        records: KnownRecords,
        mending: Mending,
        questions: Questions,
        checked: CheckedRedis,
    ) -> None:
        self._clock = clock
        self._redis = redis
        self._records = records
        self._mending = mending
        self._questions = questions
        self._checked = checked
        self._version = ""
        self._asked = float("-inf")
        self._polls = 0
        self._checking: Iterator[tuple[str, str]] = iter(())
        self._loop = repeating(clock, self._poll_if_needed, "a poll of Redis")

    async def start(self) -> None:
        """Learn everything, then poll every L{POLL_EVERY} seconds. @raise StoreError: Redis is away."""
        await self._mending.open()
        await self._read()
        self._loop.start(POLL_EVERY, now=False)

    def stop(self) -> None:
        """Poll no more by itself."""
        if self._loop.running:
            self._loop.stop()

    async def changes(self, spaces: Collection[str], since: str, note: Note | None) -> Changes:
        """See L{IStore.changes<burrow.store.base.IStore.changes>}."""
        changes = await self._questions.ask(lambda: self._poll(spaces, since, note))
        self._asked = self._clock.seconds()
        return changes

    async def poll(self) -> None:
        """Poll once, now. A L{StoreError} is told to the questions, and not raised."""
        try:
            await self._questions.ask(lambda: self._poll((), self._version))
            await self.write()
            if self._mending.whole and self._mending.unread:
                await self._read()
        except StoreError:
            return  # the questions were told, or another server may know better
        self._questions.succeeded()

    async def _poll_if_needed(self) -> None:
        self._polls += 1
        waiting = self._records.renewed or self._records.used or self._mending.unread
        asked = self._clock.seconds() - self._asked < ASKED_WITHIN
        if not asked or waiting or self._questions.away:
            await self.poll()
        if self._polls % CHECK_EVERY == 0 and not self._questions.away and self._mending.whole:
            try:
                await self._questions.ask(self._check_some)
            except StoreError as error:
                self.log.debug("a check of what is known waits for Redis: {error}", error=error)

    async def _poll(self, spaces: Collection[str], since: str, note: Note | None = None) -> Changes:
        marks, changes = await self._redis.poll(spaces, since, note)
        self._removed(marks)
        if not self._mending.whole or not self._version:
            self._mending.unread = True
        elif changes.whole or not reaches_back(since, self._version):
            more, ours = await self._redis.poll((), self._version)
            marks |= more
            self._removed(more)
            await self._learn(ours)
        else:
            await self._learn(changes)
        # A command of an older release leaves a mark, and nothing in the log.
        removed = [mark.partition(":")[::2] for mark in marks]
        return attr.evolve(
            changes,
            tokens=changes.tokens.union(key for kind, key in removed if kind == "token"),
            names=changes.names.union(key for kind, key in removed if kind == "name"),
        )

    def _removed(self, marks: dict[str, int]) -> None:
        for mark, version in marks.items():
            self._records.removed(mark, version)

    async def _learn(self, changes: Changes) -> None:
        """Learn the records that changed. Of those that were removed, the marks told."""
        if changes.whole:
            self._mending.unread = True
            return
        await self._look_up(changes.tokens, changes.names - self._records.renewed)
        self._version = changes.version

    async def _look_up(self, tokens: Collection[str], names: Collection[str]) -> None:
        """Learn these as they are in Redis. @raise WentBack: one is missing, or older than it was."""
        if tokens:
            found = await self._redis.find_tokens(tokens)
            for token_id in tokens:
                token = found.get(token_id)
                if token is not None and self._checked.may_be(token):
                    self._records.learn(token)
                elif token_id in self._records.tokens:
                    await self._checked.find_token(token_id)
        if names:
            owned = await self._redis.find_reservations(names)
            for name in names:
                reservation = owned.get(name)
                if reservation is not None and self._checked.may_own(reservation):
                    self._records.learn(reservation)
                elif name in self._records.names:
                    await self._checked.find_name(name)

    async def _check_some(self) -> None:
        """Look some records up that are known, the next ones each time."""
        some = list(islice(self._checking, CHECK_AT_ONCE))
        if not some:
            records = self._records
            self._checking = chain(
                [("token", key) for key in records.tokens], [("name", key) for key in records.names]
            )
            some = list(islice(self._checking, CHECK_AT_ONCE))
        tokens = [key for kind, key in some if kind == "token" and key in self._records.tokens]
        names = [key for kind, key in some if kind == "name" and key in self._records.names]
        await self._look_up(tokens, [name for name in names if name not in self._records.renewed])

    async def _read(self) -> None:
        """Learn everything, and follow what changes from then on."""
        marks, changes = await self._redis.poll((), "")
        self._removed(marks)
        await self._mending.read()
        self._version = changes.version

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
