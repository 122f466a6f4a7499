"""Answers of Redis, compared with what is known here before they are believed."""

from __future__ import annotations

from typing import NoReturn

from burrow.limits import Limits
from burrow.store.base import Reservation, Token
from burrow.store.known.mending import Mending
from burrow.store.known.records import KnownRecords, name_mark, token_mark
from burrow.store.redis.guard import WentBack
from burrow.store.redis.records import Unreadable
from burrow.store.redis.store import RedisStore
from burrow.store.reserving import twin_asked


class CheckedRedis:
    """
    Its methods raise L{WentBack} if Redis lacks what is known here, and
    L{NotKnown<burrow.store.known.mending.NotKnown>} if another server may know what neither does.
    """

    def __init__(self, redis: RedisStore, records: KnownRecords, mending: Mending) -> None:
        self._redis = redis
        self._records = records
        self._mending = mending

    def _went_back(self, cause: Exception | None = None) -> NoReturn:
        self._redis.guard.doubt()
        raise WentBack from cause

    async def find_token(self, token_id: str) -> Token | None:
        """A token, or None if it was revoked or there is none."""
        # Before it is asked: what comes to be known meanwhile proves nothing.
        known = self._records.tokens.get(token_id)
        token, revoked = await self._redis.find_token(token_id)
        if revoked:
            self._records.removed(token_mark(token_id), 0)
            return None
        if known is None:
            self._mending.sure(token)
        elif token is None or token.version < known.version:
            self._went_back()
        if token is not None:
            self._records.learn(token)
        return self._records.tokens.get(token_id)

    async def find_name(self, name: str) -> Reservation | None:
        """
        The reservation of a name, or None if there is none.

        @raise Unreadable: there is one that cannot be read, and is not known here.
        """
        # Before it is asked: see find_token.
        known = self._records.names.get(name)
        mark = self._records.marks.get(name_mark(name), -1)
        try:
            found, released = await self._redis.find_name(name)
        except Unreadable as error:
            if known is None:
                raise
            self._went_back(error)  # what is known here is written over it
        least = mark if known is None else max(mark, known.version)
        if (released if found is None else found.version) < least or (found and found.version <= mark):
            self._went_back()
        if released >= 0:
            self._records.removed(name_mark(name), released)
        if known is None:
            self._mending.sure(found)
        if found is not None:
            self._records.learn(found)
        return found

    async def reserve(self, wanted: Reservation, limits: Limits) -> list[Reservation]:
        """
        Reserve a name in Redis, once it is sure whose the name is, and its twin, and the port.

        @return: see L{RedisStore.reserve_with_parent}.
        """
        known = self._records.names.get(wanted.name)
        if known is not None and known.token != wanted.token:
            known = await self.find_name(wanted.name)  # gone without a mark, it was lost, and is not free
        there = self._records.names.get(twin_asked(known, wanted) or "")
        if there is not None and there.token != wanted.token:
            await self.find_name(there.name)
        if not self._mending.whole:
            known = known or await self.find_name(wanted.name)
            if known is None or (known.token == wanted.token and wanted.port not in (None, known.port)):
                self._mending.sure()
        return await self._redis.reserve_with_parent(wanted, limits)

    def may_be(self, token: Token) -> bool:
        """Whether Redis may be believed that there is this token."""
        known = self._records.tokens.get(token.id)
        if known is None:
            return self._mending.believed and token_mark(token.id) not in self._records.marks
        return known.version <= token.version

    def may_own(self, found: Reservation) -> bool:
        """Whether Redis may be believed that there is this reservation."""
        known = self._records.names.get(found.name)
        if known is None:
            released = self._records.marks.get(name_mark(found.name), -1)
            return self._mending.believed and released < found.version
        return known.version <= found.version
