"""The store in Redis, as a command uses it: it fails where Redis is away, or went back."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

from zope.interface import implementer

from burrow.limits import UNLIMITED, Limits
from burrow.store.base import TOKEN_USED_STEP, USED_STEP, IStore, OverQuota, Reservation, Taken, Token, record
from burrow.store.changes import NAMES, TOKENS, Changes, Note
from burrow.store.deferring import returns_deferred
from burrow.store.names import twin
from burrow.store.redis.address import RedisAddress
from burrow.store.redis.connection import RedisConnection
from burrow.store.redis.contents import Contents
from burrow.store.redis.guard import Guard
from burrow.store.redis.note_scripts import NOTE, NOTE_CHANGES, NOTES, PUT_NOTE, SOME_NOTES, SWAP_NOTE
from burrow.store.redis.records import (
    RESERVATION_KEYS,
    TOKEN_KEYS,
    RecordReader,
    Unreadable,
    note_key,
    to_text,
)
from burrow.store.redis.reservation_scripts import (
    FIND_NAME,
    FREE_UNUSED,
    NAMES_USED,
    RELEASE,
    RELEASE_UNDER_ANOTHER,
    REMEMBERED,
    RESERVE,
    TRANSFER,
)
from burrow.store.redis.token_scripts import ADD_TOKEN, CHANGE_TOKEN, FIND_TOKEN, REVOKE_TOKEN, TOKEN_USED
from burrow.store.reserving import taken

_ALL = "return redis.call('HGETALL', KEYS[1])"
_SEVERAL = "return redis.call('HMGET', KEYS[1], unpack(ARGV))"

_AT_ONCE = 500
"""Fields in one question, at most."""


@implementer(IStore)
class RedisStore:
    """
    @param address: which Redis.
    @ivar guard: tells whether Redis has what it had: else all methods but those of C{contents} fail with
    L{WentBack<burrow.store.redis.guard.WentBack>}.
    @ivar contents: reads and merges all of it, for who mends a Redis that went back.
    """

    whole = True

    def __init__(self, reactor: Any, address: RedisAddress) -> None:
        self._connection = RedisConnection(reactor, address)
        self.guard = Guard(self._connection)
        self._run = self.guard.run
        self._records = RecordReader()
        self._followers: list[Callable[[], None]] = []
        self.contents = Contents(self.guard, self._records)

    @returns_deferred
    async def open(self) -> None:
        """See L{IStore}."""
        await self._connection.open()
        try:
            if await self.guard.settle():
                await self.contents.index()
            if self._followers:
                self._connection.listen(self._heard)
        except BaseException:
            await self._connection.close()
            raise

    @returns_deferred
    async def close(self) -> None:
        """See L{IStore}."""
        await self._connection.close()

    async def _ask(self, script: str, keys: list[str], *arguments: str) -> Any:
        return await self._run(script, keys, *arguments, writes=False)

    async def find_token(self, token_id: str) -> tuple[Token | None, bool]:
        """A token, and whether it was revoked."""
        text, mark = await self._ask(FIND_TOKEN, TOKEN_KEYS, token_id)
        return self._records.read(Token, token_id, text) if token_id and text else None, mark != ""

    async def find_name(self, name: str) -> tuple[Reservation | None, int]:
        """
        The reservation of a name, and the version in which it was last released, or -1.

        @raise Unreadable: there is one that cannot be read, so that its owner is not known.
        """
        text, mark = await self._ask(FIND_NAME, RESERVATION_KEYS, name)
        known = self._records.read(Reservation, name, text) if name and text else None
        if known is None and name and text:
            raise Unreadable(f"the record of the name {name!r} cannot be read")
        return known, int(mark or -1)

    # -- tokens ---------------------------------------------------------------------------------------------

    @returns_deferred
    async def add_token(self, token: Token) -> None:
        """See L{IStore}."""
        if not int(await self._run(ADD_TOKEN, TOKEN_KEYS, token.id, token.name, to_text(token))):
            raise Taken(f"there is a token named {token.name!r} already")

    @returns_deferred
    async def token(self, token_id: str) -> Token | None:
        """See L{IStore}."""
        token, _ = await self.find_token(token_id)
        return token

    @returns_deferred
    async def tokens(self) -> list[Token]:
        """See L{IStore}."""
        found = self._records.read_all(Token, await self._ask(_ALL, TOKEN_KEYS[:1]))
        return sorted(found.values(), key=lambda token: token.name)

    @returns_deferred
    async def revoke_token(self, name: str) -> bool:
        """See L{IStore}."""
        return bool(int(await self._run(REVOKE_TOKEN, TOKEN_KEYS, name)))

    @returns_deferred
    async def token_used(self, token_id: str, when: float) -> None:
        """See L{IStore}."""
        await self._run(TOKEN_USED, TOKEN_KEYS, token_id, repr(when), repr(TOKEN_USED_STEP))

    @returns_deferred
    async def find_tokens(self, ids: Iterable[str]) -> dict[str, Token]:
        """See L{IStore}."""
        found = await self._several(TOKEN_KEYS[0], list(ids))
        read = {key: self._records.read(Token, key, text) for key, text in found.items() if text}
        return {key: token for key, token in read.items() if token is not None}

    async def _several(self, key: str, fields: list[str], script: str = _SEVERAL) -> dict[str, Any]:
        """Some fields of a hash, L{_AT_ONCE} with one question."""
        found: dict[str, Any] = {}
        for start in range(0, len(fields), _AT_ONCE):
            some = fields[start : start + _AT_ONCE]
            found.update(zip(some, await self._ask(script, [key], *some), strict=True))
        return found

    @returns_deferred
    async def change_token(self, name: str, changes: dict[str, Any]) -> Token | None:
        """See L{IStore}."""
        texts = {
            field: value.hex() if isinstance(value, bytes) else value for field, value in changes.items()
        }
        found = await self._run(CHANGE_TOKEN, TOKEN_KEYS, name, json.dumps(texts))
        return self._records.read(Token, *found) if found else None

    @returns_deferred
    async def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Reservation:
        """See L{IStore}."""
        return (await self.reserve_with_parent(reservation, limits))[0]

    async def reserve_with_parent(self, reservation: Reservation, limits: Limits) -> list[Reservation]:
        """As L{reserve}. @return: the reservation, and that of the label that was kept with a wildcard."""
        most = ["" if limit is None else str(limit) for limit in (limits.names, limits.ports)]
        answer = await self._run(RESERVE, RESERVATION_KEYS, to_text(reservation), *most, repr(USED_STEP))
        name = reservation.name
        if answer in ("name", "twin"):
            raise taken(name, name if answer == "name" else twin(name) or name)
        if answer == "port":
            raise Taken(f"port {reservation.port} belongs to another name")
        if answer in ("names", "ports"):
            raise OverQuota(answer, getattr(limits, answer))
        return [record(Reservation, json.loads(text)) for text in answer]

    @returns_deferred
    async def reservation(self, name: str) -> Reservation | None:
        """See L{IStore}."""
        known, _ = await self.find_name(name)
        return known

    @returns_deferred
    async def find_reservations(self, names: Iterable[str]) -> dict[str, Reservation | None]:
        """See L{IStore}."""
        found = await self._several(RESERVATION_KEYS[0], list(names))
        read = {
            name: self._records.read(Reservation, name, text) if text else None
            for name, text in found.items()
        }
        return {name: known for name, known in read.items() if known is not None or not found[name]}

    @returns_deferred
    async def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Reservation | None:
        """See L{IStore}."""
        keys = [RESERVATION_KEYS[0], RESERVATION_KEYS[2]]
        found = await self._ask(REMEMBERED, keys, token_id, agent, kind, upstream)
        return self._records.read(Reservation, *found) if found and found[1] else None

    @returns_deferred
    async def reservations(self) -> list[Reservation]:
        """See L{IStore}."""
        found = self._records.read_all(Reservation, await self._ask(_ALL, RESERVATION_KEYS[:1]))
        return sorted(found.values(), key=lambda known: known.name)

    @returns_deferred
    async def free_ports(self, ports: Iterable[int]) -> list[int]:
        """See L{IStore}."""
        wanted = list(ports)
        owners = await self._several(RESERVATION_KEYS[1], [str(port) for port in wanted])
        return [port for port in wanted if not owners[str(port)]]

    @returns_deferred
    async def release(self, name: str, token_id: str | None = None) -> list[str]:
        """See L{IStore}."""
        return list(await self._run(RELEASE, RESERVATION_KEYS, name, token_id or ""))

    async def release_under_another(self, name: str) -> bool:
        """Release a wildcard, if its label is another token's. @return: whether it was."""
        return bool(int(await self._run(RELEASE_UNDER_ANOTHER, RESERVATION_KEYS, name)))

    @returns_deferred
    async def transfer(self, name: str, token_id: str, owner: str | None = None) -> list[Reservation]:
        """See L{IStore}."""
        texts = await self._run(TRANSFER, RESERVATION_KEYS, name, token_id, owner or "")
        return [record(Reservation, json.loads(text)) for text in texts]

    @returns_deferred
    async def names_used(self, names: Iterable[str], when: float) -> None:
        """See L{IStore}."""
        used = list(names)
        for start in range(0, len(used), _AT_ONCE):
            await self._run(NAMES_USED, RESERVATION_KEYS, repr(when), *used[start : start + _AT_ONCE])

    @returns_deferred
    async def free_unused(self, before: float, now: float) -> list[str]:
        """See L{IStore}."""
        return sorted(await self._run(FREE_UNUSED, RESERVATION_KEYS, repr(before), repr(now)))

    # -- notes --------------------------------------------------------------------------------------------

    @returns_deferred
    async def note(self, space: str, key: str) -> str | None:
        """See L{IStore}."""
        text: str | None = await self._ask(NOTE, [note_key(space)], key)
        return text

    @returns_deferred
    async def find_notes(self, space: str, keys: Iterable[str]) -> dict[str, str | None]:
        """See L{IStore}."""
        return await self._several(note_key(space), list(keys), SOME_NOTES)

    @returns_deferred
    async def notes(self, space: str) -> dict[str, str]:
        """See L{IStore}."""
        found = await self._ask(NOTES, [note_key(space)])
        return dict(zip(found[::2], found[1::2], strict=True))

    @returns_deferred
    async def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> None:
        """See L{IStore}."""
        await self._run(PUT_NOTE, [note_key(space)], key, text, _seconds(ttl), writes=ttl is None)

    @returns_deferred
    async def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> bool:
        """See L{IStore}."""
        # "=" before a text tells an empty one from none.
        texts = ["" if text is None else "=" + text for text in (old, new)]
        arguments = [key, *texts, _seconds(ttl)]
        return bool(int(await self._run(SWAP_NOTE, [note_key(space)], *arguments, writes=ttl is None)))

    # -- changes --------------------------------------------------------------------------------------------

    @returns_deferred
    async def changes(self, spaces: Collection[str], since: str, note: Note | None = None) -> Changes:
        """See L{IStore}."""
        _, changes = await self.poll(spaces, since, note)
        return changes

    async def poll(
        self, spaces: Collection[str], since: str, note: Note | None = None
    ) -> tuple[dict[str, int], Changes]:
        """
        What changed, see L{IStore.changes}, and what was marked, see
        L{Guard.new_marks<burrow.store.redis.guard.Guard.new_marks>}, in one question.
        """
        epoch, _, count = since.partition(":")
        kept = ["", "", "", ""] if note is None else [note.space, note.key, note.text, _seconds(note.ttl)]
        known = count if epoch == self.guard.epoch else ""
        marks, answer = await self.guard.new_marks(NOTE_CHANGES, known, *kept, *spaces)
        count, whole, renewed, found, records = answer
        notes: dict[str, dict[str, str | None]] = {space: {} for space in spaces}
        for space, key, text in zip(found[::3], found[1::3], found[2::3], strict=True):
            notes[space][key] = text
        changed: dict[str, set[str]] = {TOKENS: set(), NAMES: set()}
        for space, key in zip(records[::2], records[1::2], strict=True):
            changed[space].add(key)
        tokens, names = (frozenset(changed[space]) for space in (TOKENS, NAMES))
        version = f"{self.guard.epoch}:{count}"
        return marks, Changes(version, bool(int(whole)), notes, tokens, names, bool(int(renewed)))

    def follow(self, changed: Callable[[], None]) -> None:
        """See L{IStore}."""
        self._followers.append(changed)

    def _heard(self, server: str) -> None:
        if server != self.guard.server:
            for changed in self._followers:
                changed()


def _seconds(ttl: float | None) -> str:
    return "" if ttl is None else repr(float(ttl))
