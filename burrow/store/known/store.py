"""The store that a server uses where its store is in Redis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from burrow.errors import StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.store.base import IStore, Reservation, Taken, Token
from burrow.store.changes import Changes, Note
from burrow.store.deferring import returns_deferred
from burrow.store.known.checked import CheckedRedis
from burrow.store.known.mending import Mending, NotKnown
from burrow.store.known.polling import Polling
from burrow.store.known.questions import Questions
from burrow.store.known.records import KnownRecords, name_mark, token_mark
from burrow.store.redis.store import RedisStore
from burrow.store.spaces import LASTING


@implementer(IStore)
class KnownStore:
    """
    @param redis: the store in Redis, not opened yet.
    @param mark: see L{Mending}. @param alone: likewise.
    @param lost: called with a name whenever this server finds out that it is not its last owner's any more.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        redis: RedisStore,
        mark: Path | None = None,
        alone: Callable[[], bool] = lambda: False,
        lost: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._redis = redis
        self._records = KnownRecords(lost)
        self._mending = Mending(clock, redis, self._records, mark, alone)
        self._checked = CheckedRedis(redis, self._records, self._mending)
        self._questions = Questions(clock, self._mending.fill)
        self._polling = Polling(clock, redis, self._records, self._mending, self._questions, self._checked)

    @property
    def whole(self) -> bool:
        """See L{IStore}."""
        return self._mending.whole

    @returns_deferred
    async def open(self) -> None:
        """See L{IStore}. Redis must be there: nothing is known yet."""
        await self._redis.open()
        policy = await self._redis.guard.policy()
        if policy.startswith("allkeys"):
            self.log.warn(
                "Redis may throw away what it must keep: its maxmemory-policy is {policy}; set noeviction",
                policy=policy,
            )
        await self._polling.start()

    @returns_deferred
    async def close(self) -> None:
        """See L{IStore}. What could not be written yet is tried once more."""
        self._polling.stop()
        await self._polling.poll()
        await self._redis.close()

    # -- tokens ---------------------------------------------------------------------------------------------

    @returns_deferred
    async def add_token(self, token: Token) -> None:
        """See L{IStore}."""
        await self._questions.ask(lambda: self._redis.add_token(token))
        self._records.learn(token)

    @returns_deferred
    async def token(self, token_id: str) -> Token | None:
        """See L{IStore}."""
        if token_mark(token_id) in self._records.marks:
            return None  # for ever, whatever Redis says
        known = self._records.tokens.get(token_id)
        return await self._questions.ask_or(known, lambda: self._checked.find_token(token_id))

    @returns_deferred
    async def tokens(self) -> list[Token]:
        """See L{IStore}."""
        return await self._questions.ask(self._redis.tokens)

    @returns_deferred
    async def revoke_token(self, name: str) -> bool:
        """See L{IStore}."""
        revoked = await self._questions.ask(lambda: self._redis.revoke_token(name))
        if not revoked:
            self._mending.sure()
        for token in [token for token in self._records.tokens.values() if token.name == name]:
            self._records.removed(token_mark(token.id), 0)
        return revoked

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}. Never fails: written later, if not now."""
        return self._questions.soon(self._write_use(token_id, when), None)

    @returns_deferred
    async def _write_use(self, token_id: str, when: float) -> None:
        if token_id in self._records.tokens:
            self._records.used[token_id] = when
        if not self._questions.away:
            try:
                await self._redis.token_used(token_id, when)
                self._records.used.pop(token_id, None)
            except StoreError as error:
                self._questions.failed(error)

    @returns_deferred
    async def find_tokens(self, ids: Iterable[str]) -> dict[str, Token]:
        """See L{IStore}."""
        wanted = list(ids)
        found = await self._questions.ask(lambda: self._redis.find_tokens(wanted))
        # Why the others are not as known, token() finds out.
        sure = {key: token for key, token in found.items() if self._checked.may_be(token)}
        for token in sure.values():
            self._records.learn(token)
        return sure

    @returns_deferred
    async def change_token(self, name: str, changes: dict[str, Any]) -> Token | None:
        """See L{IStore}."""
        token = await self._questions.ask(lambda: self._redis.change_token(name, changes))
        if token is None:
            self._mending.sure()
        else:
            self._records.learn(token)
        return token

    # -- reservations --------------------------------------------------------------------------------------

    @returns_deferred
    async def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Reservation:
        """See L{IStore}. While Redis is away, a name that is known for the token's is renewed."""
        wanted = reservation
        known = self._records.names.get(wanted.name)
        ours = known is not None and known.token == wanted.token and wanted.port in (None, known.port)
        if not (self._questions.away and ours):
            try:
                kept = await self._questions.ask(lambda: self._checked.reserve(wanted, limits))
                for one in kept:
                    self._records.learn(one)
                return kept[0]
            except Taken:
                raise
            except StoreError:
                if not ours:
                    raise
        assert known is not None
        return self._records.renew(known, wanted)

    @returns_deferred
    async def reservation(self, name: str) -> Reservation | None:
        """See L{IStore}."""
        known = self._records.names.get(name)
        return await self._questions.ask_or(known, lambda: self._checked.find_name(name))

    @returns_deferred
    async def find_reservations(self, names: Iterable[str]) -> dict[str, Reservation | None]:
        """See L{IStore}. While Redis is away, the names that are known."""
        wanted = list(names)
        names_here = self._records.names
        known: dict[str, Reservation | None] = {key: names_here[key] for key in wanted if key in names_here}
        found = await self._questions.ask_or(known, lambda: self._redis.find_reservations(wanted))
        sure: dict[str, Reservation | None] = {}
        for name, reservation in found.items():
            if reservation is not None and self._checked.may_own(reservation):
                self._records.learn(reservation)
                sure[name] = reservation
            elif reservation is None and name not in known:
                if self._mending.whole:
                    sure[name] = None
            else:
                try:
                    sure[name] = await self.reservation(name)
                except NotKnown:
                    continue
        return sure

    @returns_deferred
    async def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Reservation | None:
        """See L{IStore}."""
        key = (token_id, agent, kind, upstream)
        fitting = (
            known
            for known in self._records.names.values()
            if known.assigned and (known.token, known.agent, known.kind, known.upstream) == key
        )
        found: Reservation | None = await self._questions.ask_or(
            next(fitting, None), lambda: self._redis.remembered(*key)
        )
        if found is None or found.name not in self._records.names:
            self._mending.sure(found)
        return found

    @returns_deferred
    async def reservations(self) -> list[Reservation]:
        """See L{IStore}."""
        return await self._questions.ask(self._redis.reservations)

    @returns_deferred
    async def free_ports(self, ports: Iterable[int]) -> list[int]:
        """See L{IStore}."""
        wanted = list(ports)
        return await self._questions.ask(lambda: self._redis.free_ports(wanted))

    @returns_deferred
    async def release(self, name: str, token_id: str | None = None) -> list[str]:
        """See L{IStore}."""
        released = await self._questions.ask(lambda: self._redis.release(name, token_id))
        if not released:
            self._mending.sure()
            if token_id is not None:
                return released  # it may be another's
        for one in released or [name]:
            self._records.renewed.discard(one)
            if one in self._records.names:
                self._records.removed(name_mark(one), self._records.names[one].version)
        return released

    @returns_deferred
    async def transfer(self, name: str, token_id: str, owner: str | None = None) -> list[Reservation]:
        """See L{IStore}."""
        moved = await self._questions.ask(lambda: self._redis.transfer(name, token_id, owner))
        if not moved:
            self._mending.sure()
        for one in moved:
            self._records.learn(one)
            self._records.renewed.discard(one.name)
        return moved

    @returns_deferred
    async def names_used(self, names: Iterable[str], when: float) -> None:
        """See L{IStore}."""
        used = list(names)
        await self._questions.ask(lambda: self._redis.names_used(used, when))

    @returns_deferred
    async def free_unused(self, before: float, now: float) -> list[str]:
        """See L{IStore}. Nothing is freed that this server waits to write to Redis."""
        self._mending.sure()
        if self._records.renewed:
            await self._polling.write()
        changed = await self._questions.ask(lambda: self._redis.free_unused(before, now))
        for name in changed:
            self._records.freed(name)
        return changed

    # -- notes ----------------------------------------------------------------------------------------------

    @returns_deferred
    async def note(self, space: str, key: str) -> str | None:
        """See L{IStore}."""
        known = self._records.notes.get((space, key))
        text: str | None = await self._questions.ask_or(known, lambda: self._redis.note(space, key))
        if text is None:
            if space in LASTING:
                self._mending.sure()
            self._records.keep_note(space, key, None, None)
        elif (space, key) in self._records.notes:
            self._records.keep_note(space, key, text, None)
        return text

    @returns_deferred
    async def find_notes(self, space: str, keys: Iterable[str]) -> dict[str, str | None]:
        """See L{IStore}. While Redis is away, the notes that are known."""
        wanted, notes = list(keys), self._records.notes
        known: dict[str, str | None] = {key: notes[space, key] for key in wanted if (space, key) in notes}
        found = await self._questions.ask_or(known, lambda: self._redis.find_notes(space, wanted))
        sure: dict[str, str | None] = {}
        for key, text in found.items():
            if text is None and space in LASTING and not self._mending.whole:
                continue  # another server may know it
            sure[key] = text
            if (space, key) in notes:
                self._records.keep_note(space, key, text, None)
        return sure

    @returns_deferred
    async def notes(self, space: str) -> dict[str, str]:
        """See L{IStore}."""
        return await self._questions.ask(lambda: self._redis.notes(space))

    @returns_deferred
    async def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> None:
        """See L{IStore}."""
        self._records.keep_note(space, key, text, ttl)
        await self._questions.ask(lambda: self._redis.put_note(space, key, text, ttl))

    @returns_deferred
    async def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> bool:
        """See L{IStore}."""
        swapped = await self._questions.ask(lambda: self._redis.swap_note(space, key, old, new, ttl))
        if swapped:
            self._records.keep_note(space, key, new, ttl)
        return swapped

    # -- changes --------------------------------------------------------------------------------------------

    @returns_deferred
    async def changes(self, spaces: Collection[str], since: str, note: Note | None = None) -> Changes:
        """See L{IStore}. What changed is known here before it is told."""
        return await self._polling.changes(spaces, since, note)

    def follow(self, changed: Callable[[], None]) -> None:
        """See L{IStore}."""
        self._redis.follow(changed)
