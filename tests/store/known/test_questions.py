"""What a server asks its Redis for, when, and what it forgets; on a Redis of its own."""

import attr
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from burrow.errors import StoreError
from burrow.store.base import Taken
from burrow.store.known.mending import NotKnown
from burrow.store.known.polling import POLL_EVERY
from burrow.store.known.questions import PATIENCE
from burrow.store.known.store import KnownStore
from burrow.store.redis.records import to_text
from tests.redis import RedisServer
from tests.store.known.test_lost import NAME, OLD, Servers


class Questions(TestCase):
    def setUp(self):
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.servers = Servers(self.redis)
        self.addCleanup(self.servers.close)

    def count(self, store, name):
        """Have the calls of one of its Redis store's methods counted."""
        holder = store._redis.contents if name == "everything" else store._redis
        calls, method = [], getattr(holder, name)
        self.patch(holder, name, lambda *given: calls.append(given) or method(*given))
        return calls

    def be_away(self, store):
        """Have a store without its Redis."""
        store._questions.away = True
        for name in ("find_token", "find_name"):
            self.patch(store._redis, name, lambda key: fail(StoreError("away")))

    async def test_what_is_known_is_said_when_redis_takes_longer_than_its_patience(self):
        one = await self.servers.open()
        await one.add_token(OLD)
        self.patch(one._redis, "find_token", lambda token_id: Deferred())
        asked = one.token("old")
        self.servers.clock.advance(PATIENCE - 0.01)
        self.assertNoResult(asked)
        self.servers.clock.advance(0.02)
        self.assertEqual(self.successResultOf(asked), OLD)
        self.assertLess(PATIENCE, 1.0)  # an agent that comes back waits for this

    async def test_looks_come_at_their_time(self):
        clock = Clock()
        store = KnownStore(clock, self.servers.plain())
        await store.open()
        self.addCleanup(store.close)
        looks = []
        self.patch(store._polling._loop, "f", lambda: looks.append(clock.seconds()))
        clock.pump([POLL_EVERY / 2] * 8)
        self.assertEqual(looks, [POLL_EVERY * turn for turn in (1, 2, 3, 4)])
        self.assertLessEqual(POLL_EVERY, 1.0)  # what a snapshot may lack that nobody saw

    async def test_a_token_that_somebody_removed_is_written_again_by_the_question_for_it(self):
        one = await self.servers.open(alone=lambda: True)
        await one.add_token(OLD)
        self.redis.ask("HDEL", "burrow:tokens", "old")
        self.assertEqual(await one.token("old"), OLD)
        plain = self.servers.plain()
        await plain.open()
        self.assertEqual(await plain.tokens(), [OLD])
        await plain.close()

    async def test_names_that_are_as_known_need_one_question(self):
        one = await self.servers.open()
        await one.reserve(NAME)
        await one.transfer("blog", "old")
        single = self.count(one, "find_name")
        several = self.count(one, "find_reservations")
        found = await one.find_reservations(["blog", "nobody"])
        self.assertEqual((found["blog"].token, found["nobody"]), ("old", None))
        self.assertEqual((len(single), len(several)), (0, 1))

    async def test_what_is_revoked_while_all_is_read_stays_revoked(self):
        one = await self.servers.open()
        await one.add_token(OLD)
        await one.reserve(NAME)
        held = Deferred()
        everything = one._redis.contents.everything

        async def later():
            there = await everything()
            await held
            return there

        self.patch(one._redis.contents, "everything", later)
        reading = Deferred.fromCoroutine(one._mending.read())
        self.assertTrue(await one.revoke_token("old"))
        self.assertTrue(await one.release("blog"))
        held.callback(None)
        await reading
        self.assertEqual((one._records.tokens, one._records.names), ({}, {}))
        self.be_away(one)
        self.assertIsNone(await one.token("old"))
        with self.assertRaises(StoreError):
            await one.reservation("blog")

    async def test_what_is_revoked_is_remembered_by_its_mark_alone(self):
        one = await self.servers.open()
        await one.add_token(OLD)
        await one.token_used("old", 5.0)
        self.assertIn("old", one._records.tokens)
        await one.revoke_token("old")
        self.assertEqual(
            (one._records.tokens, one._records.used, list(one._records.marks)), ({}, {}, ["token:old"])
        )

    async def test_a_port_that_another_server_freed_is_not_missed(self):
        """It is not put back, and nothing is merged: only after a loss what is known of ports counts."""
        one, two = await self.servers.open(), await self.servers.open()
        asked = attr.evolve(NAME, asked=True, port_assigned=True, used=50.0)
        await one.reserve(asked)
        await two._mending.read()
        self.assertEqual(await two.free_unused(100.0, 200.0), ["blog"])
        with capturedLogs() as logs:
            await one._mending.read()
        self.assertEqual([log for log in logs if "merging" in log["log_format"]], [])
        self.assertIsNone((await one.reservation("blog")).port)
        self.assertEqual((await two.reserve(attr.evolve(NAME, name="other"))).port, NAME.port)

    async def test_a_name_that_was_renewed_away_from_redis_while_it_was_freed(self):
        """It waits no more to be written: what waits behind it is."""
        one = await self.servers.open(alone=lambda: True)
        await one.add_token(OLD)
        await one.reserve(attr.evolve(NAME, used=50.0))
        free = one._redis.free_unused

        async def meanwhile(before, now):
            freed = await free(before, now)
            one._questions.away = True
            await one.reserve(NAME)
            await one.token_used("old", 300.0)
            return freed

        self.patch(one._redis, "free_unused", meanwhile)
        self.assertEqual(await one.free_unused(100.0, 200.0), ["blog"])
        await one._polling.poll()
        self.assertEqual((one._records.renewed, one._records.used), (set(), {}))
        self.assertEqual((await one.token("old")).last_used, 300.0)

    async def test_a_name_that_was_lost_is_not_believed_to_be_its_last_owners(self):
        one = await self.servers.open()
        await one.reserve(NAME)
        one._questions.away = True
        await one.reserve(NAME)
        self.redis.ask("HSET", "burrow:reservations", "blog", to_text(attr.evolve(NAME, token="thief")))
        heard = []

        def lost(name):
            heard.append((name, dict(one._records.names), set(one._records.renewed)))

        self.patch(one._records, "_on_lost", lost)
        await one._polling.poll()
        self.assertEqual(heard, [("blog", {}, set())])  # who hears of it asks Redis
        self.be_away(one)
        with self.assertRaises(StoreError):
            await one.reservation("blog")

    async def test_nothing_is_given_away_or_taken_back_before_it_is_sure(self):
        """For a while after a loss, in which other servers write what they know."""
        one, two = await self.servers.open(), await self.servers.open()
        await two.add_token(OLD)
        await two.reserve(NAME)
        self.redis.ask("FLUSHALL")
        await one._polling.poll()
        self.assertFalse(one.whole)
        for asking in (
            one.transfer("blog", "old"),
            one.release("blog"),
            one.revoke_token("old"),
            one.change_token("old", {"max_names": 3}),
            one.token("old"),
            one.reservation("blog"),
            one.reserve(attr.evolve(NAME, token="thief")),
            one.free_unused(100.0, 200.0),
            one.remembered("new", "agent1", "http", "http://localhost:3000"),
        ):
            with self.assertRaises(NotKnown):
                await asking
        self.assertEqual(await one.find_reservations(["blog"]), {})
        await two._polling.poll()
        self.assertEqual((await one.transfer("blog", "old"))[0].token, "old")
        with self.assertRaises(Taken):
            await one.reserve(attr.evolve(NAME, token="thief", port=None))

    async def test_all_is_read_again_once_it_is_sure(self):
        """What others wrote meanwhile is known then; and until then it is not read at each look."""
        one, two = await self.servers.open(), await self.servers.open()
        await one.add_token(OLD)
        self.redis.ask("FLUSHALL")
        await two._polling.poll()
        await one._polling.poll()
        reads = self.count(two, "everything")
        await two._polling.poll()
        self.assertEqual(reads, [])
        self.servers.clock.advance(6)
        await two._polling.poll()
        self.assertEqual(len(reads), 1)
        two._questions.away = True
        self.assertEqual(await two.token("old"), OLD)
        await two._polling.poll()
        self.assertEqual(len(reads), 1)
