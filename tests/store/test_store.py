"""What must hold for every store: one suite, run for each."""

import sqlite3
import stat
import tempfile
from pathlib import Path

import attr
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from burrow.errors import ConfigError, StoreError
from burrow.store import redis, sqlite
from burrow.store.base import Reservation, Taken, Token
from burrow.store.memory import MemoryStore
from burrow.store.redis import RedisAddress, RedisStore
from burrow.store.sqlite import SQLiteStore
from tests.redis import RedisServer

TOKEN = Token("id1", "laptop", "agent", b"\x01" * 32, 100.0)
OTHER = Token("id2", "desk", "admin", b"\x02" * 32, 200.0)
NAME = Reservation("blog", "http", "id1", "agent1", "http://localhost:3000", None, False, 50.0)


class StoreSuite:
    """Mixed into a test case that has C{make}."""

    async def setUp(self):
        self.store = self.make()
        await self.store.open()
        self.addCleanup(lambda: self.store.close())

    async def test_tokens_are_kept_by_id_and_listed_by_name(self):
        await self.store.add_token(TOKEN)
        await self.store.add_token(OTHER)
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertIsNone(await self.store.token("nobody"))
        self.assertEqual(await self.store.tokens(), [OTHER, TOKEN])

    async def test_two_tokens_of_one_name(self):
        await self.store.add_token(TOKEN)
        with self.assertRaises(Taken):
            await self.store.add_token(attr.evolve(OTHER, name="laptop"))

    async def test_revoked_token_is_gone(self):
        await self.store.add_token(TOKEN)
        self.assertTrue(await self.store.revoke_token("laptop"))
        self.assertIsNone(await self.store.token("id1"))
        self.assertFalse(await self.store.revoke_token("laptop"))

    async def test_use_is_remembered(self):
        await self.store.add_token(TOKEN)
        await self.store.token_used("id1", 123.5)
        await self.store.token_used("nobody", 1.0)
        self.assertEqual((await self.store.token("id1")).last_used, 123.5)

    async def test_reserved_name_is_its_owners(self):
        self.assertEqual(await self.store.reserve(NAME), NAME)
        with self.assertRaises(Taken):
            await self.store.reserve(attr.evolve(NAME, token="id2"))
        self.assertEqual(await self.store.reservation("blog"), NAME)
        self.assertIsNone(await self.store.reservation("other"))

    async def test_owner_may_bind_its_name_anew(self):
        await self.store.reserve(attr.evolve(NAME, port=20_000, assigned=True))
        again = await self.store.reserve(
            attr.evolve(NAME, kind="tcp", upstream="localhost:5432", agent="agent2", created=99.0)
        )
        expected = attr.evolve(
            NAME, kind="tcp", upstream="localhost:5432", agent="agent2", port=20_000, assigned=True
        )
        self.assertEqual(again, expected)
        self.assertEqual(await self.store.reservation("blog"), expected)

    async def test_port_belongs_to_one_name(self):
        await self.store.reserve(attr.evolve(NAME, port=20_000))
        with self.assertRaises(Taken):
            await self.store.reserve(attr.evolve(NAME, name="shop", port=20_000))
        self.assertIsNone(await self.store.reservation("shop"))
        await self.store.reserve(attr.evolve(NAME, name="shop", port=20_001))
        with self.assertRaises(Taken):
            await self.store.reserve(attr.evolve(NAME, port=20_001))
        self.assertEqual((await self.store.reservation("blog")).port, 20_000)

    async def test_assigned_names_are_remembered(self):
        assigned = attr.evolve(NAME, assigned=True)
        await self.store.reserve(assigned)
        await self.store.reserve(attr.evolve(NAME, name="chosen", upstream="http://localhost:4000"))
        key = ("id1", "agent1", "http", "http://localhost:3000")
        self.assertEqual(await self.store.remembered(*key), assigned)
        self.assertIsNone(await self.store.remembered("id2", *key[1:]))
        self.assertIsNone(await self.store.remembered("id1", "agent1", "http", "http://localhost:4000"))

    async def test_released_name_is_free(self):
        await self.store.reserve(attr.evolve(NAME, port=20_000))
        self.assertTrue(await self.store.release("blog"))
        self.assertFalse(await self.store.release("blog"))
        await self.store.reserve(attr.evolve(NAME, token="id2", name="other", port=20_000))
        self.assertEqual([known.name for known in await self.store.reservations()], ["other"])

    async def test_many_at_once_and_one_wins(self):
        asked = [self.store.reserve(attr.evolve(NAME, token=f"id{number}")) for number in range(20)]
        results = await gatherResults([one.addErrback(lambda reason: None) for one in asked])
        won = [result for result in results if isinstance(result, Reservation)]
        self.assertEqual(len(won), 1)
        self.assertEqual(await self.store.reservation("blog"), won[0])


