"""
Transactions on one connection of a database: what waits together shares one.

To hand work to a thread costs more than most of it, and a transaction that has to be on the disk waits for
the disk. A thousand agents that come back at once would each wait for those before. So what is asked while
a transaction runs, goes into the next one, each behind a savepoint of its own: what fails is undone alone.
Work that takes long ends its transaction, so that what was asked before it is not answered after what was
asked behind it.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import attr
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

AT_ONCE = 100
"""Pieces of work in one transaction, at most: meanwhile no other process writes."""

LONGEST = 0.02
"""Seconds of the processor's after which a transaction takes no more work: 100 names take 10 ms."""

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
    @param from_thread: calls a function in the reactor's thread.
    @param spent: returns how many seconds of the processor's the calling thread took so far.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        explained: Callable[[sqlite3.Error], Exception],
        from_thread: Callable[..., object],
        *,
        writes: bool,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._pool = pool
        self._from_thread = from_thread
        self._spent = spent
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
        doing = self._pool.runWithConnection(self._do_all, some)
        doing.addErrback(lambda failure: [(work, failure) for work in some if not work.done.called])
        doing.addCallback(self._done)

    def _done(self, told: list[tuple[_Work, Any]]) -> None:
        self._running -= 1
        if self._waiting and not self._running:
            self._hand_over()
        self._tell(told)

    @staticmethod
    def _tell(told: list[tuple[_Work, Any]]) -> None:
        for work, outcome in told:
            work.done.callback(outcome)

    # -- in the thread ------------------------------------------------------------------------------------

    def _do_all(self, connection: Any, some: list[_Work]) -> list[tuple[_Work, Any]]:
        """The last ones and their outcomes. Those before are told already."""
        while True:
            outcomes = self._outcomes(connection, some)
            told = list(zip(some, outcomes, strict=False))
            some = some[len(outcomes) :]
            if not some:
                return told
            self._from_thread(self._tell, told)

    def _outcomes(self, connection: Any, some: list[_Work]) -> list[Any]:
        """The result of each, or a L{Failure}: of all, or of the first ones, if these took long."""
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
        """See L{_outcomes}. @raise sqlite3.Error: nothing of it is done."""
        do = self._do_or_undo if self._writes and len(some) > 1 else self._do
        cursor = connection.cursor()
        try:
            outcomes, began = [], self._spent()
            for work in some:
                outcomes.append(do(cursor, work))
                if self._spent() - began >= LONGEST:
                    break
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
