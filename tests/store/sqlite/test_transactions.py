"""Tests for L{burrow.store.sqlite.transactions}: what waits together, and is done or undone by itself."""

import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from burrow.store.sqlite import transactions
from burrow.store.sqlite.transactions import Transactions


class Refused(Exception):
    """What a piece of work raises by itself."""


def outcome(deferred):
    """What it fires with, or the type of what it fails with."""
    return deferred.addErrback(lambda failure: failure.type)


def add(number):
    def work(cursor):
        cursor.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return work


def add_and_refuse(number):
    def work(cursor):
        add(number)(cursor)
        raise Refused

    return work


def numbers(cursor):
    return [row[0] for row in cursor.execute("SELECT number FROM numbers ORDER BY number")]


class Grouping(TestCase):
    def setUp(self):
        path = Path(tempfile.mkdtemp()) / "numbers.db"
        self.pool = ConnectionPool(
            "sqlite3",
            str(path),
            cp_min=1,
            cp_max=1,
            check_same_thread=False,
            timeout=0.1,
            isolation_level=None,
        )
        self.path = path
        self.pool.start()
        self.addCleanup(self.pool.close)
        self.ran = []
        self.took = 0.0
        self.writes = Transactions(
            self.pool,
            lambda error: ValueError(str(error)),
            reactor.callFromThread,
            writes=True,
            spent=lambda: self.took,
        )
        return self.pool.runWithConnection(self.prepare)

    def prepare(self, connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER UNIQUE)")
        connection._connection.set_trace_callback(self.ran.append)

    def count(self, statement):
        return sum(text.startswith(statement) for text in self.ran)

    def run_all(self, works, **how):
        return gatherResults([outcome(self.writes.run(work, **how)) for work in works])

    async def test_what_waits_shares_a_transaction(self):
        done = await self.run_all([add(number) for number in range(50)])
        self.assertEqual(done, list(range(50)))
        self.assertEqual((self.count("BEGIN IMMEDIATE"), self.count("COMMIT")), (2, 2))  # the first was alone
        self.assertEqual(await self.writes.run(numbers), list(range(50)))

    async def test_one_transaction_holds_so_many(self):
        self.patch(transactions, "AT_ONCE", 10)
        await self.run_all([add(number) for number in range(41)])
        self.assertEqual(self.count("COMMIT"), 5)

    def slowly(self, number):
        def work(cursor):
            self.took += 1.0
            return add(number)(cursor)

        return work

    async def test_what_takes_long_keeps_those_before_waiting_and_not_those_behind(self):
        works = [add(0), add(1), self.slowly(2), add(3), self.slowly(4), self.slowly(5), add(6)]
        order = []
        waiting = [self.writes.run(work).addCallback(order.append) for work in works]
        there = self.writes.run(numbers)
        second = sqlite3.connect(self.path)
        self.addCleanup(second.close)
        seen = []
        waiting[2].addCallback(lambda _: seen.append(numbers(second)))  # on the disk when it is told
        self.assertEqual(await there, list(range(7)))
        self.assertEqual(order, list(range(7)))
        self.assertEqual(seen[0][:3], [0, 1, 2])
        # The first alone, the three ends, and what was left.
        self.assertEqual(self.count("COMMIT"), 5)

    async def test_what_raises_is_undone_alone(self):
        done = await self.run_all([add(1), add(2), add_and_refuse(3), add(4), add_and_refuse(2), add(5)])
        self.assertEqual(done, [1, 2, Refused, 4, ValueError, 5])
        self.assertEqual(await self.writes.run(numbers), [1, 2, 4, 5])

    async def test_one_that_is_alone_is_undone(self):
        self.assertEqual(await self.run_all([add_and_refuse(1)]), [Refused])
        self.assertEqual((self.count("ROLLBACK"), self.count("SAVEPOINT")), (1, 0))
        self.assertEqual(await self.writes.run(numbers), [])

    async def test_where_sqlite_fails_each_has_its_own_transaction(self):
        done = await self.run_all([add(1), add(2), add(2), add(3)])
        self.assertEqual(done, [1, 2, ValueError, 3])
        self.assertEqual(await self.writes.run(numbers), [1, 2, 3])

    async def test_a_file_that_is_locked_is_waited_for_once(self):
        with sqlite3.connect(self.path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            done = await self.run_all([add(number) for number in range(20)])
            self.assertEqual(done, [ValueError] * 20)
            self.assertEqual(self.count("BEGIN IMMEDIATE"), 2)
            other.execute("ROLLBACK")
        self.assertEqual(await self.writes.run(add(1)), 1)

    async def test_one_that_has_to_be_on_the_disk_takes_the_others_with_it(self):
        lasting = [outcome(self.writes.run(add(number), sync=number == 7)) for number in range(1, 9)]
        await gatherResults([*lasting, outcome(self.writes.run(add(9), sync=lambda connection: False))])
        modes = [text.split()[-1] for text in self.ran if text.startswith("PRAGMA")]
        self.assertEqual(modes, ["NORMAL", "FULL"])

    async def test_one_that_cannot_tell_whether_it_has_to_be_on_the_disk_fails_alone(self):
        def cannot_tell(connection):
            connection.execute("SELECT ?", ("\ud800",))  # which is no UTF-8

        first, *others = [outcome(self.writes.run(add(number), sync=False)) for number in range(3)]
        odd = outcome(self.writes.run(cannot_tell, sync=cannot_tell))
        missing = outcome(self.writes.run(add(3), sync=lambda on: on.execute("SELECT 1 FROM nothing")))
        done = await gatherResults([first, *others, odd, missing])
        self.assertEqual(done, [0, 1, 2, UnicodeEncodeError, 3])
        self.assertIn("PRAGMA synchronous = FULL", self.ran)

    async def test_what_waits_when_it_is_closed_is_done(self):
        waiting = [outcome(self.writes.run(add(number))) for number in range(250)]
        self.writes.close()
        self.assertEqual(await gatherResults(waiting), list(range(250)))

    async def test_what_is_asked_when_one_is_answered_goes_in_the_next(self):
        first, second = self.writes.run(add(1)), self.writes.run(add(2))
        third = Deferred()
        first.addCallback(lambda _: outcome(self.writes.run(add(3))).chainDeferred(third))
        self.assertEqual([await second, await third], [2, 3])

    async def test_a_thread_that_cannot_be_used_fails_all_who_wait(self):
        self.patch(self.pool, "connectionFactory", lambda pool: 1 / 0)
        self.assertEqual(await self.run_all([add(1), add(2), add(3)]), [ZeroDivisionError] * 3)


class Pool:
    """Hands to a thread that the test is."""

    def runWithConnection(self, do, some):
        self.some, self.doing = some, Deferred()
        return self.doing


class Told(SynchronousTestCase):
    def test_what_fails_in_the_end_fails_none_that_was_told(self):
        pool = Pool()
        group = Transactions(pool, ValueError, None, writes=True)
        waiting = [outcome(group.run(add(number))) for number in range(4)]
        pool.doing.callback([(pool.some[0], 0)])
        group._tell([(pool.some[0], 1)])
        pool.doing.errback(ZeroDivisionError())
        done = [self.successResultOf(each) for each in waiting]
        self.assertEqual(done, [0, 1, ZeroDivisionError, ZeroDivisionError])


class AnyOrder(SynchronousTestCase):
    """Whatever shares a transaction, the outcome is that of one after the other."""

    @settings(max_examples=200)
    @given(
        st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=20),
        st.lists(st.sampled_from([0.0, 1.0]), max_size=40),
    )
    def test_outcomes(self, asked, took):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("CREATE TABLE numbers (number INTEGER UNIQUE)")
        spent = iter(took)
        told = []
        group = Transactions(
            None,
            lambda error: ValueError(str(error)),
            lambda tell, some: told.extend(some),
            writes=True,
            spent=lambda: next(spent, 0.0),
        )
        works = [
            transactions._Work((add if well else add_and_refuse)(number), False, Deferred())
            for number, well in asked
        ]
        told += group._do_all(connection, works)
        self.assertEqual([work for work, _ in told], works)
        found = [getattr(each, "type", each) for _, each in told]
        there, expected = set(), []
        for number, well in asked:
            expected.append(ValueError if number in there else number if well else Refused)
            there |= {number} if well else set()
        self.assertEqual(found, expected)
        self.assertEqual(numbers(connection), sorted(there))
