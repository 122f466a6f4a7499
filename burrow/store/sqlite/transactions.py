"""
Transactions on one connection of a database: what waits together shares one.

To hand work to a thread costs more than most of it, and a transaction that has to be on the disk waits for
the disk. A thousand agents that come back at once would each wait for those before. So what is asked while
a transaction runs, goes into the next one, each behind a savepoint of its own: what fails is undone alone.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import attr
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

AT_ONCE = 100
"""Pieces of work in one transaction, at most: meanwhile no other process writes."""

_T = TypeVar("_T")

Sync = bool | Callable[[Any], bool]
"""Whether what is written has to be on the disk; or a function of the connection that tells it, before."""


@attr.s(auto_attribs=True, slots=True, eq=False)
class _Work:
    do: Callable[[Any], Any]
    sync: Sync
    done: Deferred[Any]

    def syncs(self, connection: Any) -> bool:
        try:
            return self.sync(connection) if callable(self.sync) else self.sync
        except Exception:  # as the work itself will: it fails alone
            return True


class Transactions:
    """
    What waits is bounded by the callers: each waits for its answer.

    @param pool: of one connection, in autocommit mode, on one thread. @param writes: whether any work writes.
    @param explained: makes of SQLite's error what the caller gets.
    """

    def __init__(
        self, pool: ConnectionPool, explained: Callable[[sqlite3.Error], Exception], *, writes: bool
    ) -> None:
        self._pool = pool
        self._explained = explained
        self._writes = writes
        self._waiting: deque[_Work] = deque()
        self._running = 0
        self._synced: bool | None = None

    def run(self, do: Callable[[Any], _T], *, sync: Sync = False) -> Deferred[_T]:
        """
        Run C{do} with a cursor, in the pool's thread, behind what was asked before. It may be called again,
        if something else made its transaction fail.

        @return: fires with its result; fails with what it raises, and where SQLite fails.
        """
        done: Deferred[_T] = Deferred()
        self._waiting.append(_Work(do, sync, done))
        if not self._running:
            self._hand_over()
        return done

    def close(self) -> None:
        """Leave all that waits to the thread, which does it before the pool is closed. Nothing may follow."""
        while self._waiting:
            self._hand_over()

    def _hand_over(self) -> None:
        self._running += 1
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
        outcomes = self._pool.runWithConnection(self._outcomes, some)
        outcomes.addErrback(lambda failure: [failure for _ in some])
        outcomes.addCallback(self._tell, some)

    def _tell(self, outcomes: list[Any], some: list[_Work]) -> None:
        self._running -= 1
        if self._waiting and not self._running:
            self._hand_over()
        for work, outcome in zip(some, outcomes, strict=True):
            work.done.callback(outcome)

    # -- in the thread ------------------------------------------------------------------------------------

    def _outcomes(self, connection: Any, some: list[_Work]) -> list[Any]:
        """The result of each, or a L{Failure}."""
        try:
            if self._writes:
                self._set_sync(connection, any(work.syncs(connection) for work in some))
            connection.execute("BEGIN IMMEDIATE" if self._writes else "BEGIN")
        except sqlite3.Error as error:  # such as another process's transaction, for which it has waited
            return [Failure(self._explained(error)) for _ in some]
        try:
            return self._transact(connection, some)
        except sqlite3.Error as error:
            if len(some) == 1:
                return [Failure(self._explained(error))]
        # Such as a full disk: whatever still has room is done.
        return [outcome for work in some for outcome in self._outcomes(connection, [work])]

    def _set_sync(self, connection: Any, sync: bool) -> None:
        if sync is not self._synced:
            connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._synced = sync

    def _transact(self, connection: Any, some: list[_Work]) -> list[Any]:
        """@raise sqlite3.Error: nothing of it is done."""
        do = self._do_or_undo if self._writes and len(some) > 1 else self._do
        cursor = connection.cursor()
        try:
            outcomes = [do(cursor, work) for work in some]
            failed = self._writes and len(some) == 1 and isinstance(outcomes[0], Failure)
            connection.execute("ROLLBACK" if failed else "COMMIT")
        except sqlite3.Error:
            # Some errors, as that of a full disk, have ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes

    @staticmethod
    def _do(cursor: Any, work: _Work) -> Any:
        try:
            return work.do(cursor)
        except sqlite3.Error:
            raise
        except BaseException:
            return Failure()

    def _do_or_undo(self, cursor: Any, work: _Work) -> Any:
        cursor.execute("SAVEPOINT work")
        outcome = self._do(cursor, work)
        if isinstance(outcome, Failure):
            cursor.execute("ROLLBACK TO work")
        cursor.execute("RELEASE work")
        return outcome
