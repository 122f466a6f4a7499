"""
The store in one SQLite file: the default, for one machine.

SQLite has no other than blocking calls, so they run on two threads (adbapi): one writes, in order; the other
reads, and waits for no writer (WAL mode). Other processes (C{burrow token create} beside a running server,
several workers) share the file; a transaction that writes waits up to L{BUSY_TIMEOUT} for another's.

What was told to somebody is on the disk before: a transaction with tokens, reservations or lasting notes ends
with fsync. One that has notes with a time alone, or when a token was used, does not: a power failure may take
the last of them and leaves the file sound, since WAL is synced before it is copied (synchronous = NORMAL).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import attr
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from burrow.errors import ConfigError, StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.store.base import TOKEN_USED_STEP, IStore, OverQuota, Reservation, Taken, Token, freed, renewed
from burrow.store.deferring import returns_deferred

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
    """
    CREATE TABLE live_notes (
        space TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, ttl REAL NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (space, key)
    ) WITHOUT ROWID;
    CREATE INDEX live_until ON live_notes (until);
    """,
    """
    ALTER TABLE tokens ADD COLUMN max_names INTEGER;
    ALTER TABLE tokens ADD COLUMN max_ports INTEGER;
    ALTER TABLE tokens ADD COLUMN max_tunnels INTEGER;
    ALTER TABLE tokens ADD COLUMN max_sessions INTEGER;
    ALTER TABLE tokens ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE reservations ADD COLUMN used REAL;
    ALTER TABLE reservations ADD COLUMN port_assigned INTEGER;
    ALTER TABLE reservations ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE reservations ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX owned ON reservations (token, port);
    """,
)
"""The schema, a step a version: the file's user_version says how many were taken. Never change one."""

TIDY_EVERY = 10.0
"""Seconds between two removals of notes whose time is over."""

_TOKEN = ", ".join(field.name for field in attr.fields(Token))
_RESERVATION = ", ".join(field.name for field in attr.fields(Reservation))
_AT_ONCE = 500
"""Values in one query, at most: SQLite allows 999 in old releases."""

_T = TypeVar("_T")


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _reservation(row: tuple[Any, ...] | None) -> Reservation | None:
    if row is None:
        return None
    found = Reservation(*row)
    port_assigned = None if found.port_assigned is None else bool(found.port_assigned)
    return attr.evolve(
        found, assigned=bool(found.assigned), asked=bool(found.asked), port_assigned=port_assigned
    )


def _put(cursor: Any, reservation: Reservation) -> None:
    values = attr.astuple(reservation)
    cursor.execute(
        f"INSERT OR REPLACE INTO reservations ({_RESERVATION}) VALUES ({_marks(len(values))})", values
    )


def _check_quota(cursor: Any, known: Reservation | None, wanted: Reservation, limits: Limits) -> None:
    """@raise OverQuota: the token had more than it may."""
    more = {
        "names": known is None,
        "ports": wanted.port is not None and (known is None or known.port is None),
    }
    if not any(more.values()):
        return
    query = "SELECT COUNT(*), COUNT(port) FROM reservations WHERE token = ?"
    owned = cursor.execute(query, (wanted.token,)).fetchone()
    for what, count in zip(more, owned, strict=True):
        limit = getattr(limits, what)
        if more[what] and limit is not None and count >= limit:
            raise OverQuota(what, limit)


def migrate(connection: sqlite3.Connection) -> int:
    """
    Bring a database to the newest schema, all or nothing.

    @return: the version that it had; 0 for a new one.
    @raise StoreError: it was written by a newer Burrow.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
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
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return version


def explain(path: Path, error: sqlite3.Error) -> str:
    """What is wrong with a database, and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"the database {path} is damaged ({error}): stop the server and put a backup in its place, or "
            f"what `sqlite3 {path} .recover | sqlite3 {path.with_suffix('.new')}` saves; remove {path}-wal "
            f"and {path}-shm then"
        )
    if code == sqlite3.SQLITE_FULL:
        return f"the disk of the database {path} is full: free some space"
    if code == sqlite3.SQLITE_BUSY:
        return f"another process has the database {path} locked for longer than {BUSY_TIMEOUT:.0f} s"
    return f"the database {path} cannot be used: {error}"


