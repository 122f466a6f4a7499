"""What must hold for every store: one suite, run for each."""

import json
import tempfile
from itertools import permutations
from pathlib import Path

import attr
import pytest
import txredisapi
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from burrow.errors import ConfigError, StoreError
from burrow.limits import Limits
from burrow.store.base import OverQuota, Reservation, Taken, Token
from burrow.store.known import mending
from burrow.store.known.store import KnownStore
from burrow.store.memory import MemoryStore
from burrow.store.redis import connection
from burrow.store.redis.address import RedisAddress
from burrow.store.redis.guard import WentBack
from burrow.store.redis.store import RedisStore
from burrow.store.spaces import CERTIFICATES
from tests.files import make_certificate
from tests.redis import RedisServer, Sentinel
from tests.store.changing import ChangesSuite

TOKEN = Token("id1", "laptop", "agent", b"\x01" * 32, 100.0)
OTHER = Token("id2", "desk", "admin", b"\x02" * 32, 200.0)
NEW_FIELDS = ("used", "port_assigned", "asked", "version")
"""Of a reservation: those that the release before did not have."""

NAME = Reservation("blog", "http", "id1", "agent1", "http://localhost:3000", None, False, 50.0)


class StoreSuite(ChangesSuite):
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

    async def test_use_is_written_once_a_minute(self):
        await self.store.add_token(TOKEN)
        for when, kept in ((100.0, 100.0), (159.0, 100.0), (160.0, 160.0), (90.0, 90.0)):
            await self.store.token_used("id1", when)
            self.assertEqual((await self.store.token("id1")).last_used, kept)

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
        self.assertFalse(await self.store.release("blog", "another"))
        self.assertIsNotNone(await self.store.reservation("blog"))
        self.assertTrue(await self.store.release("blog"))
        self.assertFalse(await self.store.release("blog"))
        await self.store.reserve(attr.evolve(NAME, token="id2", name="other", port=20_000))
        self.assertEqual([known.name for known in await self.store.reservations()], ["other"])

    async def test_free_ports_are_those_that_no_name_has(self):
        await self.store.reserve(attr.evolve(NAME, port=20_001))
        await self.store.reserve(attr.evolve(NAME, name="shop", port=20_601))
        await self.store.reserve(attr.evolve(NAME, name="page"))
        asked = list(range(20_700, 20_000, -1))
        expected = [port for port in asked if port not in (20_001, 20_601)]
        self.assertEqual(await self.store.free_ports(asked), expected)
        await self.store.release("shop")
        self.assertEqual(await self.store.free_ports([20_601, 20_001]), [20_601])
        self.assertEqual(await self.store.free_ports([]), [])

    async def test_many_at_once_and_one_wins(self):
        asked = [self.store.reserve(attr.evolve(NAME, token=f"id{number}")) for number in range(20)]
        results = await gatherResults([one.addErrback(lambda reason: reason.trap(Taken)) for one in asked])
        won = [result for result in results if result is not Taken]
        self.assertEqual(len(won), 1)
        self.assertEqual(await self.store.reservation("blog"), won[0])

    async def test_some_tokens_by_id(self):
        await self.store.add_token(TOKEN)
        await self.store.add_token(OTHER)
        self.assertEqual(await self.store.find_tokens(["id1", "nobody"]), {"id1": TOKEN})
        self.assertEqual(await self.store.find_tokens([]), {})
        many = [f"id{number}" for number in range(1200)]
        self.assertEqual(await self.store.find_tokens(many), {"id1": TOKEN, "id2": OTHER})

    async def test_token_is_changed_and_stays_the_owner(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(NAME)
        changes = {"role": "viewer", "digest": b"\x03" * 32, "max_names": 5}
        changed = await self.store.change_token("laptop", changes)
        self.assertEqual(changed, attr.evolve(TOKEN, **changes, version=1))
        self.assertEqual(await self.store.token("id1"), changed)
        again = await self.store.change_token("laptop", {"max_names": None, "max_sessions": 2})
        self.assertEqual(again, attr.evolve(changed, max_names=None, max_sessions=2, version=2))
        self.assertEqual(await self.store.tokens(), [again])
        self.assertEqual((await self.store.reservation("blog")).token, "id1")
        self.assertIsNone(await self.store.change_token("nobody", {"max_names": 1}))

    async def test_some_names_at_once(self):
        await self.store.reserve(NAME)
        many = [f"name{number}" for number in range(1200)]
        found = await self.store.find_reservations(["blog", *many])
        self.assertEqual(found, {"blog": NAME, **dict.fromkeys(many)})
        self.assertEqual(await self.store.find_reservations([]), {})

    async def test_names_up_to_the_quota_and_one_more(self):
        two = Limits(names=2)
        await self.store.reserve(NAME, two)
        await self.store.reserve(attr.evolve(NAME, name="shop"), two)
        with self.assertRaises(OverQuota) as caught:
            await self.store.reserve(attr.evolve(NAME, name="one-more"), two)
        self.assertIn("name", str(caught.exception))
        self.assertIsNone(await self.store.reservation("one-more"))
        await self.store.reserve(attr.evolve(NAME, upstream="http://localhost:4000"), Limits(names=1))
        await self.store.reserve(attr.evolve(NAME, name="theirs", token="id2"), two)
        await self.store.release("shop")
        await self.store.reserve(attr.evolve(NAME, name="one-more"), two)

    async def test_ports_up_to_the_quota_and_one_more(self):
        one = Limits(ports=1)
        await self.store.reserve(attr.evolve(NAME, port=20_000), one)
        await self.store.reserve(attr.evolve(NAME, name="shop"), one)
        for wanted in (
            attr.evolve(NAME, name="shop", port=20_001),
            attr.evolve(NAME, name="db", port=20_002),
        ):
            with self.assertRaises(OverQuota) as caught:
                await self.store.reserve(wanted, one)
            self.assertIn("1 port,", str(caught.exception))
        self.assertIsNone((await self.store.reservation("shop")).port)
        self.assertEqual((await self.store.reserve(attr.evolve(NAME, port=20_003), one)).port, 20_003)
        await self.store.reserve(attr.evolve(NAME, name="theirs", token="id2", port=20_000), one)
        with self.assertRaises(Taken) as taken:
            await self.store.reserve(attr.evolve(NAME, name="shop", port=20_000), one)
        self.assertNotIsInstance(taken.exception, OverQuota)

    async def test_of_many_names_at_once_the_quota_is_kept(self):
        three = Limits(names=3)
        wanted = [attr.evolve(NAME, name=f"name{number}") for number in range(20)]
        asked = [self.store.reserve(one, three).addErrback(lambda reason: None) for one in wanted]
        self.assertEqual(sum(one is not None for one in await gatherResults(asked)), 3)
        self.assertEqual(len(await self.store.reservations()), 3)

    async def test_opened_and_released_at_once_one_after_the_other(self):
        """Whatever comes first: the port is the name's that is there then, and of no other."""
        for number in range(10):
            await self.store.reserve(attr.evolve(NAME, port=20_000))
            other = attr.evolve(NAME, name="shop", token="id2", port=20_000)
            asked = [self.store.release("blog"), self.store.reserve(other).addErrback(lambda reason: None)]
            await gatherResults(asked if number % 2 else asked[::-1])
            names = {one.name: one.port for one in await self.store.reservations()}
            self.assertIn(names, [{"shop": 20_000}, {}])
            await self.store.release("shop")

    async def test_transferred_name_is_the_other_tokens(self):
        await self.store.reserve(attr.evolve(NAME, assigned=True, port=20_000, used=60.0))
        (moved,) = await self.store.transfer("blog", "id2")
        expected = attr.evolve(
            NAME, assigned=True, port=20_000, token="id2", used=60.0, asked=True, version=1
        )
        self.assertEqual(moved, expected)
        self.assertEqual(await self.store.reservation("blog"), expected)
        key = ("agent1", "http", "http://localhost:3000")
        self.assertIsNone(await self.store.remembered("id1", *key))
        self.assertEqual(await self.store.remembered("id2", *key), expected)
        with self.assertRaises(Taken):
            await self.store.reserve(NAME)
        again = await self.store.reserve(attr.evolve(NAME, token="id2"))
        self.assertEqual((again.port, again.version), (20_000, 1))
        self.assertEqual(await self.store.transfer("nobodys", "id2"), [])
        self.assertEqual(await self.store.transfer("blog", "id3", "id1"), [], "it is another's by now")
        self.assertEqual((await self.store.transfer("blog", "id1", "id2"))[0].version, 2)

    async def test_a_name_and_its_wildcard_never_get_two_owners(self):
        """Whatever was looked up before: each of these comes between another token's look and its step."""
        wild = attr.evolve(NAME, name="*.blog")
        theirs = attr.evolve(NAME, token="id2")
        await self.store.reserve(NAME)
        self.assertEqual(await self.store.release("blog"), ["blog"])
        await self.store.reserve(theirs)
        with self.assertRaisesRegex(Taken, "'blog' belongs to another token, and .*blog' with it"):
            await self.store.reserve(wild)
        await self.store.release("blog")
        # A wildcard comes with its label.
        await self.store.reserve(wild)
        with self.assertRaises(Taken):
            await self.store.reserve(theirs)
        self.assertEqual(await self.owners(), {"blog": "id1", "*.blog": "id1"})
        # Both are released, and both transferred, of whichever was looked up alone.
        self.assertEqual(await self.store.release("blog", "id2"), [])
        self.assertEqual(set(await self.store.release("blog", "id1")), {"blog", "*.blog"})
        self.assertEqual(await self.owners(), {})
        for name, other in (("blog", "*.blog"), ("*.blog", "blog")):
            await self.store.reserve(wild)
            self.assertEqual(await self.store.transfer(name, "id2", "id3"), [])
            moved = await self.store.transfer(name, "id2", "id1")
            self.assertEqual([one.asked for one in moved], [True, True])
            self.assertEqual(moved, [await self.store.reservation(each) for each in (name, other)])
            for mine in (NAME, wild):
                with self.assertRaises(Taken):
                    await self.store.reserve(mine)
            self.assertEqual(await self.owners(), {"blog": "id2", "*.blog": "id2"})
            self.assertEqual(set(await self.store.release(name)), {"blog", "*.blog"})

    async def owners(self):
        return {one.name: one.token for one in await self.store.reservations()}

    async def test_two_tokens_that_ask_for_a_name_and_its_wildcard_at_once(self):
        wild = attr.evolve(NAME, name="*.blog")
        asking = [
            lambda: self.store.reserve(wild),
            lambda: self.store.reserve(attr.evolve(NAME, token="id2")),
            lambda: self.store.transfer("blog", "id3"),
            lambda: self.store.reserve(attr.evolve(wild, token="id3")),
            lambda: self.store.release("*.blog"),
        ]
        for order in permutations(asking):
            await gatherResults([ask().addErrback(lambda reason: reason.trap(Taken)) for ask in order])
            owners = set((await self.owners()).values())
            self.assertLessEqual(len(owners), 1)
            await self.store.release("blog")
            self.assertEqual(await self.owners(), {})

    async def test_domains_have_no_twins(self):
        await self.store.reserve(attr.evolve(NAME, name="example.org"))
        await self.store.reserve(attr.evolve(NAME, name="www.example.org", token="id2"))
        self.assertEqual(await self.store.release("example.org"), ["example.org"])
        self.assertEqual(await self.owners(), {"www.example.org": "id2"})

    async def test_a_wildcard_that_has_a_port_is_two_names_too(self):
        await self.store.reserve(attr.evolve(NAME, name="other", token="id2", port=20_001))
        wild = attr.evolve(NAME, name="*.blog", port=20_000)
        with self.assertRaises(OverQuota):
            await self.store.reserve(wild, Limits(names=1))
        await self.store.reserve(wild, Limits(names=2))
        self.assertEqual(await self.owners(), {"blog": "id1", "*.blog": "id1", "other": "id2"})

    async def test_the_label_that_a_wildcard_is_under_is_kept_with_it(self):
        given = attr.evolve(NAME, assigned=True, used=100.0, port=20_000, port_assigned=True)
        await self.store.reserve(given)
        wild = attr.evolve(NAME, name="*.blog", used=100.0)
        await self.store.reserve(wild, Limits(names=2))
        self.assertEqual(await self.store.reservation("blog"), attr.evolve(given, asked=True))
        await self.store.reserve(wild, Limits(names=1))  # renewing is always allowed
        self.assertEqual(await self.store.free_unused(150.0, 300.0), ["blog"])
        kept = attr.evolve(given, asked=True, port=None, port_assigned=None)
        self.assertEqual(await self.store.reservation("blog"), kept)
        await self.store.release("blog")
        for limit in (0, 1):
            with self.assertRaises(OverQuota):
                await self.store.reserve(wild, Limits(names=limit))
            self.assertEqual(await self.owners(), {})
        await self.store.reserve(wild, Limits(names=2))
        self.assertEqual(await self.owners(), {"blog": "id1", "*.blog": "id1"})
        made = await self.store.reservation("blog")
        self.assertEqual((made.kind, made.upstream, made.used, made.asked), ("", "", None, True))

    async def test_what_the_server_chose_is_freed_if_nobody_uses_it(self):
        mine = attr.evolve(NAME, used=100.0)
        for one in (
            mine,
            attr.evolve(mine, name="asked", port=20_000, port_assigned=False),
            attr.evolve(mine, name="asked-port-given", port=20_001, port_assigned=True),
            attr.evolve(mine, name="given", assigned=True),
            attr.evolve(mine, name="given-with-port", assigned=True, port=20_002, port_assigned=True),
            attr.evolve(mine, name="given-port-asked", assigned=True, port=20_003, port_assigned=False),
            attr.evolve(mine, name="given-used", assigned=True, used=200.0),
            attr.evolve(mine, name="given-then-asked", assigned=True, upstream="a"),
            attr.evolve(mine, name="old-with-port", assigned=True, port=20_004),
            attr.evolve(mine, name="old-asked", port=20_005),
            attr.evolve(mine, name="unknown", assigned=True, used=None, upstream="b"),
            attr.evolve(mine, name="moved", assigned=True, upstream="c"),
        ):
            await self.store.reserve(one)
        await self.store.reserve(attr.evolve(mine, name="given-then-asked", upstream="a", asked=True))
        await self.store.transfer("moved", "id2")
        before = {one.name: one for one in await self.store.reservations()}
        self.assertEqual(await self.store.free_unused(100.0, 300.0), [])
        self.assertEqual(
            await self.store.free_unused(150.0, 300.0),
            ["asked-port-given", "given", "given-with-port", "old-with-port"],
        )
        left = {one.name: one for one in await self.store.reservations()}
        for name in ("given", "given-with-port", "old-with-port"):
            del before[name]
        before["asked-port-given"] = attr.evolve(before["asked-port-given"], port=None, port_assigned=None)
        before["unknown"] = attr.evolve(before["unknown"], used=300.0)
        self.assertEqual(left, before)
        for number, port in enumerate((20_001, 20_002, 20_004)):
            await self.store.reserve(attr.evolve(NAME, name=f"new{number}", token="id2", port=port))
        self.assertIsNone(await self.store.remembered(*(NAME.token, NAME.agent, NAME.kind, "given")))

    async def test_use_keeps_what_the_server_chose(self):
        await self.store.reserve(attr.evolve(NAME, assigned=True, used=100.0))
        await self.store.reserve(attr.evolve(NAME, name="shop", assigned=True, used=100.0, upstream="x"))
        await self.store.names_used(["blog", "nobodys"], 50_000.5)
        self.assertIsNone(await self.store.reservation("nobodys"))
        self.assertEqual((await self.store.reservation("blog")).used, 50_000.5)
        for used, kept in (
            (None, 50_000.5),
            (40_000.0, 50_000.5),
            (53_600.0, 50_000.5),
            (53_600.5, 53_600.5),
        ):
            again = await self.store.reserve(attr.evolve(NAME, assigned=True, used=used))
            self.assertEqual(again.used, kept)
        self.assertEqual(await self.store.free_unused(53_600.5, 60_000.0), ["shop"])

    async def test_freed_or_opened_at_once_it_is_one_of_both(self):
        for number in range(10):
            await self.store.reserve(attr.evolve(NAME, assigned=True, used=float(number)))
            opened = attr.evolve(NAME, assigned=True, used=10_000.0)
            asked = [self.store.free_unused(5000.0, 10_000.0), self.store.reserve(opened)]
            await gatherResults(asked if number % 2 else asked[::-1])
            self.assertEqual((await self.store.reservation("blog")).used, 10_000.0)
            await self.store.release("blog")

    async def test_notes_are_kept_by_space_and_key(self):
        self.assertIsNone(await self.store.note("a", "x"))
        await self.store.put_note("a", "x", "one\ntwo")
        await self.store.put_note("a", "y", "")
        await self.store.put_note("b", "x", "äö")
        self.assertEqual(await self.store.note("a", "x"), "one\ntwo")
        self.assertEqual(await self.store.note("a", "y"), "")
        self.assertEqual(await self.store.notes("a"), {"x": "one\ntwo", "y": ""})
        self.assertEqual(await self.store.notes("b"), {"x": "äö"})
        self.assertEqual(await self.store.notes("c"), {})

    async def test_some_notes_at_once(self):
        await self.store.put_note("a", "x", "one")
        await self.store.put_note("a", "y", "", 1000)
        await self.store.put_note("a", "over", "two", 0.01)
        await self.store.put_note("b", "z", "three")
        await deferLater(reactor, 0.05)
        many = [f"key{number}" for number in range(1200)]
        found = await self.store.find_notes("a", ["x", "over", "z", *many, "y"])
        self.assertEqual(found, {"x": "one", "over": None, "z": None, **dict.fromkeys(many), "y": ""})
        self.assertEqual(await self.store.find_notes("a", []), {})

    async def test_note_whose_time_is_over_is_gone(self):
        await self.store.put_note("a", "short", "x", 0.05)
        await self.store.put_note("a", "long", "y", 1000)
        await self.store.put_note("a", "renewed", "z", 0.05)
        await self.store.put_note("a", "renewed", "z", None)
        await self.store.put_note("a", "given-a-time", "z")
        await self.store.put_note("a", "given-a-time", "z", 0.05)
        await deferLater(reactor, 0.1)
        self.assertIsNone(await self.store.note("a", "short"))
        self.assertTrue(await self.store.swap_note("a", "short", None, None))
        self.assertEqual(await self.store.notes("a"), {"long": "y", "renewed": "z"})

    async def test_note_is_swapped_for_what_it_was(self):
        swap = self.store.swap_note
        self.assertFalse(await swap("a", "x", "old", "new"))
        self.assertTrue(await swap("a", "x", None, "first", 1000))
        self.assertFalse(await swap("a", "x", None, "second"))
        self.assertFalse(await swap("a", "x", "", "second"))
        self.assertTrue(await swap("a", "x", "first", ""))
        self.assertTrue(await swap("a", "x", "", "second"))
        self.assertEqual(await self.store.note("a", "x"), "second")
        self.assertTrue(await swap("a", "x", "second", None))
        self.assertIsNone(await self.store.note("a", "x"))

    async def test_of_many_swaps_at_once_one_wins(self):
        asked = [self.store.swap_note("lock", "x", None, str(number), 1000) for number in range(20)]
        self.assertEqual(sum(await gatherResults(asked)), 1)


class Memory(StoreSuite, TestCase):
    def make(self):
        return MemoryStore()

    async def test_notes_whose_time_is_over_take_no_room(self):
        """Nobody has to ask for them."""
        now = 10_000.0
        store = MemoryStore(lambda: now)
        for number in range(100):
            await store.put_note("events", str(number), "x", 50.0)
            now += 1.0
        self.assertLessEqual(len(store._notes), 60)


class WithRedis:
    """A real redis-server for a test case; a database of its own for each test."""

    @classmethod
    def setUpClass(cls):
        cls.redis = RedisServer("--requirepass", "secret", "--databases", "100")
        cls.databases = iter(range(100))

    @classmethod
    def tearDownClass(cls):
        cls.redis.stop()

    def make(self, password="secret"):
        if not hasattr(self, "database"):
            self.redis.revive()  # whatever the test before left
            self.database = next(self.databases)
        url = f"redis://:{password}@127.0.0.1:{self.redis.port}/{self.database}"
        return RedisStore(reactor, RedisAddress.parse(url))

    async def eventually(self, ask):
        """The answer, once Redis is asked successfully again."""
        for _ in range(100):
            try:
                return await ask()
            except StoreError:
                await deferLater(reactor, 0.1)
        raise AssertionError("Redis is not used again")


class InRedis(WithRedis, StoreSuite, TestCase):
    async def test_what_changes_nothing_writes_nothing(self):
        def generations():
            return self.redis.ask("HVALS", "burrow:generations", database=self.database)

        await self.store.add_token(TOKEN)
        await self.store.token_used("id1", 100.0)
        kept = await self.store.reserve(attr.evolve(NAME, port=20_000, assigned=True, used=100.0))
        before = generations()
        self.assertEqual(await self.store.reserve(attr.evolve(NAME, used=101.0)), kept)
        await self.store.token_used("id1", 101.0)
        self.assertEqual(generations(), before)
        await self.store.reserve(attr.evolve(NAME, upstream="localhost:1"))
        self.assertNotEqual(generations(), before)

    async def test_notes_whose_time_is_over_take_no_room(self):
        """Nobody has to ask for them."""
        for number in range(30):
            await self.store.put_note("events", str(number), "x", 0.01)
        await self.store.put_note("events", "kept", "x", 0.01)
        await self.store.put_note("events", "kept", "x")
        await deferLater(reactor, 0.05)
        for number in range(3):
            await self.store.put_note("events", f"new{number}", "x", 1000)
        kept = self.redis.ask("HKEYS", "burrow:notes:events", database=self.database)
        self.assertEqual(sorted(kept), [b"kept", b"new0", b"new1", b"new2"])
        ends = self.redis.ask("ZCARD", "burrow:notes:events:ends", database=self.database)
        self.assertEqual(ends, b"3")
        await self.store.swap_note("events", "new0", "x", None)
        self.assertEqual(self.redis.ask("ZCARD", "burrow:notes:events:ends", database=self.database), b"2")

    async def test_everything_outlives_the_process(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(attr.evolve(NAME, port=20_000, assigned=True))
        await self.store.close()
        self.store = self.make()
        await self.store.open()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertEqual(await self.store.reservation("blog"), attr.evolve(NAME, port=20_000, assigned=True))

    async def test_records_of_other_releases(self):
        """Of the one before, without today's fields; of a later one, with fields that we do not know."""
        other = txredisapi.lazyConnection("127.0.0.1", self.redis.port, self.database, password="secret")
        self.addCleanup(other.disconnect)
        token = {"id": "id1", "name": "laptop", "role": "agent", "digest": "01" * 32, "created": 100.0}
        name = {field: value for field, value in attr.asdict(NAME).items() if field not in NEW_FIELDS}
        for later in ({}, {"later": [1]}):
            await other.hset("burrow:tokens", "id1", json.dumps({**token, "last_used": None, **later}))
            await other.hset("burrow:token-names", "laptop", "id1")
            await other.hset("burrow:reservations", "blog", json.dumps({**name, **later}))
            # The release before did not count names: who starts now does that.
            await self.store.close()
            self.store = self.make()
            await self.store.open()
            self.assertEqual(await self.store.token("id1"), TOKEN)
            self.assertEqual(await self.store.tokens(), [TOKEN])
            self.assertEqual(await self.store.reservation("blog"), NAME)
            changed = await self.store.change_token("laptop", {"max_names": 1})
            self.assertEqual(changed, attr.evolve(TOKEN, max_names=1, version=1))
            with self.assertRaises(OverQuota):
                await self.store.reserve(attr.evolve(NAME, name="shop"), Limits(names=1))
            await self.store.reserve(attr.evolve(NAME, used=150.0), Limits(names=1))
            self.assertEqual((await self.store.transfer("blog", "id2"))[0].version, 1)
            await self.store.names_used(["blog"], 200.0)
            kept = json.loads(await other.hget("burrow:reservations", "blog"))
            self.assertEqual({key: kept.get(key) for key in later}, later)
            kept = json.loads(await other.hget("burrow:tokens", "id1"))
            self.assertEqual({key: kept.get(key) for key in later}, later)
            await self.store.release("blog")
            self.assertEqual(await self.store.free_unused(300.0, 300.0), [])

    async def test_wrong_password_and_nobody_there(self):
        self.patch(connection, "TIMEOUT", 0.5)
        with self.assertRaisesRegex(StoreError, "WRONGPASS"):
            await self.make("wrong").open()
        with self.assertRaisesRegex(StoreError, "does not answer"):
            await RedisStore(reactor, RedisAddress.parse("redis://127.0.0.1:1")).open()

    @pytest.mark.slow
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
        self.assertTrue(await self.eventually(self.store.guard.went_back))
        for ask in (lambda: self.store.reservation("blog"), lambda: self.store.reserve(NAME)):
            with self.assertRaises(WentBack):
                await ask()
        await self.store.guard.settle()
        self.assertEqual(await self.store.reserve(NAME), NAME)

    def test_addresses(self):
        whole = RedisAddress.parse("redis://me:p%40ss@redis.example:7000/2")
        expected = RedisAddress((("redis.example", 7000),), 2, "me", "p@ss")
        self.assertEqual(whole, expected)
        secure = RedisAddress.parse("rediss://redis.example?ca_file=/ca.pem")
        expected = RedisAddress((("redis.example", 6379),), tls=True, ca_file=Path("/ca.pem"))
        self.assertEqual(secure, expected)
        sentinel = RedisAddress.parse("redis+sentinel://:pw@a,[::1]:26380/main/3")
        hosts = (("a", 26379), ("::1", 26380))
        self.assertEqual(sentinel, RedisAddress(hosts, 3, None, "pw", master="main"))
        self.assertNotIn("p@ss", repr(whole))
        for bad in (
            *("mysql://x", "redis://", "redis://x:0x", "redis://x:0", "redis://x/y", "redis://x/1/2", "x"),
            *("redis://x?ca_file=/x", "rediss://x?other=1", "redis+sentinel://x", "redis+sentinel://a,/main"),
        ):
            with self.assertRaises(ConfigError):
                RedisAddress.parse(bad)


class OverTLS(TestCase):
    def setUp(self):
        folder = Path(tempfile.mkdtemp())
        self.ca, _ = files = make_certificate(folder, "localhost")
        self.redis = RedisServer(tls=files)
        self.addCleanup(self.redis.stop)

    async def test_redis_over_tls(self):
        url = f"rediss://localhost:{self.redis.port}/1?ca_file={self.ca}"
        store = RedisStore(reactor, RedisAddress.parse(url))
        await store.open()
        await store.add_token(TOKEN)
        self.assertEqual(await store.token("id1"), TOKEN)
        await store.close()

    async def test_certificate_that_nobody_vouches_for(self):
        self.patch(connection, "TIMEOUT", 0.5)
        store = RedisStore(reactor, RedisAddress.parse(f"rediss://localhost:{self.redis.port}"))
        with self.assertRaisesRegex(StoreError, "does not answer"):
            await store.open()


class ThroughSentinel(TestCase):
    @pytest.mark.slow
    async def test_replica_takes_over_when_the_master_dies(self):
        self.patch(connection, "TIMEOUT", 1.0)
        master = RedisServer()
        self.addCleanup(master.stop)
        replica = RedisServer("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
        self.addCleanup(replica.stop)
        sentinel = Sentinel(master)
        self.addCleanup(sentinel.stop)
        address = RedisAddress.parse(f"redis+sentinel://127.0.0.1:{sentinel.port}/main")
        store = KnownStore(reactor, RedisStore(reactor, address))
        await store.open()
        # txredisapi's question who is the master has a timer that closing does not end.
        self.addCleanup(lambda: deferLater(reactor, connection.TIMEOUT))
        self.addCleanup(store.close)
        await store.add_token(TOKEN)
        while not await self.has_token(replica):
            await deferLater(reactor, 0.05)
        while not sentinel.knows_replicas():
            await deferLater(reactor, 0.05)
        master.stop()
        self.assertEqual(await store.token("id1"), TOKEN)
        for _ in range(600):
            try:
                await store.reserve(NAME)
                break
            except StoreError:
                await deferLater(reactor, 0.05)
        else:
            raise AssertionError("the replica is not used")
        self.assertTrue(await self.has_token(replica))
        self.assertIn(b'"blog"', replica.ask("HGET", "burrow:reservations", "blog"))

    async def has_token(self, redis):
        other = await txredisapi.Connection("127.0.0.1", redis.port)
        found = await other.hexists("burrow:tokens", "id1")
        await other.disconnect()
        return found


class Known(WithRedis, StoreSuite, TestCase):
    """The store of a server, which goes on while Redis does not."""

    def make(self):
        return KnownStore(reactor, super().make())

    async def until(self, condition):
        for _ in range(200):
            if await condition():
                return
            await deferLater(reactor, 0.05)
        raise AssertionError("it did not come to be")

    async def flushes(self):
        """Empty this test's database behind the store's back."""
        other = txredisapi.lazyConnection("127.0.0.1", self.redis.port, self.database, password="secret")
        await other.flushdb()
        await other.disconnect()

    async def test_what_is_known_is_served_while_redis_is_away_and_written_when_it_is_back(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(attr.evolve(NAME, assigned=True))
        await self.store.put_note("a", "x", "text")
        self.redis.stop()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        await self.store.token_used("id1", 123.5)
        renewed = await self.store.reserve(attr.evolve(NAME, upstream="http://localhost:4000", assigned=True))
        self.assertEqual((await self.store.reservation("blog")).upstream, "http://localhost:4000")
        key = ("id1", "agent1", "http", "http://localhost:4000")
        self.assertEqual(await self.store.remembered(*key), renewed)
        self.assertEqual(await self.store.note("a", "x"), "text")
        self.assertEqual(await self.store.find_notes("a", ["x", "unknown"]), {"x": "text"})
        for asked in (
            lambda: self.store.reserve(attr.evolve(NAME, token="id2")),
            lambda: self.store.reserve(attr.evolve(NAME, port=20_000)),
            lambda: self.store.reserve(attr.evolve(NAME, name="new")),
            lambda: self.store.token("unknown"),
            lambda: self.store.reservation("unknown"),
            lambda: self.store.swap_note("a", "x", "text", "other"),
        ):
            with self.assertRaises(StoreError):
                await asked()
        self.redis.start()
        # It kept nothing: all of it comes from the server's memory.
        await self.until(self.written)
        self.assertEqual((await self.store.token("id1")).last_used, 123.5)
        self.assertEqual(await self.store.note("a", "x"), "text")

    async def written(self):
        second = super().make()
        try:
            await second.open()
            used = await second.token("id1")
            name = await second.reservation("blog")
        except StoreError:
            return False
        finally:
            await second.close()
        return used and used.last_used == 123.5 and name and name.upstream == "http://localhost:4000"

    async def test_flushed_redis_is_filled_before_it_is_believed(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(NAME)
        await self.flushes()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        await self.flushes()
        with self.assertRaises(Taken):
            await self.store.reserve(attr.evolve(NAME, token="id2"))
        await self.flushes()
        self.assertEqual(await self.store.reservation("blog"), NAME)

    async def test_a_label_is_not_free_because_its_wildcard_was_lost(self):
        wild = attr.evolve(NAME, name="*.blog")
        await self.store.reserve(wild)
        # The label as an older release released it, alone; the wildcard without a trace.
        self.redis.ask("HSET", "burrow:marks", "name:blog", "0", database=self.database)
        self.redis.ask("HDEL", "burrow:reservations", "blog", "*.blog", database=self.database)
        theirs = attr.evolve(NAME, token="id2")
        with self.assertRaisesRegex(StoreError, "write it again"):
            await self.store.reserve(theirs)
        self.patch(mending, "SETTLE", 0.0)
        with self.assertRaisesRegex(Taken, "belongs to another token, and 'blog' with it"):
            await self.store.reserve(theirs)
        self.assertEqual(await self.store.reservation("*.blog"), wild)

    async def test_what_a_flush_took_may_be_known_to_another_server(self):
        """Until that has written it, nothing is said to be missing, or free."""
        second = KnownStore(reactor, super().make())
        await second.open()
        self.addCleanup(second.close)
        second._polling.stop()
        await second.add_token(TOKEN)
        await second.reserve(attr.evolve(NAME, assigned=True))
        await second.put_note(CERTIFICATES, "blog", "text")
        await self.flushes()
        key = (NAME.token, NAME.agent, NAME.kind, NAME.upstream)
        for ask in (
            lambda: self.store.token("id1"),
            lambda: self.store.reservation("blog"),
            lambda: self.store.remembered(*key),
            lambda: self.store.reserve(attr.evolve(NAME, token="id2")),
            lambda: self.store.note(CERTIFICATES, "blog"),
        ):
            with self.assertRaisesRegex(StoreError, "write it again"):
                await ask()
            self.assertFalse(self.store.whole)
        self.assertEqual(await self.store.find_notes(CERTIFICATES, ["blog"]), {}, "it cannot tell")
        await second._polling.poll()
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertEqual((await self.store.remembered(*key)).name, "blog")
        self.assertEqual(await self.store.note(CERTIFICATES, "blog"), "text")
        self.assertEqual(await self.store.find_notes(CERTIFICATES, ["blog"]), {"blog": "text"})
        with self.assertRaises(Taken):
            await self.store.reserve(attr.evolve(NAME, token="id2"))
        self.patch(mending, "SETTLE", 0.0)
        self.assertTrue(self.store.whole)
        self.assertIsNone(await self.store.reservation("other"))

    async def test_redis_that_was_flushed_while_a_server_started(self):
        """One that had seen it before knows; one that comes for the first time takes it as it is."""
        mark = Path(tempfile.mkdtemp()) / "state" / "mark"
        for flushed in (False, False, True, False):
            if flushed:
                await self.flushes()
            second = KnownStore(reactor, super().make(), mark)
            await second.open()
            self.assertEqual(second.whole, not flushed)
            await second.close()

    async def test_only_server_has_nobody_to_wait_for(self):
        only = KnownStore(reactor, super().make(), alone=lambda: True)
        await only.open()
        self.addCleanup(only.close)
        await self.flushes()
        self.assertIsNone(await only.token("unknown"))
        self.assertTrue(only.whole)

    async def test_mark_that_cannot_be_kept(self):
        mark = Path(tempfile.mkdtemp())
        second = KnownStore(reactor, super().make(), mark)
        await second.open()
        self.assertTrue(second.whole)
        await second.close()

    async def test_revoked_token_and_released_name_are_no_flush(self):
        await self.store.add_token(TOKEN)
        await self.store.reserve(NAME)
        second = super().make()
        await second.open()
        await second.revoke_token("laptop")
        await second.release("blog")
        await second.close()
        self.assertIsNone(await self.store.token("id1"))
        self.assertIsNone(await self.store.reservation("blog"))
        self.redis.stop()
        self.assertIsNone(await self.store.token("id1"))  # for ever
        with self.assertRaises(StoreError):
            await self.store.reservation("blog")

    @pytest.mark.slow
    async def test_stopped_redis(self):
        self.patch(connection, "TIMEOUT", 0.5)
        await self.store.add_token(TOKEN)
        self.redis.pause()
        for _ in range(20):
            self.assertEqual(await self.store.token("id1"), TOKEN)
        self.redis.go_on()
        await self.until(lambda: self.reserved(attr.evolve(NAME, name="new")))

    async def test_redis_that_takes_long(self):
        """What is known is said before it is sure that Redis is away; what is not, Redis still may say."""
        await self.store.add_token(TOKEN)
        self.store._polling.stop()
        self.redis.pause()
        self.addCleanup(self.redis.go_on)
        unknown = self.store.token("unknown")
        self.assertEqual(await self.store.token("id1"), TOKEN)
        self.assertFalse(self.store._questions.away)
        self.redis.go_on()
        self.assertIsNone(await unknown)

    async def reserved(self, reservation):
        try:
            return await self.store.reserve(reservation)
        except StoreError:
            return None