class Memory(StoreSuite, TestCase):
    def make(self):
        return MemoryStore()


class InRedis(StoreSuite, TestCase):
    """Against a real redis-server."""

    @classmethod
    def setUpClass(cls):
        cls.redis = RedisServer("--requirepass", "secret", "--databases", "100")
        cls.databases = iter(range(100))

    @classmethod
    def tearDownClass(cls):
        cls.redis.stop()

    def make(self, password="secret"):
        if not hasattr(self, "database"):
            self.database = next(self.databases)
        url = f"redis://:{password}@127.0.0.1:{self.redis.port}/{self.database}"
        return RedisStore(reactor, RedisAddress.parse(url))

    async def test_everything_outlives_the_process(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(attr.evolve(NAME, port=20_000, assigned=True))
        await self.store.close()
        self.store = self.make()
        await self.store.open()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertEqual(await self.store.reservation("blog"), attr.evolve(NAME, port=20_000, assigned=True))

    async def test_wrong_password_and_nobody_there(self):
        self.patch(redis, "TIMEOUT", 0.5)
        with self.assertRaisesRegex(StoreError, "WRONGPASS"):
            await self.make("wrong").open()
        with self.assertRaisesRegex(StoreError, "does not answer"):
            await RedisStore(reactor, RedisAddress.parse("redis://127.0.0.1:1")).open()

    async def eventually(self, ask):
        """The answer, once Redis is asked successfully again."""
        for _ in range(100):
            try:
                return await ask()
            except StoreError:
                await deferLater(reactor, 0.1)
        raise AssertionError("Redis is not used again")

    async def test_stopped_redis_is_an_error_and_comes_back(self):
        await self.store.reserve(NAME)
        self.redis.pause()
        for _ in range(3):  # until it takes new connections and answers none of them
            with self.assertRaises(StoreError):
                await self.store.reserve(attr.evolve(NAME, name="late"))
        self.redis.go_on()
        self.assertEqual(await self.eventually(lambda: self.store.reservation("blog")), NAME)

    async def test_killed_redis_is_an_error_and_its_successor_is_used(self):
        self.redis.stop()
        with self.assertRaises(StoreError):
            await self.store.reservation("blog")
        self.redis.start()
        self.assertEqual(await self.eventually(lambda: self.store.reserve(NAME)), NAME)

    def test_addresses(self):
        whole = RedisAddress.parse("redis://me:p%40ss@redis.example:7000/2")
        self.assertEqual(attr.astuple(whole), ("redis.example", 7000, 2, "me", "p@ss"))
        self.assertNotIn("p@ss", repr(whole))
        for bad in ("mysql://x", "rediss://x", "redis://", "redis://x:0x", "redis://x/y", "x"):
            with self.assertRaises(ConfigError):
                RedisAddress.parse(bad)


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

    async def test_older_file_is_migrated_and_a_newer_one_refused(self):
        step = "ALTER TABLE tokens ADD COLUMN later TEXT"
        await self.store.add_token(TOKEN)
        await self.store.close()
        self.patch(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, step))
        self.store = SQLiteStore(reactor, self.path)
        await self.store.open()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.patch(sqlite, "MIGRATIONS", sqlite.MIGRATIONS[:1])
        with self.assertRaisesRegex(StoreError, "newer Burrow"):
            await SQLiteStore(reactor, self.path).open()

    async def test_failed_migration_changes_nothing(self):
        self.patch(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "CREATE TABLE half (a); NONSENSE"))
        with self.assertRaises(StoreError):
            await SQLiteStore(reactor, self.path).open()
        with sqlite3.connect(self.path) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        self.assertNotIn("half", tables)

    async def test_file_that_is_no_database(self):
        path = Path(tempfile.mkdtemp()) / "burrow.db"
        path.write_bytes(b"not a database" * 100)
        with self.assertRaisesRegex(StoreError, "cannot be used"):
            await SQLiteStore(reactor, path).open()

    async def test_folder_that_cannot_be_made(self):
        path = Path(tempfile.mkdtemp()) / "file"
        path.touch()
        with self.assertRaisesRegex(StoreError, "choose another --state"):
            await SQLiteStore(reactor, path / "state" / "burrow.db").open()
