"""A Redis that goes back: what servers know comes back, and what was revoked or released does not."""

import attr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from burrow.errors import StoreError
from burrow.store.base import Reservation, Taken, Token
from burrow.store.known.store import KnownStore
from burrow.store.redis.address import RedisAddress
from burrow.store.redis.store import RedisStore
from tests.e2e.relay import Relay
from tests.redis import RedisServer

OLD = Token("old", "old", "agent", b"\x01" * 32, 100.0)
NEW = Token("new", "new", "agent", b"\x02" * 32, 200.0)
THIEF = Token("thief", "thief", "agent", b"\x03" * 32, 200.0)
NAME = Reservation("blog", "http", "new", "agent1", "http://localhost:3000", 20_000, True, 50.0)
KEY = ("new", "agent1", "http", "http://localhost:3000")


class Servers:
    """Servers' stores on one database, each with a clock that the test moves."""

    def __init__(self, redis, database=0):
        self.redis = redis
        self.database = database
        self.clock = Clock()
        self.stores = []

    def plain(self, port=None):
        """As a command has it."""
        url = f"redis://127.0.0.1:{port or self.redis.port}/{self.database}"
        return RedisStore(reactor, RedisAddress.parse(url))

    async def open(self, **options):
        store = KnownStore(self.clock, self.plain(options.pop("port", None)), **options)
        await store.open()
        store._polling.stop()  # the test says when
        self.stores.append(store)
        return store

    async def look(self):
        for store in self.stores:
            await store._polling.poll()

    async def settle(self):
        """As much time as all need to write what they know."""
        for _ in range(2):
            await self.look()
            self.clock.advance(6)
        await self.look()

    async def close(self):
        for store in self.stores:
            await store.close()

    def snapshot(self):
        return self.redis.snapshot(self.database)

    def go_back(self, snapshot):
        self.redis.go_back(snapshot, self.database)


