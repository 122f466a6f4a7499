"""What must hold of what every store tells of its changes: mixed into the suite of all stores."""

import attr
from twisted.internet import reactor
from twisted.internet.task import deferLater

from burrow.store.base import Reservation, Token
from burrow.store.changes import Note

TOKEN = Token("id1", "laptop", "agent", b"\x01" * 32, 100.0)
NAME = Reservation("blog", "tcp", "id1", "agent1", "localhost:3000", 20_000, True, 50.0, used=10.0)


class ChangesSuite:
    """Mixed into a test case that has C{store}, open."""

    version = ""

    async def told(self, *spaces, note=None):
        """What changed since the last time."""
        changes = await self.store.changes(spaces, self.version, note)
        self.version = changes.version
        return changes

    async def assert_told(self, *, notes=None, tokens=(), names=()):
        """Just this changed since the last time; and then nothing more."""
        changes = await self.told("a", "b")
        self.assertFalse(changes.whole)
        self.assertEqual(changes.notes, {"a": {}, "b": {}, **(notes or {})})
        self.assertEqual((changes.tokens, changes.names), (set(tokens), set(names)))
        again = await self.told("a", "b")
        self.assertEqual((again.whole, again.notes), (False, {"a": {}, "b": {}}))
        self.assertEqual((again.tokens, again.names), (set(), set()))

    async def test_first_everything_is_told(self):
        await self.store.put_note("a", "one", "1")
        await self.store.put_note("a", "two", "2", 100.0)
        await self.store.put_note("c", "three", "3")
        changes = await self.told("a", "b")
        self.assertTrue(changes.whole)
        self.assertEqual(changes.notes, {"a": {"one": "1", "two": "2"}, "b": {}})
        await self.assert_told()

    async def test_versions_that_are_not_known(self):
        await self.told("a")
        for version in ("nonsense", "x:1", ":", "1:1", self.version + "9", "-1"):
            changes = await self.store.changes(("a",), version)
            self.assertTrue(changes.whole, version)

    async def test_each_change_of_a_note_is_told_once(self):
        await self.told("a", "b")
        await self.store.put_note("a", "one", "1", 100.0)
        await self.store.put_note("b", "one", "")
        await self.store.put_note("c", "one", "1")
        await self.assert_told(notes={"a": {"one": "1"}, "b": {"one": ""}})
        await self.store.put_note("a", "one", "1", 200.0)
        await self.store.swap_note("a", "one", "1", "1", 300.0)
        await self.store.swap_note("a", "one", "other", "2", 300.0)
        await self.store.swap_note("a", "two", "other", None)
        await self.store.swap_note("a", "two", None, None)
        await self.assert_told()  # the same text, with more time; and what was not done
        await self.store.swap_note("a", "one", "1", "2", 300.0)
        await self.store.swap_note("b", "one", "", None)
        await self.store.swap_note("b", "two", None, "3")
        await self.assert_told(notes={"a": {"one": "2"}, "b": {"one": None, "two": "3"}})

    async def test_note_that_is_kept_with_the_question(self):
        note = Note("a", "beat", "1", 100.0)
        first = await self.told("a", note=note)
        self.assertEqual((first.renewed, first.notes["a"]), (False, {"beat": "1"}))
        second = await self.told("a", note=attr.evolve(note, text="2"))
        self.assertEqual((second.whole, second.renewed, second.notes["a"]), (False, True, {"beat": "2"}))
        self.assertEqual(await self.store.note("a", "beat"), "2")
        await self.store.swap_note("a", "beat", "2", None)
        third = await self.told("a", note=attr.evolve(note, text="3"))
        self.assertEqual((third.renewed, third.notes["a"]), (False, {"beat": "3"}))

    async def test_note_whose_time_was_over_and_that_is_kept_again(self):
        """With the same text: it is told, since it may have been told that it is not there."""
        await self.store.put_note("a", "one", "1", 0.02)
        await self.told("a", "b")
        await deferLater(reactor, 0.05)
        self.assertIsNone(await self.store.note("a", "one"))
        await self.store.put_note("a", "one", "1", 100.0)
        await self.assert_told(notes={"a": {"one": "1"}})

    async def test_changes_of_tokens_are_told(self):
        await self.told("a", "b")
        await self.store.add_token(TOKEN)
        await self.assert_told(tokens=["id1"])
        await self.store.token_used("id1", 500.0)
        await self.assert_told()
        await self.store.change_token("laptop", {"max_names": 3})
        await self.assert_told(tokens=["id1"])
        await self.store.revoke_token("laptop")
        await self.assert_told(tokens=["id1"])
        await self.store.revoke_token("laptop")
        await self.store.change_token("laptop", {"max_names": 4})
        await self.assert_told()

    async def test_changes_of_names_are_told(self):
        await self.told("a", "b")
        await self.store.reserve(NAME)
        await self.assert_told(names=["blog"])
        await self.store.reserve(NAME)
        await self.store.names_used(["blog"], 20.0)
        await self.assert_told()
        await self.store.reserve(attr.evolve(NAME, upstream="localhost:4000"))
        await self.assert_told(names=["blog"])
        await self.store.transfer("blog", "id2")
        await self.assert_told(names=["blog"])
        await self.store.release("blog")
        await self.assert_told(names=["blog"])
        await self.store.release("blog")
        await self.assert_told()

    async def test_names_that_are_freed_are_told(self):
        await self.store.reserve(NAME)
        await self.store.reserve(attr.evolve(NAME, name="shop", port=20_001, asked=True))
        await self.store.reserve(attr.evolve(NAME, name="kept", port=20_002, used=5000.0))
        await self.told("a", "b")
        await self.store.free_unused(1000.0, 5000.0)
        await self.assert_told(names=["blog", "shop"])
