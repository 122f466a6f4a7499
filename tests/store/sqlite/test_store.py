"""What must hold for the store in SQLite alone: the file, its schema, what is on the disk when."""

import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import attr
from twisted.internet import reactor
from twisted.internet.defer import fail
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from burrow.errors import ConfigError, StoreError
from burrow.store.sqlite import database, notes, schema
from burrow.store.sqlite.store import SQLiteStore
from tests.store.test_store import NAME, NEW_FIELDS, TOKEN, StoreSuite

MIGRATIONS = schema.MIGRATIONS

DOCS = Path(__file__).parents[3] / "docs" / "server.md"

KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from burrow.store.sqlite import schema
schema.MIGRATIONS += ("CREATE TABLE later (a)", "DROP TABLE tokens; SELECT kill()")
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.create_function("kill", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
schema.migrate(connection, Path(sys.argv[1]))
"""
"""A process that dies in a migration, after its first step."""


class SQLite(StoreSuite, TestCase):
    def make(self):
        self.path = Path(tempfile.mkdtemp()) / "state" / "burrow.db"
        return SQLiteStore(reactor, self.path)

    async def test_everything_outlives_the_process(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(attr.evolve(NAME, port=20_000, assigned=True))
        await self.store.close()
        self.store = SQLiteStore(reactor, self.path)
        await self.store.open()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertEqual(await self.store.reservation("blog"), attr.evolve(NAME, port=20_000, assigned=True))

    async def test_file_is_readable_by_its_owner_alone(self):
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    async def test_two_processes_share_the_file(self):
        second = SQLiteStore(reactor, self.path)
        await second.open()
        self.addCleanup(second.close)
        await second.add_token(TOKEN)
        self.assertEqual(await self.store.token("id1"), TOKEN)

    async def test_file_of_the_release_before(self):
        path = Path(tempfile.mkdtemp()) / "burrow.db"
        with sqlite3.connect(path) as connection:
            connection.executescript(schema.MIGRATIONS[0] + schema.MIGRATIONS[1] + "PRAGMA user_version = 2")
            connection.execute(
                "INSERT INTO tokens VALUES ('id1', 'laptop', 'agent', ?, 100.0, NULL)", (TOKEN.digest,)
            )
            name = [value for field, value in attr.asdict(NAME).items() if field not in NEW_FIELDS]
            connection.execute("INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", name)
        store = SQLiteStore(reactor, path)
        await store.open()
        self.addCleanup(store.close)
        self.assertEqual(await store.token("id1"), TOKEN)
        self.assertEqual(await store.reservation("blog"), NAME)
        self.assertEqual(await store.free_unused(1e9, 1e9), [])
        self.assertEqual((await store.reservation("blog")).used, 1e9)

    async def test_older_file_is_migrated_and_a_newer_one_refused(self):
        step = "ALTER TABLE tokens ADD COLUMN later TEXT"
        await self.store.add_token(TOKEN)
        await self.store.close()
        self.patch(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
        self.store = SQLiteStore(reactor, self.path)
        await self.store.open()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.patch(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with self.assertRaisesRegex(StoreError, f"newer release has used .*{self.path}.* a backup"):
            await SQLiteStore(reactor, self.path).open()

    async def test_file_of_each_release_keeps_what_it_has(self):
        """Its tokens, names and notes; and what changes from then on is logged."""
        for version in range(1, len(MIGRATIONS) + 1):
            path = Path(tempfile.mkdtemp()) / "burrow.db"
            with closing(sqlite3.connect(path, isolation_level=None)) as old:
                self.patch(schema, "MIGRATIONS", MIGRATIONS[:version])
                schema.migrate(old, path)
                self.patch(schema, "MIGRATIONS", MIGRATIONS)
                old.execute(
                    "INSERT INTO tokens (id, name, role, digest, created) VALUES ('a', 'ann', 'agent', ?, 1)",
                    (b"d" * 32,),
                )
                old.execute(
                    "INSERT INTO reservations (name, kind, token, agent, upstream, port, assigned, created) "
                    "VALUES ('blog', 'tcp', 'a', 'agent-id', 'localhost:1', 20000, 1, 2)"
                )
                if version >= 2:
                    old.execute("INSERT INTO notes VALUES ('certificates', 'blog', 'text')")
            self.store = store = SQLiteStore(reactor, path)
            await store.open()
            (token,) = await store.tokens()
            self.assertEqual((token.id, token.role, token.digest), ("a", "agent", b"d" * 32))
            (name,) = await store.reservations()
            self.assertEqual((name.name, name.token, name.port, name.assigned), ("blog", "a", 20000, True))
            self.assertEqual(await store.notes("certificates"), {"blog": "text"} if version >= 2 else {})
            since = (await store.changes((), "")).version
            await store.release("blog")
            self.assertEqual(list((await store.changes((), since)).names), ["blog"])
            await store.close()

    async def test_backup_while_a_server_runs(self):
        """By the command of docs/server.md."""
        await self.store.add_token(TOKEN)
        await self.store.reserve(NAME)
        (command,) = re.findall(r'`python3 -c "(.*?)"`', DOCS.read_text())
        copy = Path(tempfile.mkdtemp()) / "burrow.db"
        for there, here in (("/var/lib/burrow/burrow.db", self.path), ("/backup/burrow.db", copy)):
            self.assertIn(there, command)
            command = command.replace(there, str(here))
        subprocess.run([sys.executable, "-c", command], check=True)
        restored = SQLiteStore(reactor, copy)
        await restored.open()
        self.addCleanup(restored.close)
        self.assertEqual((await restored.tokens(), await restored.reservations()), ([TOKEN], [NAME]))

    async def test_process_that_is_killed_in_a_migration_leaves_the_file_as_it_was(self):
        await self.store.add_token(TOKEN)
        await self.store.close()
        with closing(sqlite3.connect(self.path)) as connection:
            before = list(connection.iterdump())
        killed = subprocess.run([sys.executable, "-c", KILLED, self.path], check=False)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(list(connection.iterdump()), before)
            self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (len(MIGRATIONS),))

    async def test_failed_migration_changes_nothing(self):
        self.patch(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE half (a); NONSENSE"))
        with self.assertRaises(StoreError):
            await SQLiteStore(reactor, self.path).open()
        with sqlite3.connect(self.path) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        self.assertNotIn("half", tables)

    async def test_file_that_is_no_database(self):
        path = Path(tempfile.mkdtemp()) / "burrow.db"
        path.write_bytes(b"not a database" * 100)
        with self.assertRaisesRegex(StoreError, f"{path} is damaged .* put a backup in its place"):
            await SQLiteStore(reactor, path).open()

    async def test_file_that_was_emptied(self):
        """
        It begins anew, and the log says so; for a new one, and when it is opened again, it does not. Likewise
        if all that was in it was in the file beside it, and is not any more.
        """
        await self.store.close()
        path = Path(tempfile.mkdtemp()) / "burrow.db"
        for emptied in ("", "", "to nothing", "", "of its other file", ""):
            if emptied:
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                path.touch()
            if emptied == "of its other file":
                with closing(sqlite3.connect(path)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
                self.assertGreater(path.stat().st_size, 0)
            self.store = SQLiteStore(reactor, path)
            with capturedLogs() as logs:
                await self.store.open()
            told = [log["path"] for log in logs if "nothing in it" in log["log_format"]]
            self.assertEqual(told, [str(path)] if emptied else [])
            await self.store.close()

    async def test_file_that_is_damaged(self):
        """Before the start it is refused, and while the server runs named, with what to do."""
        for number in range(200):
            await self.store.reserve(attr.evolve(NAME, name=f"name{number}"))
        await self.store.close()
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[:8192] + b"\xff" * 8192 + whole[16384:])
        with self.assertRaisesRegex(StoreError, f"{self.path} is damaged .* put a backup in its place"):
            await SQLiteStore(reactor, self.path).open()
        self.path.write_bytes(whole)
        self.store = SQLiteStore(reactor, self.path)
        await self.store.open()
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (len(whole) - 4096))
        with self.assertRaisesRegex(StoreError, f"{self.path} is damaged .* put a backup in its place"):
            await self.store.reservations()

    def statements(self):
        """What the writing connection runs from now on."""
        ran = []
        tracing = self.store._database._writer.runWithConnection(
            lambda connection: connection._connection.set_trace_callback(ran.append)
        )
        return tracing.addCallback(lambda _: ran)

    async def test_what_was_told_to_somebody_is_on_the_disk_and_the_rest_need_not_be(self):
        ran = await self.statements()

        async def synced(operation):
            await operation
            modes = [text for text in ran if text.startswith("PRAGMA synchronous")]
            return modes[-1].endswith("FULL")

        lasting = [
            lambda: self.store.add_token(TOKEN),
            lambda: self.store.reserve(NAME),
            lambda: self.store.put_note("a", "x", "lasting"),
            lambda: self.store.swap_note("a", "x", "lasting", "other"),
            lambda: self.store.swap_note("a", "x", "other", None),
            lambda: self.store.release("blog"),
            lambda: self.store.revoke_token("laptop"),
        ]
        live = [
            lambda: self.store.put_note("a", "live", "x", 1000),
            lambda: self.store.swap_note("a", "live", "x", "y", 1000),
            lambda: self.store.swap_note("a", "live", "y", None),
            lambda: self.store.token_used("id1", 5.0),
        ]
        for number, operation in enumerate(lasting):
            self.assertFalse(await synced(live[number % 4]()))
            self.assertTrue(await synced(operation()))

    async def test_each_connection_keeps_few_pages(self):
        for ask in (self.store._database.read, self.store._database.write):
            size = await ask(lambda cursor: cursor.execute("PRAGMA cache_size").fetchone()[0])
            self.assertEqual(size, -database.CACHE)

    async def test_reading_waits_for_no_writer(self):
        self.patch(database, "BUSY_TIMEOUT", 0.1)
        await self.store.add_token(TOKEN)
        await self.store.reserve(NAME)
        await self.store.put_note("a", "x", "text", 1000)
        await self.store.close()
        self.store = SQLiteStore(reactor, self.path)
        await self.store.open()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = self.store.release("blog")
            self.assertEqual(await self.store.token("id1"), TOKEN)
            self.assertEqual(await self.store.tokens(), [TOKEN])
            self.assertEqual(await self.store.reservation("blog"), NAME)
            self.assertEqual(await self.store.reservations(), [NAME])
            self.assertEqual(
                (await self.store.note("a", "x"), await self.store.notes("a")), ("text", {"x": "text"})
            )
            with self.assertRaisesRegex(StoreError, f"another process has the database {self.path} locked"):
                await writing
            other.execute("ROLLBACK")
        self.assertTrue(await self.store.release("blog"))

    async def test_full_disk(self):
        """Known tokens and names are served; the error says that the disk is full; with room it goes on."""
        await self.store.add_token(TOKEN)
        await self.store.reserve(NAME)

        def limit(pages):
            return self.store._database._writer.runWithConnection(
                lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
            )

        await limit(1)  # not below what it has
        full = f"the disk of the database {self.path} is full"
        for number in range(3):
            with self.assertRaisesRegex(StoreError, full):
                await self.store.put_note("a", f"large{number}", "x" * 100_000, 1000)
            with self.assertRaisesRegex(StoreError, full):
                await self.store.put_note("a", f"large{number}", "x" * 100_000)
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertEqual(await self.store.reserve(NAME), NAME)
        await limit(1_000_000)
        await self.store.put_note("a", "large", "x" * 100_000)
        self.assertEqual(list(await self.store.notes("a")), ["large"])

    async def test_file_that_cannot_be_written_renews_what_does_not_change(self):
        await self.store.reserve(attr.evolve(NAME, used=100.0))
        self.patch(self.store._database, "write", lambda work, sync=True: fail(StoreError("full")))
        again = await self.store.reserve(attr.evolve(NAME, used=10_000.0))
        self.assertEqual(again, attr.evolve(NAME, used=100.0))
        for other in (
            attr.evolve(NAME, name="new"),
            attr.evolve(NAME, port=20_000),
            attr.evolve(NAME, token="id2"),
            attr.evolve(NAME, upstream="http://localhost:4000"),
        ):
            with self.assertRaisesRegex(StoreError, "full"):
                await self.store.reserve(other)

    async def test_two_files_of_an_older_release(self):
        """What it kept in the second, which may be damaged, is taken over; the file is removed."""
        for damaged in (False, True):
            path = Path(tempfile.mkdtemp()) / "burrow.db"
            live = path.with_name("burrow-live.db")
            with closing(sqlite3.connect(path, isolation_level=None)) as old:
                self.patch(schema, "MIGRATIONS", MIGRATIONS[:2])
                schema.migrate(old, path)
                self.patch(schema, "MIGRATIONS", MIGRATIONS)
                old.execute("INSERT INTO notes VALUES ('a', 'lasting', 'text')")
            with closing(sqlite3.connect(live)) as old:
                old.execute("PRAGMA journal_mode = WAL")
                old.execute(
                    "CREATE TABLE live_notes (space TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, "
                    "until REAL NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID"
                )
                rows = [("a", "old", "x", time.time() - 1), ("a", "live", "y", time.time() + 1000)]
                old.executemany("INSERT INTO live_notes VALUES (?, ?, ?, ?)", rows)
                old.commit()
            if damaged:
                live.write_bytes(b"\xff" * 8192)
            store = SQLiteStore(reactor, path)
            await store.open()
            expected = {"lasting": "text"} if damaged else {"lasting": "text", "live": "y"}
            self.assertEqual(await store.notes("a"), expected)
            await store.close()
            self.assertEqual([file.name for file in path.parent.glob("*live*")], [])

    async def test_clock_that_is_set_back(self):
        """No note lives longer, from then on, than it was to live at all."""
        self.patch(notes, "TIDY_EVERY", 0.0)
        now = 10_000.0
        store = SQLiteStore(reactor, self.path, lambda: now)
        await store.open()
        self.addCleanup(store.close)
        await store.put_note("locks", "x", "mine", 6.0)
        now = 5_000.0
        self.assertEqual(await store.note("locks", "x"), "mine")
        await store.put_note("nodes", "other", "y", 5.0)
        now += 6.5
        self.assertIsNone(await store.note("locks", "x"))

    async def test_notes_whose_time_is_over_take_no_room(self):
        """Nobody has to ask for them."""
        self.patch(notes, "TIDY_EVERY", 0.0)
        now = 10_000.0
        store = SQLiteStore(reactor, self.path, lambda: now)
        await store.open()
        self.addCleanup(store.close)
        for number in range(100):
            await store.put_note("events", str(number), "x", 50.0)
            now += 1.0
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM live_notes").fetchone(), (50,))

    async def test_folder_that_cannot_be_made(self):
        path = Path(tempfile.mkdtemp()) / "file"
        path.touch()
        with self.assertRaisesRegex(ConfigError, "choose another --state"):
            await SQLiteStore(reactor, path / "state" / "burrow.db").open()