class Lost(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = RedisServer("--databases", "100")
        cls.databases = iter(range(100))

    @classmethod
    def tearDownClass(cls):
        cls.redis.stop()

    async def setUp(self):
        self.redis.revive()
        self.servers = Servers(self.redis, next(self.databases))
        self.one = await self.servers.open()
        self.two = await self.servers.open()
        self.addCleanup(self.servers.close)
        await self.one.add_token(OLD)
        await self.one.add_token(THIEF)
        await self.servers.look()

    async def told(self, asking):
        """The answer, or the word that nobody can tell now."""
        try:
            return await asking
        except Taken:
            return "taken"
        except StoreError:
            return "not known"

    async def check_all_is_there(self):
        for store in self.servers.stores:
            self.assertEqual(await store.token("new"), NEW)
            self.assertEqual(await store.reservation("blog"), NAME)
            self.assertEqual(await store.remembered(*KEY), NAME)
            for theft in (
                attr.evolve(NAME, token="thief"),
                attr.evolve(NAME, token="thief", port=None),
                attr.evolve(NAME, token="thief", name="other"),
            ):
                with self.assertRaises(Taken):
                    await store.reserve(theft)
            with self.assertRaises(Taken):
                await store.add_token(attr.evolve(NEW, id="another"))

    async def test_older_snapshot(self):
        """A token, and a live name, that one server knows: neither vanishes, nor goes to somebody else."""
        before = self.servers.snapshot()
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        await self.one._polling.poll()
        await self.two._redis.guard.new_marks()  # of the loss it will know, and of the records it does not
        self.servers.go_back(before)
        # First a server that never heard of either.
        self.assertEqual(await self.told(self.two.token("new")), "not known")
        self.assertEqual(await self.told(self.two.reservation("blog")), "not known")
        for theft in (NAME, attr.evolve(NAME, name="other")):
            self.assertEqual(
                await self.told(self.two.reserve(attr.evolve(theft, token="thief"))), "not known"
            )
        self.assertFalse(self.two.whole)
        self.assertEqual(await self.one.token("new"), NEW)
        await self.servers.settle()
        await self.check_all_is_there()

    async def test_older_snapshot_met_first_by_the_server_that_knows(self):
        before = self.servers.snapshot()
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        for ask in (
            lambda: self.told(self.one.reserve(attr.evolve(NAME, token="thief"))),
            lambda: self.told(self.one.reserve(attr.evolve(NAME, token="thief", name="other"))),
        ):
            self.servers.go_back(before)
            self.assertIn(await ask(), ("taken", "not known"))
        self.servers.go_back(before)
        self.assertEqual(await self.one.token("new"), NEW)
        self.servers.go_back(before)
        self.assertEqual(await self.one.reservation("blog"), NAME)
        self.servers.go_back(before)
        self.assertEqual(await self.one.remembered(*KEY), NAME)
        await self.servers.settle()
        await self.check_all_is_there()

    async def test_start_with_an_older_snapshot_on_the_disk(self):
        self.redis.ask("SAVE")
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        self.redis.stop()
        self.redis.start()
        await self.reconnected()
        await self.servers.settle()
        await self.check_all_is_there()

    async def reconnected(self):
        """Returns when all use Redis again."""
        for _ in range(200):
            await self.servers.look()
            if not any(store._questions.away for store in self.servers.stores):
                return
            await deferLater(reactor, 0.05)
        raise AssertionError("Redis is not used again")

    async def test_every_key_that_is_evicted(self):
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        await self.servers.settle()
        keys = self.redis.ask("KEYS", "*", database=self.servers.database)
        self.assertGreater(len(keys), 5)
        for key in keys:
            self.redis.ask("DEL", key, database=self.servers.database)
            for store in self.servers.stores:
                theft = store.reserve(attr.evolve(NAME, token="thief", name="other"))
                self.assertIn(await self.told(theft), ("taken", "not known"), key)
            self.assertEqual(await self.one.token("new"), NEW, key)
            self.assertEqual(await self.one.reservation("blog"), NAME, key)
            await self.servers.settle()
            await self.check_all_is_there()

    async def test_single_records_that_are_gone(self):
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        await self.servers.settle()
        for key, field in (("tokens", "new"), ("reservations", "blog")):
            self.redis.ask("HDEL", f"burrow:{key}", field, database=self.servers.database)
            self.assertEqual(await self.one.token("new"), NEW)
            self.assertEqual(await self.one.reservation("blog"), NAME)
            await self.servers.settle()
            await self.check_all_is_there()

    async def test_revoked_token_does_not_come_back(self):
        """By a command, after the snapshot; also for a server that starts then, or knew the token as good."""
        before = self.servers.snapshot()
        command = self.servers.plain()
        await command.open()
        self.assertTrue(await command.revoke_token("old"))
        await command.close()
        await self.servers.look()
        self.servers.go_back(before)
        for store in self.servers.stores:
            self.assertIsNone(await store.token("old"))
        await self.servers.settle()
        self.assertIsNone(await (await self.servers.open()).token("old"))
        self.assertNotIn("old", [token.id for token in await self.two.tokens()])

    async def test_revocation_that_only_another_server_knows(self):
        await self.servers.look()
        before = self.servers.snapshot()
        await self.one.revoke_token("old")
        await self.two._polling.poll()
        self.two._records.marks.clear()  # as if it had come too late for its look
        self.two._records.tokens.pop("old", None)
        self.servers.go_back(before)
        self.assertEqual(await self.told(self.two.token("old")), "not known")
        await self.servers.settle()
        self.assertIsNone(await self.two.token("old"))

    async def test_revoked_token_is_not_believed_while_redis_is_away(self):
        """Nor by the server that was asked to revoke it, nor by one that saw it at its next look."""
        for store in self.servers.stores:
            self.assertEqual(await store.token("old"), OLD)
            self.assertEqual(await store.token("thief"), THIEF)
        await self.one.revoke_token("old")
        await self.two._polling.poll()
        self.redis.stop()
        for store in self.servers.stores:
            self.assertIsNone(await store.token("old"))
            self.assertEqual(await store.token("thief"), THIEF)

    async def test_token_that_another_server_made_is_known_while_redis_is_away(self):
        await self.one.add_token(NEW)
        for _ in range(30):
            await self.two._polling.poll()
        self.redis.stop()
        self.assertEqual(await self.two.token("new"), NEW)

    async def test_released_name_does_not_come_back(self):
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        await self.servers.settle()
        before = self.servers.snapshot()
        await self.one.release("blog")
        await self.servers.look()
        self.servers.go_back(before)
        self.assertIn(await self.told(self.one.reservation("blog")), (None, "not known"))
        await self.servers.settle()
        for store in self.servers.stores:
            self.assertIsNone(await store.reservation("blog"))
        kept = await self.two.reserve(attr.evolve(NAME, token="thief"))
        self.assertEqual((kept.token, kept.port), ("thief", 20_000))

    async def check_one_owner(self, owner):
        """The label is this token's, on each server, and its wildcard nobody's."""
        for store in self.servers.stores:
            self.assertEqual((await store.reservation("blog")).token, owner)
            self.assertIsNone(await store.reservation("*.blog"))
        wild = attr.evolve(NAME, name="*.blog", port=None)
        for token in {"old", "new", "thief"} - {owner}:
            with self.assertRaises(Taken):
                await self.one.reserve(attr.evolve(wild, token=token))
        self.assertEqual((await self.one.reserve(attr.evolve(wild, token=owner))).token, owner)

    async def test_label_and_wildcard_of_two_owners(self):
        """As a release left them that knew no twins: the label's owner has both, from the next start on."""
        command = self.servers.plain()
        await command.open()
        await command.contents.merge_name(attr.evolve(NAME, token="old", port=None))
        await command.contents.merge_name(attr.evolve(NAME, token="thief", name="*.blog", port=None))
        await command.contents.merge_name(attr.evolve(NAME, token="thief", name="shop", port=None))
        await command.contents.merge_name(attr.evolve(NAME, token="thief", name="*.shop", port=None))
        await command.close()
        await self.servers.look()
        lost = []
        with capturedLogs() as logs:
            started = await self.servers.open(lost=lost.append)
        (told,) = [event for event in logs if "was another token's" in event.get("log_format", "")]
        self.assertEqual((told["name"], told["label"]), ("*.blog", "blog"))
        await self.servers.look()
        self.assertEqual((await started.reservation("*.shop")).token, "thief")
        await self.check_one_owner("old")

    async def test_label_that_got_another_owner_while_its_wildcards_was_lost(self):
        """A server that could not tell in time what it knew does not bring back one of both."""
        lost = []
        late = await self.servers.open(lost=lost.append)
        before = self.servers.snapshot()
        await late.reserve(attr.evolve(NAME, token="old", name="*.blog", port=None))
        self.servers.go_back(before)
        for _ in range(2):
            for store in (self.one, self.two):
                await store._polling.poll()
            self.servers.clock.advance(6)
        await self.one.reserve(attr.evolve(NAME, token="thief", port=None))
        await self.servers.settle()
        self.assertEqual(set(lost), {"blog", "*.blog"})
        await self.check_one_owner("thief")

    async def test_name_that_is_anothers_since_stays_its_own(self):
        await self.one.add_token(NEW)
        await self.one.reserve(attr.evolve(NAME, token="old", port=None))
        await self.servers.settle()
        before = self.servers.snapshot()
        await self.one.release("blog")
        await self.one.reserve(NAME)
        await self.servers.look()
        self.servers.go_back(before)
        for store in self.servers.stores:
            asked = store.reserve(attr.evolve(NAME, token="old", port=None))
            self.assertIn(await self.told(asked), ("taken", "not known"))
        await self.servers.settle()
        for store in self.servers.stores:
            self.assertEqual((await store.reservation("blog")).token, "new")

    async def test_port_that_a_name_got_since_stays_its_own(self):
        await self.one.add_token(NEW)
        await self.one.reserve(attr.evolve(NAME, port=None))
        await self.servers.settle()
        before = self.servers.snapshot()
        await self.one.reserve(NAME)
        await self.servers.look()
        self.servers.go_back(before)
        for store in self.servers.stores:
            theft = store.reserve(attr.evolve(NAME, token="thief", name="other"))
            self.assertIn(await self.told(theft), ("taken", "not known"))
        await self.servers.settle()
        await self.check_all_is_there()

    async def test_port_that_another_server_changed_is_believed(self):
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        await self.servers.settle()
        await self.two.reserve(attr.evolve(NAME, port=20_001))
        await self.one._mending.read()
        self.assertTrue(self.one.whole)
        self.assertEqual((await self.one.reservation("blog")).port, 20_001)

    @pytest.mark.slow
    async def test_replica_that_lagged_a_moment_behind(self):
        """No server wrote or looked since: what only one knows is not given away by another."""
        replica = RedisServer(
            "--replicaof", "127.0.0.1", str(self.redis.port), "--repl-diskless-sync-delay", "0"
        )
        self.addCleanup(replica.stop)
        link = Relay(self.redis.port)
        self.addCleanup(link.close)
        other = await self.servers.open(port=link.port)
        while b"master_link_status:up" not in replica.ask("INFO", "replication"):
            await self.servers.look()
        self.redis.ask("WAIT", 1, 5000)
        replica.ask("REPLICAOF", "NO", "ONE")
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        link.target = ("127.0.0.1", replica.port)
        link.cut()
        stolen = set()
        while other.whole:  # until it sees that it is another Redis
            stolen.add(await self.told(other.reserve(attr.evolve(NAME, token="thief"))))
            await deferLater(reactor, 0.01)
        stolen.add(await self.told(other.reserve(attr.evolve(NAME, token="thief"))))
        self.assertEqual(stolen, {"not known"})

    async def test_alone_nothing_is_waited_for(self):
        await self.servers.close()
        self.servers.stores.clear()
        only = await self.servers.open(alone=lambda: True)
        before = self.servers.snapshot()
        await only.add_token(NEW)
        await only.reserve(NAME)
        self.servers.go_back(before)
        with self.assertRaises(Taken):
            await only.reserve(attr.evolve(NAME, token="thief"))
        self.assertIsNone(await only.reservation("unknown"))
        self.assertIsNone(await only.token("unknown"))
        await self.check_all_is_there()

    async def test_two_tokens_that_came_by_one_name_are_both_kept(self):
        before = self.servers.snapshot()
        await self.one.add_token(NEW)
        self.servers.go_back(before)
        command = self.servers.plain()
        await command.open()
        await command.add_token(attr.evolve(THIEF, id="second", name="new"))
        await command.close()
        await self.servers.settle()
        self.assertEqual((await self.two.token("second")).name, "new")
        self.assertEqual((await self.two.token("new")).name, "new-new")
        self.assertTrue(await self.two.revoke_token("new-new"))

    async def test_changed_token_and_transferred_name_stay_so(self):
        await self.one.add_token(NEW)
        await self.one.reserve(NAME)
        await self.servers.settle()
        before = self.servers.snapshot()
        await self.one.change_token("new", {"digest": b"\x09" * 32})
        await self.one.transfer("blog", "thief")
        await self.servers.look()
        self.servers.go_back(before)
        self.assertEqual((await self.one.token("new")).digest, b"\x09" * 32)
        self.servers.go_back(before)
        self.assertEqual((await self.one.reservation("blog")).token, "thief")
        await self.servers.settle()
        self.assertEqual((await self.two.token("new")).digest, b"\x09" * 32)
        self.assertEqual((await self.two.reservation("blog")).token, "thief")

    async def test_generations_of_servers_that_are_gone_are_removed(self):
        database = self.servers.database
        self.redis.ask("HSET", "burrow:generations", "gone", "7 1000", database=database)
        await self.servers.open()
        self.assertIsNone(self.redis.ask("HGET", "burrow:generations", "gone", database=database))

    async def test_marks_are_bounded(self):
        from burrow.store.redis import guard

        self.patch(guard, "_PRELUDE", guard._PRELUDE.replace(str(guard.MAX_MARKS), "3"))
        database = self.servers.database
        for number in range(6):
            await self.one.add_token(attr.evolve(NEW, id=f"n{number}", name=f"n{number}"))
            await self.one.revoke_token(f"n{number}")
        marks = self.redis.ask("HKEYS", "burrow:marks", database=database)
        self.assertEqual(sorted(marks), [b"", b"token:n3", b"token:n4", b"token:n5"])
        self.assertEqual(self.redis.ask("ZCARD", "burrow:mark-order", database=database), b"4")


class Evicting(TestCase):
    async def test_policy_that_may_throw_away_is_warned_of(self):
        for policy, warned in (("allkeys-lru", 1), ("noeviction", 0), ("volatile-lru", 0)):
            redis = RedisServer("--maxmemory-policy", policy)
            self.addCleanup(redis.stop)
            servers = Servers(redis)
            with capturedLogs() as logs:
                await servers.open()
            found = [event for event in logs if "maxmemory-policy" in event.get("log_format", "")]
            self.assertEqual([event.get("policy") for event in found], [policy] * warned)
            await servers.close()


class Restricted(TestCase):
    async def test_redis_that_may_not_be_asked_who_it_is(self):
        redis = RedisServer()
        self.addCleanup(redis.stop)
        redis.ask("ACL", "SETUSER", "default", "-info")
        servers = Servers(redis)
        one = await servers.open()
        self.addCleanup(servers.close)
        await one.add_token(NEW)
        redis.ask("FLUSHALL")
        self.assertEqual(await one.token("new"), NEW)


# -- random histories ----------------------------------------------------------------------------------------

IDS, NAMES = ("a", "b", "c"), ("x", "y")
SERVER = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("add"), SERVER, st.sampled_from(IDS)),
    st.tuples(st.just("revoke"), SERVER, st.sampled_from(IDS)),
    st.tuples(st.just("reserve"), SERVER, st.sampled_from(IDS), st.sampled_from(NAMES)),
    st.tuples(st.just("reserve"), SERVER, st.sampled_from(IDS), st.sampled_from(NAMES)),
    st.tuples(st.just("release"), SERVER, st.sampled_from(NAMES)),
    st.tuples(st.just("look"), SERVER),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 6.0])),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("back"), st.integers(0, 3)),
    st.tuples(st.just("evict"), st.integers(0, 20)),
    st.tuples(st.just("flush")),
)


