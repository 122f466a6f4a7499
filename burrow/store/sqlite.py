"""
The store in one SQLite file: the default, for one machine.

SQLite has no other than blocking calls, so they run on one thread of their own (adbapi), in order.
Other processes (C{burrow token create} beside a running server) share the file: WAL mode, and a
transaction waits up to L{BUSY_TIMEOUT} for another's.

Notes whose time ends are in a second file beside the first, which nobody waits for the disk for.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attr
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from burrow.errors import StoreError
from burrow.store.base import IStore, Reservation, Taken, Token, renewed

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's transaction."""

MIGRATIONS = (
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
        digest BLOB NOT NULL, created REAL NOT NULL, last_used REAL
    );
    CREATE TABLE reservations (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, token TEXT NOT NULL, agent TEXT NOT NULL,
        upstream TEXT NOT NULL, port INTEGER UNIQUE, assigned INTEGER NOT NULL, created REAL NOT NULL
    );
    CREATE INDEX remembered ON reservations (token, agent, kind, upstream) WHERE assigned;
    """,
    """
    CREATE TABLE notes (
        space TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (space, key)
    ) WITHOUT ROWID;
    """,
)
"""The schema, a step a version: the file's user_version says how many were taken. Never change one."""

LIVE = """
CREATE TABLE IF NOT EXISTS live.live_notes (
    space TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (space, key)
) WITHOUT ROWID
"""
"""The second file's schema. The file is made anew when it cannot be used: what it has is of the moment."""

_TOKEN = ", ".join(field.name for field in attr.fields(Token))
_RESERVATION = ", ".join(field.name for field in attr.fields(Reservation))
_T = TypeVar("_T")


def _reservation(row: tuple[Any, ...] | None) -> Reservation | None:
    return None if row is None else attr.evolve(Reservation(*row), assigned=bool(row[6]))