@implementer(IStore)
class SQLiteStore:
    """
    @param reactor: whose threads and clock are used.
    @param path: the database's file; its folder is made if needed, readable by its owner alone.
    @param now: seconds since the epoch, which the processes of one machine agree about.
    """

    log = Logger()
    whole = True

    def __init__(self, reactor: Any, path: Path, now: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._path = path
        self._now = now
        self._writer: ConnectionPool | None = None
        self._reader: ConnectionPool | None = None
        self._synced: bool | None = None
        self._tidied = float("-inf")
        self._emptied = False

    @returns_deferred
    async def open(self) -> None:
        """See L{IStore}."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here so that it is never readable by others, whatever the umask.
            self._emptied = self._path.exists() and not self._path.stat().st_size
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._path.chmod(0o600)
        except OSError as error:
            text = f"the database {self._path} cannot be made: {error.strerror}; choose another --state"
            # A disk may have room again; rights and what a path leads to are for a person to change.
            lasting = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
            raise (ConfigError if error.errno in lasting else StoreError)(text) from error
        self._writer, self._reader = self._pool(), self._pool()
        try:
            await self._on(self._writer, self._prepare)
        except BaseException:
            await self.close()
            raise

    def _pool(self) -> ConnectionPool:
        pool = ConnectionPool(
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
        pool.start()
        return pool

    @returns_deferred
    async def close(self) -> None:
        """See L{IStore}."""
        pools, self._writer, self._reader = (self._reader, self._writer), None, None
        for pool in pools:
            if pool is not None:
                pool.close()

    def _prepare(self, connection: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            error = sqlite3.DatabaseError(found.splitlines()[-1])
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        connection.execute("PRAGMA synchronous = FULL")
        if migrate(connection._connection) == 0 and self._emptied:
            # So does a start end that had no room on the disk: no reason to refuse.
            self.log.warn(
                "the database {path} was there with 0 bytes and begins anew, without tokens and names: if it "
                "had some, stop the server and put a backup in its place",
                path=str(self._path),
            )
        self._take_over(connection)

    def _take_over(self, connection: Any) -> None:
        """Older releases kept notes with a time in a second file, which nobody waited for the disk for."""
        old = self._path.with_name(self._path.stem + "-live" + self._path.suffix)
        if not old.exists():
            return
        now = self._now()
        try:
            with closing(sqlite3.connect(old)) as second:
                query = "SELECT space, key, text, until - ?, until FROM live_notes WHERE until > ?"
                notes = second.execute(query, (now, now)).fetchall()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO live_notes VALUES (?, ?, ?, ?, ?)", notes)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self.log.warn("{file} is left out: {error}", file=str(old), error=error)
        for suffix in ("", "-wal", "-shm"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)

    def _on(self, pool: ConnectionPool | None, work: Callable[[Any], _T]) -> Deferred[_T]:
        """Run C{work} with a pool's connection, on its thread."""

        def run(connection: Any) -> _T:
            try:
                return work(connection)
            except sqlite3.Error as error:
                raise StoreError(explain(self._path, error)) from error

        if pool is None:
            return fail(StoreError(f"the database {self._path} is closed"))
        running: Deferred[_T] = pool.runWithConnection(run)
        return running

    def _read(self, work: Callable[[Any], _T]) -> Deferred[_T]:
        """Run C{work} with a cursor, on one state of the database."""
        return self._on(self._reader, lambda connection: self._transact(connection, "BEGIN", work))

    def _write(self, work: Callable[[Any], _T], *, sync: bool | Callable[[Any], bool] = True) -> Deferred[_T]:
        """
        Run C{work} with a cursor, while no other writes.

        @param sync: whether it is to be on the disk when this fires; or tells it, with the connection.
        """

        def write(connection: Any) -> _T:
            synced = sync(connection) if callable(sync) else sync
            if synced is not self._synced:
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                self._synced = synced
            return self._transact(connection, "BEGIN IMMEDIATE", work)

        return self._on(self._writer, write)

    @staticmethod
    def _transact(connection: Any, begin: str, work: Callable[[Any], _T]) -> _T:
        connection.execute(begin)
        try:
            result = work(connection.cursor())
            connection.execute("COMMIT")
        except BaseException:
            # A full disk, for one, has ended the transaction by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""

        def add(cursor: Any) -> None:
            try:
                values = attr.astuple(token)
                cursor.execute(f"INSERT INTO tokens ({_TOKEN}) VALUES ({_marks(len(values))})", values)
            except sqlite3.IntegrityError as error:
                raise Taken(f"there is a token named {token.name!r} already") from error

        return self._write(add)

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""

        def find(cursor: Any) -> Token | None:
            row = cursor.execute(f"SELECT {_TOKEN} FROM tokens WHERE id = ?", (token_id,)).fetchone()
            return None if row is None else Token(*row)

        return self._read(find)

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return self._read(
            lambda cursor: [
                Token(*row) for row in cursor.execute(f"SELECT {_TOKEN} FROM tokens ORDER BY name")
            ]
        )

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return self._write(
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

        return self._write(use, sync=False)

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

        return self._read(find)

    def change_token(self, name: str, changes: dict[str, Any]) -> Deferred[Token | None]:
        """See L{IStore}."""
        columns = "".join(f"{field} = ?, " for field in changes)

        def change(cursor: Any) -> Token | None:
            cursor.execute(
                f"UPDATE tokens SET {columns}version = version + 1 WHERE name = ?", (*changes.values(), name)
            )
            row = cursor.execute(f"SELECT {_TOKEN} FROM tokens WHERE name = ?", (name,)).fetchone()
            return None if row is None else Token(*row)

        return self._write(change)

    @returns_deferred
    async def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Reservation:
        """See L{IStore}. One that only counts as used later may be renewed on a full disk, too."""

        def reserve(cursor: Any) -> Reservation:
            wanted = reservation
            known = self._named(cursor, wanted.name)
            if known is not None and known.token != wanted.token:
                raise Taken(f"the name {wanted.name!r} belongs to another token")
            if wanted.port is not None:
                query = "SELECT name FROM reservations WHERE port = ? AND name <> ?"
                if cursor.execute(query, (wanted.port, wanted.name)).fetchone() is not None:
                    raise Taken(f"port {wanted.port} belongs to another name")
            _check_quota(cursor, known, wanted, limits)
            if known is not None:
                wanted = renewed(known, wanted)
                if wanted == known:
                    return known  # also with a full disk
            _put(cursor, wanted)
            return wanted

        try:
            return await self._write(reserve)
        except Taken:
            raise
        except StoreError:
            known = await self.reservation(reservation.name)
            if known is None or known.token != reservation.token:
                raise
            if attr.evolve(renewed(known, reservation), used=known.used) != known:
                raise
            return known

    @staticmethod
    def _named(cursor: Any, name: str) -> Reservation | None:
        row = cursor.execute(f"SELECT {_RESERVATION} FROM reservations WHERE name = ?", (name,)).fetchone()
        return _reservation(row)

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return self._read(lambda cursor: self._named(cursor, name))

    def find_reservations(self, names: Iterable[str]) -> Deferred[dict[str, Reservation | None]]:
        """See L{IStore}."""
        wanted = list(names)

        def find(cursor: Any) -> dict[str, Reservation | None]:
            found: dict[str, Reservation | None] = dict.fromkeys(wanted)
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                query = f"SELECT {_RESERVATION} FROM reservations WHERE name IN ({_marks(len(some))})"
                found.update({row[0]: _reservation(row) for row in cursor.execute(query, some)})
            return found

        return self._read(find)

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        query = (
            f"SELECT {_RESERVATION} FROM reservations WHERE assigned "
            "AND token = ? AND agent = ? AND kind = ? AND upstream = ?"
        )
        values = (token_id, agent, kind, upstream)
        return self._read(lambda cursor: _reservation(cursor.execute(query, values).fetchone()))

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        query = f"SELECT {_RESERVATION} FROM reservations ORDER BY name"
        return self._read(
            lambda cursor: [found for row in cursor.execute(query) if (found := _reservation(row))]
        )

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

        return self._read(find)

    def release(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return self._write(
            lambda cursor: bool(cursor.execute("DELETE FROM reservations WHERE name = ?", (name,)).rowcount)
        )

    def transfer(self, name: str, token_id: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""

        def transfer(cursor: Any) -> Reservation | None:
            cursor.execute(
                "UPDATE reservations SET token = ?, asked = 1, version = version + 1 WHERE name = ?",
                (token_id, name),
            )
            return self._named(cursor, name)

        return self._write(transfer)

    def names_used(self, names: Iterable[str], when: float) -> Deferred[None]:
        """See L{IStore}."""
        rows = [(when, name) for name in names]

        def use(cursor: Any) -> None:
            cursor.executemany("UPDATE reservations SET used = ? WHERE name = ?", rows)

        return self._write(use, sync=False)

    def free_unused(self, before: float, now: float) -> Deferred[list[str]]:
        """See L{IStore}."""

        def free(cursor: Any) -> list[str]:
            query = f"SELECT {_RESERVATION} FROM reservations WHERE used < ? ORDER BY name"
            changed = []
            for row in cursor.execute(query, (before,)).fetchall():
                known = _reservation(row)
                assert known is not None
                left = freed(known, before)
                if left is None:
                    cursor.execute("DELETE FROM reservations WHERE name = ?", (known.name,))
                elif left is not known:
                    _put(cursor, left)
                if left is not known:
                    changed.append(known.name)
            cursor.execute("UPDATE reservations SET used = ? WHERE used IS NULL", (now,))
            return changed

        return self._write(free)

    # -- notes --------------------------------------------------------------------------------------------

    def _note(self, cursor: Any, space: str, key: str) -> str | None:
        row = cursor.execute(
            "SELECT text FROM live_notes WHERE space = ? AND key = ? AND until > ? "
            "UNION ALL SELECT text FROM notes WHERE space = ? AND key = ?",
            (space, key, self._now(), space, key),
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
            return
        until = self._now() + ttl
        cursor.execute(
            "INSERT OR REPLACE INTO live_notes VALUES (?, ?, ?, ?, ?)", (space, key, text, ttl, until)
        )
        self._tidy(cursor)

    def _tidy(self, cursor: Any) -> None:
        """
        Remove what is over. A note that has more time left than it was given is from before the clock was set
        back: its time begins again now.
        """
        if self._reactor.seconds() - self._tidied < TIDY_EVERY:
            return
        self._tidied = self._reactor.seconds()
        now = self._now()
        cursor.execute("DELETE FROM live_notes WHERE until <= ?", (now,))
        cursor.execute("UPDATE live_notes SET until = ? + ttl WHERE until > ? + ttl", (now, now))

    @staticmethod
    def _lasts(space: str, key: str, text: str | None, ttl: float | None) -> Callable[[Any], bool]:
        """Says whether a lasting note is made, replaced or removed."""

        def lasts(connection: Any) -> bool:
            if text is not None and ttl is None:
                return True
            query = "SELECT 1 FROM notes WHERE space = ? AND key = ?"
            return connection.execute(query, (space, key)).fetchone() is not None

        return lasts

    def note(self, space: str, key: str) -> Deferred[str | None]:
        """See L{IStore}."""
        return self._read(lambda cursor: self._note(cursor, space, key))

    def notes(self, space: str) -> Deferred[dict[str, str]]:
        """See L{IStore}."""

        def find(cursor: Any) -> dict[str, str]:
            rows = cursor.execute(
                "SELECT key, text FROM notes WHERE space = ? "
                "UNION ALL SELECT key, text FROM live_notes WHERE space = ? AND until > ?",
                (space, space, self._now()),
            )
            return dict(rows.fetchall())

        return self._read(find)

    def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """See L{IStore}."""
        return self._write(
            lambda cursor: self._put_note(cursor, space, key, text, ttl),
            sync=self._lasts(space, key, text, ttl),
        )

    def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """See L{IStore}."""

        def swap(cursor: Any) -> bool:
            same = self._note(cursor, space, key) == old
            if same:
                self._put_note(cursor, space, key, new, ttl)
            return same

        return self._write(swap, sync=self._lasts(space, key, new, ttl))
