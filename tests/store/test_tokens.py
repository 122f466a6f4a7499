"""Tests for L{burrow.store.tokens}."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.store.memory import MemoryStore
from burrow.store.tokens import check_token, make_token


class Tokens(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore()
        self.text, self.token = make_token("laptop", "agent", 1.0)
        self.store.add_token(self.token)

    def check(self, text):
        return self.successResultOf(Deferred.fromCoroutine(check_token(self.store, text)))

    def test_whole_token_is_known(self):
        self.assertEqual(self.check(self.text), self.token)

    def test_everything_else_is_not(self):
        swapped = self.text[:-1] + ("a" if self.text[-1] != "a" else "b")
        unknown = self.text.replace(self.token.id, "0000000000")
        for text in (
            "",
            "burrow_",
            self.token.id,
            swapped,
            unknown,
            self.text + "a",
            self.text.upper(),
            "ü" * 50,
        ):
            self.assertIsNone(self.check(text))

    def test_revoked_token_is_not_known(self):
        self.store.revoke_token("laptop")
        self.assertIsNone(self.check(self.text))

    def test_secret_is_nowhere_in_the_record(self):
        secret = self.text.rpartition("_")[2]
        self.assertNotIn(secret.encode(), self.token.digest)
        self.assertNotIn(secret, repr(self.token))
        self.assertNotIn(repr(self.token.digest), repr(self.token))

    def test_impossible_names_and_roles(self):
        for name in ("", "a b", "-x", "x" * 64, "a\n"):
            with self.assertRaises(ConfigError):
                make_token(name, "agent", 1.0)
        with self.assertRaises(ConfigError):
            make_token("x", "emperor", 1.0)