def migrate(connection: sqlite3.Connection) -> None:
    """
    Bring a database to the newest schema, all or nothing.

    @raise StoreError: it was written by a newer Burrow.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"the database has version {version}, this Burrow knows {len(MIGRATIONS)}: use a newer Burrow"
            )
        for number in range(version, len(MIGRATIONS)):
            for statement in MIGRATIONS[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


@implementer(IStore)
class SQLiteStore:
    """
    @param path: the database's file; its folder is made if needed, readable by its owner alone.
    """

    whole = True

    def __init__(self, reactor: Any, path: Path) -> None:
        self._reactor = reactor
        self._path = path
        self._pool: ConnectionPool | None = None

    def open(self) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here so that it is never readable by others, whatever the umask.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._path.chmod(0o600)
        except OSError as error:
            text = f"the database {self._path} cannot be made: {error.strerror}; choose another --state"
            raise StoreError(text) from error
        self._pool = ConnectionPool(
            "sqlite3",
            str(self._path),
            cp_reactor=self._reactor,
            cp_min=1,
            cp_max=1,
            cp_noisy=False,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
        )
        self._pool.start()
        try:
            await self._run(lambda cursor: None, prepare=True)
        except BaseException:
            await self._close()
            raise

    def close(self) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    @property
    def _live(self) -> Path:
        return self._path.with_name(self._path.stem + "-live" + self._path.suffix)

    def _prepare(self, connection: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection._connection)
        try:
            self._attach(connection)
        except sqlite3.OperationalError:
            raise  # in use, or not to be written: nothing is wrong with what it says
        except sqlite3.DatabaseError:
            # It is never waited for the disk for, so a power failure may have broken it.
            connection.execute("DETACH live")
            for suffix in ("", "-wal", "-shm"):
                self._live.with_name(self._live.name + suffix).unlink(missing_ok=True)
            self._attach(connection)

    def _attach(self, connection: Any) -> None:
        os.close(os.open(self._live, os.O_CREAT | os.O_RDWR, 0o600))
        connection.execute("ATTACH ? AS live", (str(self._live),))
        connection.execute("PRAGMA live.journal_mode = WAL")
        connection.execute("PRAGMA live.synchronous = OFF")
        connection.execute(LIVE)

    def _run(self, work: Callable[[Any], _T], *, prepare: bool = False) -> Deferred[_T]:
        """Run C{work} with a cursor, in a transaction, on the store's thread."""

        def transact(connection: Any) -> _T:
            try:
                if prepare:
                    self._prepare(connection)
                connection.execute("BEGIN IMMEDIATE")
                try:
                    result = work(connection.cursor())
                    connection.execute("COMMIT")
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                return result
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                raise StoreError(f"the database {self._path} cannot be used: {error}") from error

        if self._pool is None:
            return fail(StoreError(f"the database {self._path} is closed"))
        running: Deferred[_T] = self._pool.runWithConnection(transact)
        return running

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""

        def add(cursor: Any) -> None:
            try:
                cursor.execute(
                    f"INSERT INTO tokens ({_TOKEN}) VALUES (?, ?, ?, ?, ?, ?)", attr.astuple(token)
                )
            except sqlite3.IntegrityError as error:
                raise Taken(f"there is a token named {token.name!r} already") from error

        return self._run(add)

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""

        def find(cursor: Any) -> Token | None:
            row = cursor.execute(f"SELECT {_TOKEN} FROM tokens WHERE id = ?", (token_id,)).fetchone()
            return None if row is None else Token(*row)

        return self._run(find)

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return self._run(
            lambda cursor: [
                Token(*row) for row in cursor.execute(f"SELECT {_TOKEN} FROM tokens ORDER BY name")
            ]
        )

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return self._run(
            lambda cursor: bool(cursor.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount)
        )

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}."""

        def use(cursor: Any) -> None:
            cursor.execute("UPDATE tokens SET last_used = ? WHERE id = ?", (when, token_id))

        return self._run(use)

    def reserve(self, reservation: Reservation) -> Deferred[Reservation]:
        """See L{IStore}."""

        def reserve(cursor: Any) -> Reservation:
            wanted = reservation
            known = self._named(cursor, wanted.name)
            if known is not None:
                if known.token != wanted.token:
                    raise Taken(f"the name {wanted.name!r} belongs to another token")
                wanted = renewed(known, wanted)
            try:
                cursor.execute(
                    f"INSERT OR REPLACE INTO reservations ({_RESERVATION}) SELECT ?, ?, ?, ?, ?, ?, ?, ? "
                    "WHERE NOT EXISTS (SELECT 1 FROM reservations WHERE port = ? AND name <> ?)",
                    (*attr.astuple(wanted), wanted.port, wanted.name),
                )
            except sqlite3.IntegrityError as error:
                raise StoreError(str(error)) from error
            if not cursor.rowcount:
                raise Taken(f"port {wanted.port} belongs to another name")
            return wanted

        return self._run(reserve)

    @staticmethod
    def _named(cursor: Any, name: str) -> Reservation | None:
        row = cursor.execute(f"SELECT {_RESERVATION} FROM reservations WHERE name = ?", (name,)).fetchone()
        return _reservation(row)

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return self._run(lambda cursor: self._named(cursor, name))

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        query = (
            f"SELECT {_RESERVATION} FROM reservations WHERE assigned "
            "AND token = ? AND agent = ? AND kind = ? AND upstream = ?"
        )
        values = (token_id, agent, kind, upstream)
        return self._run(lambda cursor: _reservation(cursor.execute(query, values).fetchone()))

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        query = f"SELECT {_RESERVATION} FROM reservations ORDER BY name"
        return self._run(
            lambda cursor: [found for row in cursor.execute(query) if (found := _reservation(row))]
        )

    def release(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return self._run(
            lambda cursor: bool(cursor.execute("DELETE FROM reservations WHERE name = ?", (name,)).rowcount)
        )

    # -- notes --------------------------------------------------------------------------------------------

    def _note(self, cursor: Any, space: str, key: str) -> str | None:
        row = cursor.execute(
            "SELECT text FROM live_notes WHERE space = ? AND key = ? AND until > ? "
            "UNION ALL SELECT text FROM notes WHERE space = ? AND key = ?",
            (space, key, self._reactor.seconds(), space, key),
        ).fetchone()
        return None if row is None else str(row[0])

    def _put_note(self, cursor: Any, space: str, key: str, text: str | None, ttl: float | None) -> None:
        if ttl is not None or text is None:
            cursor.execute("DELETE FROM notes WHERE space = ? AND key = ?", (space, key))
        if ttl is None or text is None:
            cursor.execute("DELETE FROM live_notes WHERE space = ? AND key = ?", (space, key))
        if text is None:
            return
        if ttl is None:
            cursor.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (space, key, text))
        else:
            until = self._reactor.seconds() + ttl
            cursor.execute("INSERT OR REPLACE INTO live_notes VALUES (?, ?, ?, ?)", (space, key, text, until))

    def note(self, space: str, key: str) -> Deferred[str | None]:
        """See L{IStore}."""
        return self._run(lambda cursor: self._note(cursor, space, key))

    def notes(self, space: str) -> Deferred[dict[str, str]]:
        """See L{IStore}."""

        def find(cursor: Any) -> dict[str, str]:
            now = self._reactor.seconds()
            cursor.execute("DELETE FROM live_notes WHERE space = ? AND until <= ?", (space, now))
            rows = cursor.execute(
                "SELECT key, text FROM notes WHERE space = ? "
                "UNION ALL SELECT key, text FROM live_notes WHERE space = ?",
                (space, space),
            )
            return dict(rows.fetchall())

        return self._run(find)

    def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """See L{IStore}."""
        return self._run(lambda cursor: self._put_note(cursor, space, key, text, ttl))

    def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """See L{IStore}."""

        def swap(cursor: Any) -> bool:
            same = self._note(cursor, space, key) == old
            if same:
                self._put_note(cursor, space, key, new, ttl)
            return same

        return self._run(swap)
