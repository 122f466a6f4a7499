"""The store: each question of L{IStore<burrow.store.base.IStore>} is one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import attr
from twisted.internet.defer import Deferred
from zope.interface import implementer

from burrow.errors import StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.store.base import TOKEN_USED_STEP, IStore, Reservation, Taken, Token
from burrow.store.changes import NAMES, TOKENS, Changes, Note, by_space
from burrow.store.deferring import returns_deferred
from burrow.store.reserving import renewed
from burrow.store.sqlite import changes, reservations
from burrow.store.sqlite.database import Database
from burrow.store.sqlite.notes import Notes

_TOKEN = ", ".join(field.name for field in attr.fields(Token))
_AT_ONCE = 500
"""Values in one query, at most: SQLite allows 999 in old releases."""


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@implementer(IStore)
class SQLiteStore:
    """
    @param reactor: whose threads and clock are used.
    @param path: the database's file; its folder is made if needed, readable by its owner alone.
    @param now: seconds since the epoch, which the processes of one machine agree about.
    """

    whole = True

    def __init__(self, reactor: Any, path: Path, now: Callable[[], float] = time.time) -> None:
        self._database = Database(reactor, path, now)
        self._notes = Notes(now, reactor.seconds)

    @returns_deferred
    async def open(self) -> None:
        """See L{IStore}."""
        await self._database.open()

    @returns_deferred
    async def close(self) -> None:
        """See L{IStore}."""
        self._database.close()

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""

        def add(cursor: Any) -> None:
            try:
                values = attr.astuple(token)
                cursor.execute(f"INSERT INTO tokens ({_TOKEN}) VALUES ({_marks(len(values))})", values)
            except sqlite3.IntegrityError as error:
                raise Taken(f"there is a token named {token.name!r} already") from error

        return self._database.write(add)

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""

        def find(cursor: Any) -> Token | None:
            row = cursor.execute(f"SELECT {_TOKEN} FROM tokens WHERE id = ?", (token_id,)).fetchone()
            return None if row is None else Token(*row)

        return self._database.read(find)

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return self._database.read(
            lambda cursor: [
                Token(*row) for row in cursor.execute(f"SELECT {_TOKEN} FROM tokens ORDER BY name")
            ]
        )

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return self._database.write(
            lambda cursor: bool(cursor.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount)
        )

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}."""

        def use(cursor: Any) -> None:
            query = (
                "UPDATE tokens SET last_used = ? WHERE id = ? "
                "AND (last_used IS NULL OR last_used > ? OR last_used <= ?)"
            )
            cursor.execute(query, (when, token_id, when, when - TOKEN_USED_STEP))

        return self._database.write(use, sync=False)

    def find_tokens(self, ids: Iterable[str]) -> Deferred[dict[str, Token]]:
        """See L{IStore}."""
        wanted = list(ids)

        def find(cursor: Any) -> dict[str, Token]:
            found = {}
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                query = f"SELECT {_TOKEN} FROM tokens WHERE id IN ({_marks(len(some))})"
                found.update({row[0]: Token(*row) for row in cursor.execute(query, some)})
            return found

        return self._database.read(find)

    def change_token(self, name: str, changes: dict[str, Any]) -> Deferred[Token | None]:
        """See L{IStore}."""
        columns = "".join(f"{field} = ?, " for field in changes)

        def change(cursor: Any) -> Token | None:
            cursor.execute(
                f"UPDATE tokens SET {columns}version = version + 1 WHERE name = ?", (*changes.values(), name)
            )
            row = cursor.execute(f"SELECT {_TOKEN} FROM tokens WHERE name = ?", (name,)).fetchone()
            return None if row is None else Token(*row)

        return self._database.write(change)

    @returns_deferred
    async def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Reservation:
        """See L{IStore}. One that only counts as used later may be renewed on a full disk, too."""
        try:
            return await self._database.write(
                lambda cursor: reservations.reserve(cursor, reservation, limits)
            )
        except Taken:
            raise
        except StoreError:
            known = await self.reservation(reservation.name)
            if known is None or known.token != reservation.token:
                raise
            if attr.evolve(renewed(known, reservation), used=known.used) != known:
                raise
            return known

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return self._database.read(lambda cursor: reservations.find(cursor, name))

    def find_reservations(self, names: Iterable[str]) -> Deferred[dict[str, Reservation | None]]:
        """See L{IStore}."""
        wanted = list(names)

        def find(cursor: Any) -> dict[str, Reservation | None]:
            found: dict[str, Reservation | None] = dict.fromkeys(wanted)
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                rows = reservations.select(cursor, f"WHERE name IN ({_marks(len(some))})", some)
                found.update({known.name: known for known in rows})
            return found

        return self._database.read(find)

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        where = "WHERE assigned AND token = ? AND agent = ? AND kind = ? AND upstream = ? LIMIT 1"
        values = (token_id, agent, kind, upstream)
        return self._database.read(
            lambda cursor: next(iter(reservations.select(cursor, where, values)), None)
        )

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        return self._database.read(lambda cursor: reservations.select(cursor, "ORDER BY name"))

    def free_ports(self, ports: Iterable[int]) -> Deferred[list[int]]:
        """See L{IStore}."""
        wanted = list(ports)

        def find(cursor: Any) -> list[int]:
            taken: set[int] = set()
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                query = f"SELECT port FROM reservations WHERE port IN ({_marks(len(some))})"
                taken.update(row[0] for row in cursor.execute(query, some))
            return [port for port in wanted if port not in taken]

        return self._database.read(find)

    def release(self, name: str, token_id: str | None = None) -> Deferred[list[str]]:
        """See L{IStore}."""
        return self._database.write(lambda cursor: reservations.release(cursor, name, token_id))

    def transfer(self, name: str, token_id: str, owner: str | None = None) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        return self._database.write(lambda cursor: reservations.transfer(cursor, name, token_id, owner))

    def names_used(self, names: Iterable[str], when: float) -> Deferred[None]:
        """See L{IStore}."""
        rows = [(when, name) for name in names]

        def use(cursor: Any) -> None:
            cursor.executemany("UPDATE reservations SET used = ? WHERE name = ?", rows)

        return self._database.write(use, sync=False)

    def free_unused(self, before: float, now: float) -> Deferred[list[str]]:
        """See L{IStore}."""
        return self._database.write(lambda cursor: reservations.free_unused(cursor, before, now))

    def note(self, space: str, key: str) -> Deferred[str | None]:
        """See L{IStore}."""
        return self._database.read(lambda cursor: self._notes.text(cursor, space, key))

    def find_notes(self, space: str, keys: Iterable[str]) -> Deferred[dict[str, str | None]]:
        """See L{IStore}."""
        wanted = list(keys)

        def find(cursor: Any) -> dict[str, str | None]:
            found: dict[str, str | None] = dict.fromkeys(wanted)
            for start in range(0, len(wanted), _AT_ONCE):
                found.update(self._notes.some(cursor, space, wanted[start : start + _AT_ONCE]))
            return found

        return self._database.read(find)

    def notes(self, space: str) -> Deferred[dict[str, str]]:
        """See L{IStore}."""
        return self._database.read(lambda cursor: self._notes.all(cursor, space))

    def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """See L{IStore}."""
        return self._database.write(
            lambda cursor: self._notes.put(cursor, space, key, text, ttl),
            sync=self._notes.lasts(space, key, text, ttl),
        )

    @returns_deferred
    async def changes(self, spaces: Collection[str], since: str, note: Note | None = None) -> Changes:
        """See L{IStore}."""
        renewed = False if note is None else await self._renew(note)

        def read(cursor: Any) -> Changes:
            changed = changes.since(cursor, since)
            if changed is None:
                notes: dict[str, dict[str, str | None]] = {
                    space: dict(self._notes.all(cursor, space)) for space in spaces
                }
                return Changes(str(changes.count(cursor)), True, notes, renewed=renewed)
            keys = by_space(changed, spaces)
            notes = {
                space: {key: self._notes.text(cursor, space, key) for key in keys[space]} for space in spaces
            }
            tokens, names = (frozenset(keys[space]) for space in (TOKENS, NAMES))
            return Changes(str(changes.count(cursor)), False, notes, tokens, names, renewed)

        return await self._database.read(read)

    def _renew(self, note: Note) -> Deferred[bool]:
        """Keep a note. @return: fires with whether it was there."""

        def renew(cursor: Any) -> bool:
            there = self._notes.text(cursor, note.space, note.key) is not None
            self._notes.put(cursor, note.space, note.key, note.text, note.ttl)
            return there

        return self._database.write(renew, sync=False)

    def follow(self, changed: Callable[[], None]) -> None:
        """See L{IStore}. Nobody is called: other processes tell nothing."""

    def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """See L{IStore}."""

        def swap(cursor: Any) -> bool:
            same = self._notes.text(cursor, space, key) == old
            if same:
                self._notes.put(cursor, space, key, new, ttl)
            return same

        return self._database.write(swap, sync=self._notes.lasts(space, key, new, ttl))
