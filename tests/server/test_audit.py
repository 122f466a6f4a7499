"""Tests for L{burrow.server.audit}."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server import audit
from burrow.server.audit import Audit, Entry, audit_command
from burrow.store.memory import MemoryStore
from burrow.store.spaces import AUDIT


class Auditing(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.store = MemoryStore(self.clock.seconds)
        self.audit = Audit(self.store, self.clock.seconds)

    def add(self, *texts):
        self.successResultOf(Deferred.fromCoroutine(self.audit.add(*texts)))

    def entries(self):
        return self.successResultOf(Deferred.fromCoroutine(self.audit.entries()))

    def test_entries_in_the_order_of_their_times(self):
        self.add("ann", "token.create", "x", "192.0.2.1")
        self.clock.advance(1)
        self.add("bob", "name.release", "a\x1b[2Jb" + "c" * 1000, "192.0.2.2", "failed: why")
        first, second = self.entries()
        self.assertEqual(first, Entry(1e6, "ann", "token.create", "x", "192.0.2.1", "ok", first.key))
        self.assertEqual((second.when, second.result), (1e6 + 1, "failed: why"))
        self.assertNotIn("\x1b", second.target)
        self.assertEqual(len(second.target), 400)

    def test_bounds(self):
        self.patch(audit, "MOST", 10)
        self.patch(audit, "TIDY_EVERY", 5)
        for number in range(30):
            self.clock.advance(1)
            self.add("ann", "token.create", str(number), "x")
        self.assertEqual([entry.target for entry in self.entries()], [str(n) for n in range(20, 30)])
        self.assertLessEqual(len(self.successResultOf(self.store.notes(AUDIT))), 15)
        self.clock.advance(audit.KEEP + 1)
        self.assertEqual(self.entries(), [])
        self.add("ann", "token.create", "last", "x")
        self.assertEqual(len(self.successResultOf(self.store.notes(AUDIT))), 1)

    def test_entries_that_cannot_be_read_are_left_out(self):
        for number, text in enumerate(("", "[]", "{}", '{"when": "x"}', "[" * 10_000)):
            self.store.put_note(AUDIT, str(number), text)
        self.add("ann", "token.create", "x", "y")
        self.assertEqual([entry.target for entry in self.entries()], ["x"])

    def test_commands(self):
        self.successResultOf(Deferred.fromCoroutine(audit_command(self.store, "token.revoke", "ann")))
        commands = Audit(self.store)  # which use the real time
        (entry,) = self.successResultOf(Deferred.fromCoroutine(commands.entries()))
        self.assertRegex(entry.who, r"^command line \(.+\)$")
        self.assertEqual((entry.action, entry.address), ("token.revoke", "local"))
