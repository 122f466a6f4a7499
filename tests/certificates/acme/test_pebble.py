"""Tests for the words of L{burrow.certificates.acme}, and its issuer against Pebble."""

import datetime
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.defer import gatherResults, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from burrow.certificates.acme import issuer, renewals
from burrow.certificates.acme.authority import Authority
from burrow.certificates.acme.issuer import AcmeCertificates
from burrow.certificates.acme.orders import explain
from burrow.certificates.acme.problems import AcmeProblem, problem_of
from burrow.certificates.acme.renewal_info import parse_time, renewal_id
from burrow.certificates.issued import renewal_time
from burrow.errors import CertificateFailed, StoreError
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import TLSFrontFactory
from burrow.store.memory import MemoryStore
from burrow.trust import trust_root
from tests.e2e.harness import free_port
from tests.pebble import Pebble

DOMAIN = "burrow.localhost"


def certificate(serial=1, key_identifier=b"k" * 20, days=90):
    """A certificate of no use but for its fields."""
    key = ec.generate_private_key(ec.SECP256R1())
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    name = x509.Name([])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=days))
        .add_extension(x509.AuthorityKeyIdentifier(key_identifier, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )


class Words(SynchronousTestCase):
    def test_renewal_id_of_the_specification(self):
        """RFC 9773 section 4.1 has this example."""
        identifier = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
        self.assertEqual(
            renewal_id(certificate(0x87654321, identifier)), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        )

    def test_times(self):
        self.assertEqual(parse_time("2026-01-01T00:00:00Z"), 1767225600)
        self.assertEqual(parse_time("2026-01-01T02:00:00.5+02:00"), 1767225600.5)

    def test_renewal_at_two_thirds(self):
        leaf = certificate(days=6)
        self.assertEqual(renewal_time(leaf, lambda low, high: low), 1767225600 + 4 * 86_400)
        early = renewal_time(leaf, lambda low, high: high)
        self.assertTrue(1767225600 + 3.5 * 86_400 < early < 1767225600 + 4 * 86_400)

    def test_problems_are_explained(self):
        problem = problem_of(
            {
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "no",
                "subproblems": [{"detail": "because"}],
            }
        )
        text = "the CA refuses a certificate for x: no (because) (rejectedIdentifier)"
        self.assertEqual(explain("x", problem), text)
        self.assertNotIn("/var", explain("x", StoreError("/var/lib/burrow/burrow.db: disk I/O error")))
        limited = explain("x", AcmeProblem("rateLimited", "too many", 1767225600.0))
        self.assertIn("until 2026-01-01 00:00 UTC", limited)


class WithPebble(TestCase):
    """A TLS port of this process, certificates for it, and a clock that the test moves."""

    def setUp(self):
        self.patch(issuer, "CHECK_EVERY", 0.1)
        self.port = free_port()
        self.pebble = Pebble(self.port)
        self.addCleanup(self.pebble.close)
        self.offset = 0.0
        self.store = MemoryStore(self.now)
        self.names = set()
        self.told = []
        self.certificates = self.make()
        sweep = Sweep(reactor)
        front = TLSFrontFactory(self.certificates, Factory.forProtocol(Protocol), sweep, 10)
        listening = reactor.listenTCP(self.port, front, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)

    def now(self):
        return reactor.seconds() + self.offset

    def make(self):
        authority = Authority(self.pebble.directory, trust_root=trust_root(self.pebble.ca_file))
        made = AcmeCertificates(
            reactor,
            self.store,
            DOMAIN,
            [authority],
            lambda: self.names,
            lambda host: succeed(True),
            self.now,
            tell=lambda kind, text: self.told.append(text),
        )
        self.addCleanup(lambda: deferLater(reactor, 0.2))  # connections of Pebble's say good-bye
        self.addCleanup(lambda: made.stop())
        return made

    async def until(self, condition):
        for _ in range(400):
            if condition():
                return
            await deferLater(reactor, 0.05)
        raise AssertionError("it did not come to be")

    async def serial(self, name):
        await self.certificates.context(name)
        return self.certificates.cache.leaf(name).serial_number

    async def test_twenty_ask_and_one_order_is_made(self):
        name = f"wanted.{DOMAIN}"
        await gatherResults([self.certificates.ready(name) for _ in range(20)])
        self.assertEqual(self.pebble.orders(), 1)

    @pytest.mark.slow
    async def test_two_nodes_and_one_order(self):
        other = self.make()
        names = [f"n{number}.{DOMAIN}" for number in range(5)]
        await gatherResults([each.ready(name) for name in names for each in (self.certificates, other)])
        self.assertEqual(self.pebble.orders(), 5)
        for name in names:
            await other.context(name)
            self.assertEqual(other.cache.leaf(name), self.certificates.cache.leaf(name))

    @pytest.mark.slow
    async def test_clock_jumps_by_months(self):
        """Forward: what is due then is renewed, once. Back: nothing happens."""
        name = f"jump.{DOMAIN}"
        await self.certificates.ready(name)
        self.names.add(name)
        self.certificates.start()
        await self.until(lambda: self.certificates.cache.leaf(DOMAIN) is not None)
        first = await self.serial(name)
        self.offset += 30 * 86_400
        await deferLater(reactor, 0.5)
        self.assertEqual(self.pebble.orders(), 2)
        self.offset += 40 * 86_400
        await self.until(lambda: self.pebble.orders() == 4)
        await self.until(lambda: self.certificates.cache.leaf(name).serial_number != first)
        # Pebble's clock did not jump: what it issued is due by ours as it comes, and is not asked for
        # again and again.
        await deferLater(reactor, 1.0)
        self.assertEqual(self.pebble.orders(), 4)
        self.offset -= 70 * 86_400
        await deferLater(reactor, 0.5)
        self.assertIsNotNone(await self.certificates.context(name))
        await self.certificates.ready(name)
        self.assertEqual(self.pebble.orders(), 4)
        # That waits by a clock which was wrong: it holds up nothing that is due by the right one.
        self.offset += 65 * 86_400
        await self.until(lambda: self.pebble.orders() == 6)

    async def test_failed_order_leaves_nothing(self):
        name = f"elsewhere.{DOMAIN}"
        self.pebble.point(name, "127.0.0.9")
        with self.assertRaisesRegex(CertificateFailed, "Does DNS for"):
            await self.certificates.ready(name)
        self.assertIsNone(await self.certificates.context(name))
        for space in ("acme-challenges", "acme-locks", "certificates"):
            self.assertEqual(await self.store.notes(space), {})
        self.pebble.point(name, "127.0.0.1")
        await self.certificates.ready(name)

    async def test_store_that_lost_everything_is_given_it_again(self):
        name = f"flushed.{DOMAIN}"
        await self.certificates.ready(name)
        self.store._notes.clear()
        self.offset += issuer.RELOAD_EVERY + 1
        await self.certificates.context(name)
        self.assertEqual(list(await self.store.notes("certificates")), [name])

    @pytest.mark.slow
    async def test_renewals_that_fail_do_not_count(self):
        """However often a renewal is tried while the CA is away, it is allowed once the CA is back."""
        self.patch(renewals, "RETRY_FIRST", 0.1)
        self.patch(renewals, "RETRY_LIMIT", 0.1)
        self.certificates._authorities[0].limits._weekly = 45
        await self.certificates.ready(DOMAIN)
        self.pebble.stop()
        self.offset += 80 * 86_400
        failed = self.told = []
        self.certificates.start()
        await self.until(lambda: len(failed) > 6)
        self.assertTrue(all("cannot be reached" in text for text in failed), failed)
        times = [text for key, text in (await self.store.notes("acme-limits")).items() if "name " in key]
        self.assertEqual([json.loads(text) for text in times], [[]])
