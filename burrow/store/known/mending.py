"""A Redis that went back is mended: what its servers know is merged into it, and believed only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import DeferredLock, FirstError, ensureDeferred, gatherResults
from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.store.known.records import KnownRecords
from burrow.store.names import WILD
from burrow.store.redis.contents import Everything
from burrow.store.redis.store import RedisStore
from burrow.store.reserving import under_another

SETTLE = 5.0
"""Seconds after a loss was seen in which other servers, too, write what they know."""

_AT_ONCE = 100
_T = TypeVar("_T")


class NotKnown(StoreError):
    """Redis is there, and may lack what another server knows."""


class Mending:
    """
    Reads everything that is in Redis, and writes what is missing in it.

    @param redis: must be open before L{open}.
    @param mark: a file that remembers the epoch of the Redis, so that a loss which other servers saw while
        this one did not run is known; None: nothing is remembered.
    @param alone: whether no other server uses the Redis, as far as is known: nobody else writes then.
    @ivar unread: whether other servers may have written since everything was read.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        redis: RedisStore,
        records: KnownRecords,
        mark: Path | None,
        alone: Callable[[], bool],
    ) -> None:
        self.unread = False
        self._clock = clock
        self._redis = redis
        self._contents = redis.contents
        self._guard = redis.guard
        self._records = records
        self._mark = mark
        self._alone = alone
        self._lost = float("-inf")
        self._filling = DeferredLock()

    @property
    def whole(self) -> bool:
        """See L{IStore<burrow.store.base.IStore>}."""
        return bool(self._clock.seconds() - self._lost >= SETTLE)

    @property
    def believed(self) -> bool:
        """Whether what only Redis knows is true: not while another server may know better."""
        return self.whole or not self._guard.older

    def sure(self, found: object = None) -> None:
        """
        Something is not known here, and Redis says C{found}.

        @raise NotKnown: another server may know better.
        """
        if not (self.whole if found is None else self.believed):
            raise NotKnown("Redis lost what was in it, and the servers write it again")

    async def open(self) -> None:
        """Find out whether there was a loss while this server did not run."""
        if self._last_epoch() not in ("", self._guard.epoch):
            self._lost = self._clock.seconds()
        self._write_epoch()

    async def read(self) -> None:
        """Learn all that is there; find what is missing though nobody removed it."""
        self._records.reading()
        there = await self._contents.everything()
        if any(self._records.lacking(there)):
            self._guard.doubt()
            await self.fill()
            return
        there = await self._one_owner(there)
        self.unread = False
        self._guard.marks_known(there.order)
        self._records.adopt(there, set(there.tokens), set(there.names))

    async def fill(self) -> None:
        """Put everything that is known where it is missing, if Redis went back."""
        async with self._filling:
            if not await self._guard.went_back():
                return
            if not self._alone():
                self._lost = self._clock.seconds()
            records = self._records
            self.log.warn(
                "Redis lost what was in it, or a part: merging {tokens} tokens and {names} names into it",
                tokens=len(records.tokens),
                names=len(records.names),
            )
            records.reading()
            tokens, names, marks = records.lacking(await self._contents.everything(), ports=True)
            await self._each(marks, self._contents.merge_mark)
            await self._each(tokens, self._contents.merge_token)
            await self._each(names, self._contents.merge_name)
            await self._contents.index()
            notes = [(space, key, text) for (space, key), text in records.notes.items()]
            await self._each(notes, self._contents.merge_note)
            await self._guard.settle()
            self._write_epoch()
            there = await self._one_owner(await self._contents.everything())
            self._guard.marks_known(there.order)
            if self.believed:
                records.adopt(there, set(there.tokens), set(there.names))
            else:
                records.adopt(there, set(records.tokens), set(records.names))
            self.unread = not self.whole

    async def _one_owner(self, there: Everything) -> Everything:
        """Give each label and its wildcard one owner. @return: what is there then."""
        released = [
            name for name in under_another(there.names) if await self._redis.release_under_another(name)
        ]
        for name in released:
            self.log.warn(
                "the name {name} is released: it was another token's than {label}",
                name=name,
                label=name.removeprefix(WILD),
            )
        return await self._contents.everything() if released else there

    async def _each(self, records: Iterable[_T], write: Callable[[_T], Awaitable[None]]) -> None:
        waiting = list(records)
        while waiting:
            batch, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            writing = [ensureDeferred(cast(Any, write(record))) for record in batch]
            try:
                await gatherResults(writing, consumeErrors=True)
            except FirstError as error:
                raise StoreError(error.subFailure.getErrorMessage()) from error

    def _last_epoch(self) -> str:
        try:
            return "" if self._mark is None else self._mark.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _write_epoch(self) -> None:
        if self._mark is None or self._last_epoch() == self._guard.epoch:
            return
        try:
            self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark.write_text(self._guard.epoch + "\n", encoding="ascii")
        except OSError as error:
            self.log.warn("{file} cannot be written: {error}", file=str(self._mark), error=error)
