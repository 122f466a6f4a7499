"""The certificates that the admin API tells, by where they come from."""

import datetime
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates import local
from burrow.certificates.files import FileCertificates
from burrow.certificates.local import LocalCertificates
from burrow.server.admin.certificates import Certificates
from burrow.store.memory import MemoryStore
from burrow.store.spaces import CERTIFICATES, ERRORS
from tests.files import make_certificate
from tests.server.admin.node import validator

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Pool:
    """A thread pool that works at once."""

    def callInThreadWithCallback(self, done, work, *arguments):
        try:
            done(True, work(*arguments))
        except Exception:
            done(False, Failure())


class Reactor(MemoryReactorClock):
    def getThreadPool(self):
        return Pool()

    def callFromThread(self, call, *arguments):
        call(*arguments)


def pem(host, begins, ends):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A\x1bCA")])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
        .issuer_name(name)
        .not_valid_before(NOW + begins * DAY)
        .not_valid_after(NOW + ends * DAY)
        .serial_number(1)
        .public_key(key.public_key())
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


class Telling(SynchronousTestCase):
    def setUp(self):
        self.store = MemoryStore(lambda: 0.0)

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def told(self, source):
        told = Certificates(Reactor(), self.store, source, NOW.timestamp)
        items = self.successResultOf(Deferred.fromCoroutine(told.all()))
        for item in items:
            validator({"$ref": "#/components/schemas/Certificate"}).validate(item)
        return {item["host"]: item for item in items}

    def test_by_acme(self):
        texts = {
            "new.example.com": pem("new.example.com", -1, 89),
            "due.example.com": pem("due.example.com", -80, 10),
            "old.example.com": pem("old.example.com", -91, -1),
            "bad.example.com": pem("bad.example.com", -80, 10),
            "none.example.com": "nonsense",
        }
        for host, text in texts.items():
            self.store.put_note(CERTIFICATES, host, text)
        self.store.put_note(ERRORS, "bad.example.com", "the CA said\x1b no")
        self.store.put_note(ERRORS, "never.example.com", "no such host")
        told = self.told(object())
        self.assertEqual(
            {host.partition(".")[0]: item["state"] for host, item in told.items()},
            {
                "new": "valid",
                "due": "due",
                "old": "expired",
                "bad": "failed",
                "none": "missing",
                "never": "failed",
            },
        )
        new = told["new.example.com"]
        self.assertEqual((new["not_after"], new["issuer"]), ("2030-03-31T00:00:00.000Z", "A\\x1bCA"))
        self.assertEqual(new["next_try"][:10], "2030-02-24")
        self.assertEqual(told["bad.example.com"]["error"], "the CA said\\x1b no")
        self.assertIsNone(told["never.example.com"]["issuer"])

    def test_of_a_local_ca(self):
        source = LocalCertificates(self.folder(), "example.com", lambda name: succeed(name[0] == "o"))
        for name in (None, "owned.example.com", "nobodys.example.com"):
            self.successResultOf(source.context(name))
        told = self.told(source)
        self.assertEqual(set(told), {"example.com", "owned.example.com", "*"})
        self.assertNotIn("next_try", told["example.com"])
        self.patch(local, "MAX_CONTEXTS", 1)
        self.successResultOf(source.context("other.example.com"))
        self.assertEqual(len(source.leaves), 1)

    def test_from_files(self):
        files = make_certificate(self.folder() / "x", "example.com", "*.example.com")
        self.assertEqual(
            set(self.told(FileCertificates(Reactor(), *files))), {"example.com", "*.example.com"}
        )

    def test_without_tls(self):
        self.assertEqual(self.told(None), {})
