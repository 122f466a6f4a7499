"""
The database file, and its two connections.

All calls of SQLite block, so they run on two threads (adbapi): one writes, in order; the other reads, and
waits for no writer (WAL mode). Other processes (C{burrow token create} beside a running server, several
workers) share the file; a transaction that writes waits up to L{BUSY_TIMEOUT} for another's.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from burrow.errors import ConfigError, StoreError
from burrow.store.sqlite.schema import migrate, take_over_live_notes
from burrow.store.sqlite.transactions import Sync, Transactions

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's transaction."""

CACHE = 256
"""
KiB of the file's pages that each of the two connections keeps; SQLite's own 2 MB would be full of what 1,000
tunnels wrote. What is not kept is with the kernel, a few microseconds away on the store's own threads.
"""

_T = TypeVar("_T")


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


class Database:
    """
    @param reactor: whose threads are used.
    @param path: the file; its folder is made if needed, readable by its owner alone.
    @param now: seconds since the epoch, which the processes of one machine agree about.
    """

    log = Logger()

    def __init__(self, reactor: Any, path: Path, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._path = path
        self._now = now
        self._writer: ConnectionPool | None = None
        self._reader: ConnectionPool | None = None
        self._reads: Transactions | None = None
        self._writes: Transactions | None = None
        self._found = False

    async def open(self) -> None:
        """
        Make the file, or bring it to the newest schema.

        @raise ConfigError: the file cannot be made before a person changes rights or the path.
        @raise StoreError: the disk is full, or the file is damaged or of a newer release.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here so that it is never readable by others, whatever the umask.
            self._found = self._path.exists()
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._path.chmod(0o600)
        except OSError as error:
            text = f"the database {self._path} cannot be made: {error.strerror}; choose another --state"
            # A disk may have room again; rights and what a path leads to are for a person to change.
            lasting = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
            raise (ConfigError if error.errno in lasting else StoreError)(text) from error
        self._writer, self._reader = self._pool(), self._pool()
        try:
            await self._writer.runWithConnection(self._prepare)
            for pool in (self._writer, self._reader):
                await pool.runWithConnection(_keep_few_pages)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise StoreError(explain(self._path, error)) from error
            raise
        from_thread = self._reactor.callFromThread
        self._reads = Transactions(self._reader, self._explained, from_thread, writes=False)
        self._writes = Transactions(self._writer, self._explained, from_thread, writes=True)

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

    def close(self) -> None:
        """Close the connections; what is asked afterwards fails."""
        pools, self._writer, self._reader = (self._reader, self._writer), None, None
        for transactions in (self._reads, self._writes):
            if transactions is not None:
                transactions.close()
        self._reads = self._writes = None
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
        if migrate(connection._connection, self._path) == 0 and self._found:
            # Not refused: a first start that had no room on the disk leaves such a file, too.
            self.log.warn(
                "the database {path} was there with nothing in it and begins anew, without tokens and names: "
                "if it had some, stop the server and put a backup in its place. A copy of this file alone, "
                "made while a server ran, is none: it lacks what was in {path}-wal",
                path=str(self._path),
            )
        take_over_live_notes(connection, self._path, self._now())

    def _explained(self, error: sqlite3.Error) -> StoreError:
        return StoreError(explain(self._path, error))

    def read(self, work: Callable[[Any], _T]) -> Deferred[_T]:
        """
        Run C{work} with a cursor, in a transaction that only reads. Fires with its result; fails with what
        it raises, and with L{StoreError} where SQLite fails. It may be called twice: see L{Transactions}.
        """
        return self._closed() if self._reads is None else self._reads.run(work)

    def write(self, work: Callable[[Any], _T], *, sync: Sync = True) -> Deferred[_T]:
        """
        Run C{work} with a cursor, in a transaction, while no other writes. Fires and fails as L{read} does.
        """
        return self._closed() if self._writes is None else self._writes.run(work, sync=sync)

    def _closed(self) -> Deferred[Any]:
        return fail(StoreError(f"the database {self._path} is closed"))


def _keep_few_pages(connection: Any) -> None:
    """See L{CACHE}."""
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
