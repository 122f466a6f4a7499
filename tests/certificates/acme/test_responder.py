"""Tests for L{burrow.certificates.acme.responder}: what CAs that validate, and others, are shown."""

import hashlib

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates.acme import responder
from burrow.certificates.acme.responder import CHALLENGE_TTL, TLSALPNResponder
from burrow.store.memory import MemoryStore


class Answers(SynchronousTestCase):
    def setUp(self):
        self.now = 0.0
        self.store = MemoryStore(lambda: self.now)
        self.responder = TLSALPNResponder(self.store)
        self.made = []
        make = responder.challenge_context
        self.patch(responder, "challenge_context", lambda *key: self.made.append(key) or make(*key))

    def context(self, name):
        return self.successResultOf(Deferred.fromCoroutine(self.responder.context(name)))

    def test_asked_for_as_often_as_anybody_likes(self):
        """One key and one signature a challenge."""
        self.responder.start_responding("a.example", None, "first")
        contexts = {self.context("a.example") for _ in range(100)}
        self.assertEqual((len(contexts), len(self.made)), (1, 1))
        self.responder.start_responding("a.example", None, "second")
        self.assertNotIn(self.context("a.example"), contexts)
        self.responder.stop_responding("a.example", None, "second")
        self.assertIsNone(self.context("a.example"))
        self.assertEqual(self.made, [("a.example", "first"), ("a.example", "second")])

    def test_challenge_that_was_not_ended(self):
        self.responder.start_responding("a.example", None, "first")
        self.now += CHALLENGE_TTL - 1
        self.assertIsNotNone(self.context("a.example"))
        self.now += 1
        self.assertIsNone(self.context("a.example"))
        self.assertEqual(self.responder._contexts, {})

    def test_contexts_at_the_bound_and_one_over(self):
        self.patch(responder, "MAX_CONTEXTS", 3)
        for number in range(4):
            self.responder.start_responding(f"n{number}.example", None, "x")
        for number in (0, 1, 2, 0, 1, 2):
            self.context(f"n{number}.example")
        self.assertEqual(len(self.made), 3)
        self.context("n3.example")
        self.assertEqual(len(self.responder._contexts), 3)
        self.assertIsNotNone(self.context("n0.example"))
        self.assertEqual(len(self.made), 5)

    def test_certificate_of_a_challenge(self):
        """RFC 8737 section 3: the name, and the digest of the key authorization, critical."""
        self.responder.start_responding("a.example", None, "token.thumbprint")
        context = self.context("a.example")
        shown = SSL.Connection(context, None).get_certificate().to_cryptography()
        self.assertEqual(shown.subject.rfc4514_string(), "CN=acme-tls/1")
        (extension,) = [one for one in shown.extensions if one.critical]
        self.assertEqual(extension.oid.dotted_string, "1.3.6.1.5.5.7.1.31")
        digest = hashlib.sha256(b"token.thumbprint").digest()
        self.assertEqual(extension.value.value, b"\x04\x20" + digest)
