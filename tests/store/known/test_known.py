"""What a server remembers of its Redis, and what it does not."""

import tempfile
from pathlib import Path

import attr
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from burrow.errors import StoreError
from burrow.limits import Limits
from burrow.store.base import Taken
from burrow.store.known import polling
from burrow.store.known.polling import ASKED_WITHIN, CHECK_AT_ONCE, CHECK_EVERY, POLL_EVERY
from burrow.store.redis import connection
from burrow.store.redis.records import to_text
from burrow.store.spaces import CERTIFICATES
from tests.redis import RedisServer
from tests.store.known.test_lost import NAME, OLD, Servers

KEY = ("new", "agent1", "http", "http://localhost:3000")


class Known(TestCase):
    def setUp(self):
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.servers = Servers(self.redis)
        self.addCleanup(self.servers.close)

    async def away(self):
        """Have Redis be gone, and all know it."""
        self.patch(connection, "TIMEOUT", 0.5)
        self.redis.stop()
        await self.servers.look()

    async def back(self):
        self.redis.start()
        for _ in range(200):
            await self.servers.look()
            if not any(store._questions.away for store in self.servers.stores):
                return
            await deferLater(reactor, 0.05)
        raise AssertionError("Redis is not used again")

    async def test_mark_follows_a_loss(self):
        """A server that starts after one was mended finds the Redis that it knew."""
        mark = Path(tempfile.mkdtemp()) / "mark"
        one = await self.servers.open(mark=mark)
        before = mark.read_text()
        self.redis.ask("FLUSHALL")
        await one._polling.poll()
        self.assertNotEqual(mark.read_text(), before)
        self.assertTrue((await self.servers.open(mark=mark)).whole)
        mark.write_text(before)
        self.assertFalse((await self.servers.open(mark=mark)).whole)

    async def test_what_is_remembered_while_redis_is_away_fits_in_all_and_was_assigned(self):
        one = await self.servers.open()
        await one.reserve(NAME)
        await one.reserve(attr.evolve(NAME, name="chosen", upstream="up", port=None, assigned=False))
        await self.away()
        self.assertEqual(await one.remembered(*KEY), NAME)
        for number in range(4):
            other = [*KEY[:number], "other", *KEY[number + 1 :]]
            with self.assertRaises(StoreError):
                await one.remembered(*other)
        with self.assertRaises(StoreError):
            await one.remembered(*KEY[:3], "up")

    async def test_name_that_was_released_after_it_was_renewed_away_from_redis(self):
        """What waited to be written is not written then: the name is free, and may be another's."""
        one = await self.servers.open()
        await one.reserve(NAME)
        await self.away()
        await one.reserve(attr.evolve(NAME, upstream="other"))
        self.redis.start()
        for _ in range(200):
            try:
                await one.release("blog")
                break
            except StoreError:
                await deferLater(reactor, 0.05)
        await self.back_without_start()
        await self.servers.settle()
        self.assertIsNone(await one.reservation("blog"))
        self.assertEqual((await one.reserve(attr.evolve(NAME, token="old"))).token, "old")

    async def test_name_that_became_anothers_while_its_last_owner_was_believed(self):
        """This server alone had lost Redis: it finds out when it is back, and tells."""
        lost = []
        one = await self.servers.open(lost=lost.append)
        two = await self.servers.open()
        await one.reserve(NAME)
        await self.servers.look()
        for change in (self.release_and_take, self.transfer):
            one._questions.away = True
            former = one._records.names["blog"].token
            await one.reserve(attr.evolve(NAME, token=former, port=None))
            await change(two, "thief" if former == "new" else "new")
            self.assertEqual(lost, [])
            await one._polling.poll()
            self.assertEqual(lost[:1], ["blog"])
            self.assertNotEqual((await one.reservation("blog")).token, former)
            with self.assertRaises(Taken):
                await one.reserve(attr.evolve(NAME, token=former))
            lost.clear()

    async def release_and_take(self, store, token):
        await store.release("blog")
        await store.reserve(attr.evolve(NAME, token=token))

    async def transfer(self, store, token):
        await store.transfer("blog", token)

    async def test_name_whose_release_was_lost_with_its_mark(self):
        """So that only the refusal of what waited to be written tells."""
        lost = []
        one = await self.servers.open(lost=lost.append)
        await one.reserve(NAME)
        one._questions.away = True
        await one.reserve(NAME)
        self.redis.ask("HSET", "burrow:reservations", "blog", to_text(attr.evolve(NAME, token="thief")))
        await one._polling.poll()
        self.assertEqual(lost, ["blog"])
        self.assertEqual((await one.reservation("blog")).token, "thief")

    async def test_name_that_somebody_deleted_in_redis_is_not_free(self):
        one = await self.servers.open(alone=lambda: True)
        await one.reserve(NAME)
        self.redis.ask("HDEL", "burrow:reservations", "blog")
        with self.assertRaises(Taken):
            await one.reserve(attr.evolve(NAME, token="thief", port=None))
        self.assertEqual(await one.reservation("blog"), NAME)

    async def test_records_that_cannot_be_read(self):
        """Somebody wrote into Redis: all others go on, a name counts as taken, the log says it once."""
        one = await self.servers.open(alone=lambda: True)
        await one.add_token(OLD)
        await one.reserve(NAME)
        junk = ('{"name":1}', "{}", "x", "null", "[]", '{"name":"junk"}', "7", b"\xff")
        wrong = (attr.evolve(NAME, name="junk", version="x"), attr.evolve(NAME, name="junk", port="x"))
        for text in (*junk, *map(to_text, (NAME, OLD, *wrong))):
            for key in ("reservations", "tokens"):
                self.redis.ask("HSET", f"burrow:{key}", "junk", text)
            with capturedLogs() as logs:
                two = await self.servers.open(alone=lambda: True)
                for _ in range(2 * CHECK_EVERY):
                    await two._polling._poll_if_needed()
                told = [log for log in logs if "cannot be read" in log["log_format"]]
                self.assertEqual([log["key"] for log in told], ["junk", "junk"], text)
                self.assertEqual([log for log in logs if "merging" in log["log_format"]], [])
            self.assertEqual([known.name for known in await two.reservations()], ["blog"])
            self.assertEqual([token.name for token in await two.tokens()], ["old"])
            self.assertIsNone(await two.token("junk"))
            self.assertEqual(await two.find_tokens(["junk", "old"]), {"old": OLD})
            self.assertEqual(list(await two.find_reservations(["junk", "blog"])), ["blog"])
            for asking in (
                two.reserve(attr.evolve(NAME, name="junk", port=None)),
                two.reservation("junk"),
            ):
                with self.assertRaises(Taken):
                    await asking
            await two.reserve(attr.evolve(NAME, name="more", port=None), Limits(names=3))
            self.assertEqual(await two.free_unused(10.0, 20.0), [])
            self.assertFalse(two._questions.away)
            self.redis.ask("DEL", "burrow:marks")  # what is mended then meets the same
            self.assertEqual((await two.reservation("blog")).token, NAME.token)
            self.assertTrue(await two.release("junk"))
            self.assertTrue(await two.release("more"))
            self.assertIsNone(await two.reservation("junk"))
            await two.close()
            self.servers.stores.remove(two)

    async def test_known_record_that_somebody_made_unreadable_is_written_again(self):
        one = await self.servers.open(alone=lambda: True)
        await one.add_token(OLD)
        await one.reserve(NAME)
        for text in ("x", "{}", "null"):
            self.redis.ask("HSET", "burrow:reservations", "blog", text)
            self.redis.ask("HSET", "burrow:tokens", "old", text)
            self.assertEqual(await one.reservation("blog"), NAME)
            self.assertEqual(await one.token("old"), OLD)
            plain = self.servers.plain()
            await plain.open()
            self.assertEqual((await plain.reservations(), await plain.tokens()), ([NAME], [OLD]))
            await plain.close()

    async def back_without_start(self):
        for _ in range(200):
            await self.servers.look()
            if not any(store._questions.away for store in self.servers.stores):
                return
            await deferLater(reactor, 0.05)

    async def test_notes_with_a_time_are_not_remembered_and_lasting_ones_are(self):
        one = await self.servers.open(alone=lambda: True)
        await one.put_note("a", "lasting", "text")
        await one.put_note("a", "timed", "text", 1000)
        await one.put_note("a", "given-a-time", "text")
        await one.put_note("a", "given-a-time", "text", 1000)
        await one.put_note("a", "removed", "text")
        self.assertTrue(await one.swap_note("a", "removed", "text", None))
        self.assertFalse(await one.swap_note("a", "lasting", "wrong", "other"))
        self.assertFalse(await one.swap_note("a", "never", "wrong", "other"))
        await self.away()
        self.assertEqual(await one.note("a", "lasting"), "text")
        for key in ("timed", "given-a-time", "removed", "never"):
            with self.assertRaises(StoreError):
                await one.note("a", key)
        await self.back()
        self.assertEqual(await one.notes("a"), {"lasting": "text"})

    async def test_evicted_certificates_come_back(self):
        one = await self.servers.open(alone=lambda: True)
        await one.put_note(CERTIFICATES, "blog", "text")
        self.redis.ask("DEL", f"burrow:notes:{CERTIFICATES}")
        self.assertEqual(await one.note(CERTIFICATES, "blog"), "text")
        self.assertEqual(await one.notes(CERTIFICATES), {"blog": "text"})

    async def test_what_other_servers_change_is_known_at_the_next_poll(self):
        """And everything is read only at the start."""
        one, two = await self.servers.open(), await self.servers.open()
        everything, two._redis.contents.everything = two._redis.contents.everything, None
        await one.add_token(OLD)
        await one.add_token(attr.evolve(OLD, id="kept", name="kept"))
        await one.reserve(NAME)
        await two._polling.poll()
        self.assertEqual((two._records.tokens["old"], two._records.names), (OLD, {"blog": NAME}))
        await one.revoke_token("old")
        await one.transfer("blog", "other")
        await two._polling.poll()
        two._redis.contents.everything = everything
        await self.away()
        self.assertEqual((await two.reservation("blog")).token, "other")
        self.assertIsNone(await two.token("old"))
        self.assertEqual((await two.token("kept")).name, "kept")

    async def test_what_changed_is_known_before_who_asks_is_told(self):
        one, two = await self.servers.open(), await self.servers.open()
        version = (await two.changes(("a",), "")).version
        await one.reserve(NAME)
        await one.put_note("a", "key", "text", 100.0)
        changes = await two.changes(("a",), version)
        self.assertEqual((changes.whole, changes.names), (False, {"blog"}))
        self.assertEqual(changes.notes, {"a": {"key": "text"}})
        self.assertEqual(two._records.names["blog"], NAME)
        # Who asks from another version on makes nothing be missed.
        await one.add_token(OLD)
        self.assertTrue((await two.changes(("a",), "")).whole)
        self.assertEqual(two._records.tokens["old"], OLD)

    async def test_what_an_older_release_removes_is_told(self):
        """It leaves a mark, and nothing in the log of changes."""
        one, two = await self.servers.open(), await self.servers.open()
        await one.add_token(OLD)
        await one.reserve(NAME)
        version = (await two.changes((), "")).version
        await one.revoke_token("old")
        await one.release("blog")
        for member in ("tokens\nold", "reservations\nblog"):
            self.assertEqual(self.redis.ask("ZREM", "burrow:changes", member), b"1")
        changes = await two.changes((), version)
        self.assertEqual((changes.whole, changes.tokens, changes.names), (False, {"old"}, {"blog"}))

    async def test_who_asks_for_changes_polls(self):
        """One question a second is enough for both."""
        one = await self.servers.open(alone=lambda: True)
        asked, ask = [], one._redis._connection.ask
        one._redis._connection.ask = lambda *arguments: (
            asked.append(self.servers.clock.seconds()) or ask(*arguments)
        )
        changes = await one.changes((), "")
        asked.clear()
        for _ in range(5):
            self.servers.clock.advance(POLL_EVERY)
            changes = await one.changes((), changes.version)
            await one._polling._poll_if_needed()
        self.assertEqual(len(asked), 5)
        self.servers.clock.advance(ASKED_WITHIN)
        await one._polling._poll_if_needed()
        self.assertEqual(len(asked), 6)

    async def test_log_of_changes_that_is_lost_alone(self):
        """Everything is read again."""
        one, two = await self.servers.open(), await self.servers.open()
        version = (await two.changes((), "")).version
        await one.add_token(OLD)
        self.redis.ask("DEL", "burrow:changes")
        await one.reserve(NAME)
        self.assertTrue((await two.changes((), version)).whole)
        await two._polling._poll_if_needed()
        self.assertEqual((two._records.tokens, two._records.names), ({"old": OLD}, {"blog": NAME}))

    async def test_records_that_somebody_deletes_come_back(self):
        """Some are checked now and then, all in turn."""
        one = await self.servers.open(alone=lambda: True)
        await one.add_token(OLD)
        await one.reserve(NAME)
        self.patch(polling, "CHECK_AT_ONCE", 1)
        for key, field in (("reservations", "blog"), ("tokens", "old")):
            self.redis.ask("HDEL", f"burrow:{key}", field)
            for _ in range(3 * CHECK_EVERY):
                await one._polling._poll_if_needed()
            self.assertEqual(self.redis.ask("HEXISTS", f"burrow:{key}", field), b"1")
        self.assertLess(1, CHECK_AT_ONCE)

    async def test_looks_go_on_after_an_exception(self):
        one = await self.servers.open()
        one._polling._loop.start(1.0, now=False)
        look = one._redis.guard.new_marks
        one._redis.guard.new_marks = lambda *arguments: 1 / 0
        self.servers.clock.advance(1.0)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        one._redis.guard.new_marks = look
        self.assertTrue(one._polling._loop.running)
        one._polling.stop()