class Histories(TestCase):
    """
    Three servers on a Redis that loses what was written last, a part or everything. Each has looked since
    that was written, as it does every second.
    """

    def setUp(self):
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)

    timeout = 300  # seconds; some machines are slow

    @pytest.mark.slow
    async def test_any_history(self):
        await deferToThread(self.histories)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(STEPS, max_size=25))
    def histories(self, steps):
        self.redis.ask("FLUSHALL")
        blockingCallFromThread(reactor, lambda: ensureDeferred(self.history(steps)))

    async def history(self, steps):
        servers = Servers(self.redis)
        for _ in range(3):
            await servers.open()
        try:
            await History(servers).run(steps)
        finally:
            await servers.close()


class History:
    """What must hold: C{tokens} and C{owners} are what servers confirmed, C{revoked} what they heard of."""

    def __init__(self, servers):
        self.servers = servers
        self.tokens, self.revoked, self.owners, self.snapshots = set(), set(), {}, []
        self.made = 0

    async def run(self, steps):
        for step in steps:
            await getattr(self, step[0])(*step[1:])
            await self.check()
        await self.servers.settle()
        for store in self.servers.stores:
            for token_id in self.tokens:
                assert (await store.token(token_id)) is not None, f"{token_id} is lost"
            for name in NAMES:
                found = await store.reservation(name)
                assert (found and found.token) == self.owners.get(name), (name, found, self.owners)

    async def check(self):
        for store in self.servers.stores:
            for token_id in self.revoked:
                try:
                    assert await store.token(token_id) is None, f"{token_id} is believed"
                except StoreError:
                    pass

    def token_id(self, letter):
        """Of several tokens that were called so, one after the other, the last."""
        return next((one for one in self.tokens if one[0] == letter), letter)

    async def add(self, server, letter):
        if self.token_id(letter) in self.tokens:
            return
        self.made += 1
        token = Token(f"{letter}{self.made}", letter, "agent", b"\x01" * 32, 1.0)
        try:
            await self.servers.stores[server].add_token(token)
        except StoreError:
            return
        self.tokens.add(token.id)

    async def revoke(self, server, letter):
        try:
            if not await self.servers.stores[server].revoke_token(letter):
                return
        except StoreError:
            return
        gone = {one for one in self.tokens if one[0] == letter}
        self.tokens -= gone
        self.revoked |= gone
        await self.servers.look()

    async def reserve(self, server, letter, name):
        wanted = Reservation(name, "http", self.token_id(letter), "agent", "up", None, False, 1.0)
        try:
            kept = await self.servers.stores[server].reserve(wanted)
        except StoreError:
            return
        assert self.owners.get(name, kept.token) == kept.token, f"{name} has two owners"
        self.owners[name] = kept.token

    async def release(self, server, name):
        try:
            if await self.servers.stores[server].release(name):
                self.owners.pop(name, None)
        except StoreError:
            pass

    async def look(self, server):
        await self.servers.stores[server]._polling.poll()

    async def wait(self, seconds):
        self.servers.clock.advance(seconds)

    async def snapshot(self):
        self.snapshots.append(self.servers.snapshot())

    async def back(self, number):
        if self.snapshots:
            await self.servers.look()
            self.servers.go_back(self.snapshots[number % len(self.snapshots)])

    async def evict(self, number):
        await self.servers.look()
        keys = sorted(self.servers.redis.ask("KEYS", "*"))
        if keys:
            self.servers.redis.ask("DEL", keys[number % len(keys)])

    async def flush(self):
        await self.servers.look()
        self.servers.redis.ask("FLUSHALL")
