"""Tests for what a server hears of changes in Redis, by publish and subscribe."""

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from burrow.store.redis import connection
from burrow.store.redis.address import RedisAddress
from burrow.store.redis.store import RedisStore
from tests.redis import RedisServer, Sentinel


class Listening(TestCase):
    async def setUp(self):
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.heard = []
        self.url = f"redis://127.0.0.1:{self.redis.port}"

    async def open(self, url=None, follow=None):
        store = RedisStore(reactor, RedisAddress.parse(url or self.url))
        if follow is not None:
            store.follow(follow)
        await store.open()
        self.addCleanup(store.close)
        return store

    async def listener(self, url=None):
        store = await self.open(url, lambda: self.heard.append(None))
        await self.subscribed()
        return store

    async def subscribed(self):
        while b"burrow:changed" not in self.redis.ask("PUBSUB", "CHANNELS"):
            await deferLater(reactor, 0.01)

    async def told(self, store, key):
        """Another server writes, and ours hears it."""
        self.heard.clear()
        await store.put_note("leases", key, "text", 100.0)
        while not self.heard:
            await deferLater(reactor, 0.01)

    async def test_what_others_change_is_heard_and_what_we_change_is_not(self):
        ours, other = await self.listener(), await self.open()
        await self.told(other, "one")
        self.heard.clear()
        await ours.put_note("leases", "two", "text", 100.0)
        await other.put_note("leases", "one", "text", 200.0)  # no change
        await other.put_note("nodes", "node", "beat", 100.0)  # these are renewed all the time
        await other.put_note("leases", "last", "text", 100.0)
        while not self.heard:
            await deferLater(reactor, 0.01)
        await deferLater(reactor, 0.05)
        self.assertEqual(len(self.heard), 1)

    async def test_connection_that_is_lost_comes_again(self):
        await self.listener()
        other = await self.open()
        self.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await self.subscribed()
        await self.told(other, "one")

    async def test_listener_that_gave_up_begins_again(self):
        """As txredisapi does where a new connection is refused, or not answered."""
        ours, other = await self.listener(), await self.open()
        await ours._connection._listener.disconnect()
        while b"burrow:changed" in self.redis.ask("PUBSUB", "CHANNELS"):
            await deferLater(reactor, 0.01)
        await ours.notes("leases")
        await self.subscribed()
        await self.told(other, "one")

    async def test_user_who_may_not_listen(self):
        """It hears nothing; nothing fails, and the others are not kept from writing."""
        rules = ("on", ">secret", "~burrow:*", "+@all", "resetchannels")
        self.redis.ask("ACL", "SETUSER", "burrow", *rules)
        url = f"redis://burrow:secret@127.0.0.1:{self.redis.port}"
        ours = await self.open(url, lambda: self.heard.append(None))
        await ours.put_note("leases", "one", "text", 100.0)
        await deferLater(reactor, 0.1)
        self.assertEqual(await ours.note("leases", "one"), "text")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_master_that_sentinels_name(self):
        sentinel = Sentinel(self.redis)
        self.addCleanup(sentinel.stop)
        self.patch(connection, "TIMEOUT", 5.0)
        await self.listener(f"redis+sentinel://127.0.0.1:{sentinel.port}/main")
        await self.told(await self.open(), "one")


class Expired(TestCase):
    async def test_swap_that_meets_a_note_whose_time_is_over_removes_and_tells_it(self):
        redis = RedisServer()
        self.addCleanup(redis.stop)
        store = RedisStore(reactor, RedisAddress.parse(f"redis://127.0.0.1:{redis.port}"))
        await store.open()
        self.addCleanup(store.close)
        await store.put_note("a", "one", "text", 0.02)
        version = (await store.changes(("a",), "")).version
        await deferLater(reactor, 0.05)
        self.assertFalse(await store.swap_note("a", "one", "text", None))
        self.assertEqual((await store.changes(("a",), version)).notes, {"a": {"one": None}})
        self.assertEqual(redis.ask("HEXISTS", "burrow:notes:a", "one"), b"0")
