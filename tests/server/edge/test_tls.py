"""Tests for L{burrow.server.edge.tls}: what a handshake is answered with, on a real OpenSSL as the client."""

import gc
import ssl
import tempfile
from pathlib import Path
from types import SimpleNamespace

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates import local
from burrow.certificates.files import FileCertificates
from burrow.certificates.local import LocalCertificates
from burrow.errors import StoreError
from burrow.server.edge.passing import Passing
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import HANDSHAKE_TIMEOUT, Shown, TLSFrontFactory
from burrow.server.ports import Ports
from burrow.testing import Recorder
from tests.files import make_certificate
from tests.policy.authorities import Signed
from tests.server.edge.test_hello import alpn, message, records, server_name

DOMAIN = "tunnel.example"
NOT_TLS, NO_NAME, INTERNAL, NO_PROTOCOL = 50, 112, 80, 120


class Transport(StringTransport):
    """A socket, as far as the front looks at it."""

    def setTcpNoDelay(self, enabled):
        pass

    def setTcpKeepAlive(self, enabled):
        pass


class Visit:
    """One connection to a front."""

    def __init__(self, factory):
        self.transport = Transport()
        self.transport.protocol = self.front = factory.buildProtocol(None)
        self.front.makeConnection(self.transport)

    def send(self, data):
        if data and not self.transport.disconnecting and not self.transport.disconnected:
            self.transport.protocol.dataReceived(data)

    @property
    def alert(self):
        """The fatal alert that ended the connection; None if there was none."""
        data = self.transport.value()
        assert not data or self.transport.disconnecting
        return data[6] if data[:1] == b"\x15" and data[5:6] == b"\x02" else None


def greeting(reach_of=lambda host: None, of_sni=None, asks=()):
    """What a server knows of its hosts. @param asks: those whose visitors are asked for a certificate."""
    return SimpleNamespace(reach_of=reach_of, of_sni=of_sni, asks_certificate=lambda host: host in asks)


def handshake(visit, name, protocols=(), context=None, session=None, bios=False):
    """
    Complete a handshake. @return: the client's side of it; with C{bios}, what the client reads from, too.
    """
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    for _ in range(10):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            visit.send(outgoing.read())
            return (client, incoming) if bios else client
        visit.send(outgoing.read())
        incoming.write(visit.transport.value())
        visit.transport.clear()
    raise AssertionError("the handshake never ends")


class Front(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.addCleanup(self.sweep.stop)
        self.owned = {f"blog.{DOMAIN}"}
        self.asked = []
        self.issued = []
        self.folder = Path(tempfile.mkdtemp())
        self.certificates = LocalCertificates(self.folder, DOMAIN, self.whose)
        issue = self.certificates._issue
        self.certificates._issue = lambda name: self.issued.append(name) or issue(name)
        self.use(self.certificates)

    def use(self, certificates):
        self.built = []

        def build():
            self.built.append(Recorder())
            return self.built[-1]

        passing = Passing(greeting(asks=[f"asks.{DOMAIN}"]), Ports(None, "", range(1)))
        self.factory = TLSFrontFactory(
            certificates, Factory.forProtocol(build), self.sweep, 75, passing=passing
        )

    def whose(self, host):
        self.asked.append(host)
        return succeed(host in self.owned)

    def shown(self, name, protocols=()):
        """The names on the certificate that a handshake shows."""
        client = handshake(Visit(self.factory), name, protocols)
        transport = self.built[-1].transport
        self.assertEqual(transport.shown.name, name)
        self.assertIsNotNone(client.getpeercert(True))
        transport.connectionLost(Failure(ConnectionDone()))
        return sorted(transport.shown.names)

    def alert(self, *extensions):
        visit = Visit(self.factory)
        visit.send(records(message(*extensions)))
        return visit.alert

    def test_wherever_twisted_keeps_what_makes_connections(self):
        """In 25.5, and since 26.4."""
        for name in ("_connectionCreator", "_creatorCallable"):
            vars(self.factory._factory).pop(name, None)
        self.assertEqual(self.shown(f"blog.{DOMAIN}")[-1], f"blog.{DOMAIN}")

    def test_certificate_of_each_name(self):
        self.assertEqual(self.shown(f"blog.{DOMAIN}"), [f"blog.{DOMAIN}"])
        base = sorted([DOMAIN, "127.0.0.1", "::1"])
        for name in (None, DOMAIN, "elsewhere.example"):
            self.assertEqual(self.shown(name), base)
        self.owned.add(f"a.wild.{DOMAIN}")
        self.owned.add(f"b.wild.{DOMAIN}")
        for name in (f"a.wild.{DOMAIN}", f"b.wild.{DOMAIN}"):
            self.assertEqual(self.shown(name), [f"*.wild.{DOMAIN}"])
        self.assertEqual(self.issued.count(f"*.wild.{DOMAIN}"), 1)
        for name in (f"nobody.{DOMAIN}", f"a.blog.{DOMAIN}"):
            self.assertEqual(self.shown(name), sorted(["*." + DOMAIN, DOMAIN]))

    def test_visitors_of_one_host_are_asked_for_a_certificate(self):
        self.owned.add(f"asks.{DOMAIN}")
        signed = Signed("alice")
        for name, asked in ((f"asks.{DOMAIN}", True), (f"blog.{DOMAIN}", False), (f"asks.{DOMAIN}", True)):
            for shows in (True, False):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                if shows:
                    context.load_cert_chain(*signed.write(self.folder))
                handshake(Visit(self.factory), name, context=context)
                shown = self.built[-1].transport.shown
                self.assertEqual((shown.name, shown.asked, shown.names), (name, asked, {name}))
                presented = shown.presented()
                self.assertEqual(
                    None if presented is None else presented.leaf,
                    signed.certificate if asked and shows else None,
                )
                if presented is not None:
                    self.assertIs(shown.presented(), presented)
        self.assertEqual(sorted(self.issued), [f"asks.{DOMAIN}", f"blog.{DOMAIN}"])

    def test_no_session_is_resumed_where_a_certificate_is_asked_for(self):
        self.owned.add(f"asks.{DOMAIN}")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name, resumes in ((f"blog.{DOMAIN}", True), (f"asks.{DOMAIN}", False)):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_cert_chain(*Signed("alice").write(self.folder))
                context.minimum_version = context.maximum_version = version
                visit = Visit(self.factory)
                client, incoming = handshake(visit, name, context=context, bios=True)
                self.built[-1].transport.write(b"x" * 100_000)  # at once, and behind tickets
                incoming.write(visit.transport.value())
                self.assertEqual(client.read(1), b"x")
                again = handshake(Visit(self.factory), name, context=context, session=client.session)
                self.assertIs(again.session_reused, resumes)
                self.assertIs(self.built[-1].transport.shown.presented() is None, resumes)

    def test_names_that_are_nobodys_cost_no_signature_and_no_room(self):
        """However many there are: they have one certificate together, and throw none out."""
        self.shown(f"blog.{DOMAIN}")
        for number in range(3 * local.MAX_CONTEXTS):
            self.successResultOf(self.certificates.context(f"n{number}.{DOMAIN}"))
        self.assertEqual(self.issued, [f"blog.{DOMAIN}", ""])
        self.assertEqual(len(self.certificates._contexts), 2)
        self.shown(f"blog.{DOMAIN}")
        self.assertEqual(len(self.issued), 2)

    def test_contexts_at_the_bound_and_one_over(self):
        self.patch(local, "MAX_CONTEXTS", 5)
        names = [f"n{number}.{DOMAIN}" for number in range(6)]
        self.owned.update(names)
        for name in names[:5] * 2:
            self.shown(name)
        self.assertEqual(self.issued, names[:5])
        self.shown(names[5])
        self.assertEqual(len(self.certificates._contexts), 5)
        self.built.clear()
        gc.collect()
        self.assertEqual(len(self.factory._names), 5)  # those of a context that is gone went with it
        self.shown(names[0])  # the one used longest ago went
        self.assertEqual(self.issued, [*names, names[0]])

    def test_store_that_cannot_tell(self):
        self.whose = lambda host: fail(StoreError("away"))
        self.certificates._has_owner = self.whose
        self.assertEqual(self.shown(f"blog.{DOMAIN}"), sorted(["*." + DOMAIN, DOMAIN]))

    def test_names_that_no_host_has_are_unrecognized(self):
        names = [b"\xff", b"a\xff." + DOMAIN.encode(), b"a\0." + DOMAIN.encode(), b"", b"x" * 64, b"a" * 300]
        for name in names:
            self.assertEqual(self.alert(server_name(name)), NO_NAME, name)
        self.assertEqual((self.asked, self.issued), ([], []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_protocols_without_overlap(self):
        """RFC 7301 section 3.2."""
        for protocols in ([b"h2"], [b"acme-tls/1"], [b"h3", b"http/1.0"], [b"h2", b"acme-tls/1"]):
            self.assertEqual(self.alert(server_name(DOMAIN.encode()), alpn(*protocols)), NO_PROTOCOL)
        self.assertEqual(self.issued, [])
        for protocols in (["h2", "http/1.1"], ["http/1.1", "acme-tls/1"]):
            client = handshake(Visit(self.factory), DOMAIN, protocols)
            self.assertEqual(client.selected_alpn_protocol(), "http/1.1")
        self.assertIsNone(handshake(Visit(self.factory), DOMAIN).selected_alpn_protocol())

    def test_what_is_no_tls(self):
        visit = Visit(self.factory)
        visit.send(b"\x16\x02")
        self.assertEqual(visit.alert, NOT_TLS)
        visit = Visit(self.factory)
        visit.send(b"GET / HTTP/1.1\r\n")
        self.assertIn(b"400 Bad Request", visit.transport.value())
        self.assertTrue(visit.transport.disconnecting)
        visit = Visit(self.factory)
        visit.send(b"GET /a HTTP/1.1\r\nHost: demo.test:8443\r\n\r\n")
        self.assertIn(b"Location: https://demo.test:8443/a\r\n", visit.transport.value())
        self.assertTrue(visit.transport.disconnecting)

    def test_source_that_fails_or_has_nothing(self):
        for answer, alert in (
            (lambda name: succeed(None), NO_NAME),
            (lambda name: fail(StoreError("away")), INTERNAL),
            (lambda name: 1 // 0, INTERNAL),
        ):
            self.certificates.context = answer
            self.assertEqual(self.alert(server_name(b"a.b")), alert)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_certificate_that_takes_its_time(self):
        """The connection is not read meanwhile, and it does not take for ever."""
        waiting = Deferred()
        self.certificates._has_owner = lambda host: waiting
        late, gone = Visit(self.factory), Visit(self.factory)
        for visit in (late, gone):
            visit.send(records(message(server_name(f"blog.{DOMAIN}".encode()))))
            self.assertEqual(visit.transport.producerState, "paused")
        self.clock.advance(HANDSHAKE_TIMEOUT - 1)
        self.assertFalse(late.transport.disconnecting)
        self.clock.advance(2)
        self.assertTrue(late.transport.disconnecting)
        for visit in (late, gone):
            visit.front.connectionLost()
        waiting.callback(True)
        self.assertEqual(self.built, [])

    def test_hello_that_comes_slowly(self):
        """The time is for all of it: each byte does not begin it anew."""
        visit = Visit(self.factory)
        wire = records(message(server_name(DOMAIN.encode())))
        for number in range(int(HANDSHAKE_TIMEOUT)):
            self.assertFalse(visit.transport.disconnecting)
            visit.send(wire[number : number + 1])
            self.clock.advance(1)
        self.clock.advance(1)
        self.assertTrue(visit.transport.disconnecting)

    def test_file_for_several_names(self):
        files = make_certificate(self.folder, f"*.{DOMAIN}", DOMAIN)
        self.use(FileCertificates(self.clock, *files))
        self.assertEqual(self.shown(f"nobody.{DOMAIN}"), sorted([DOMAIN, f"*.{DOMAIN}"]))
        self.assertEqual(self.alert(server_name(DOMAIN.encode()), alpn(b"acme-tls/1")), NO_PROTOCOL)


class Covered(SynchronousTestCase):
    def test_requests_that_belong_on_a_connection(self):
        """RFC 9110 section 15.5.20."""
        context = SSL.Context(SSL.TLS_METHOD)
        one = Shown("a.example", context, frozenset(["a.example", "127.0.0.1"]))
        for host in ("a.example", "127.0.0.1", ""):
            self.assertTrue(one.covers(host), host)
        for host in ("b.example", "example", "a.a.example", "127.0.0.2"):
            self.assertFalse(one.covers(host), host)
        several = Shown("a.example", context, frozenset(["*.example"]))
        for host, covered in (("b.example", True), ("b.b.example", False), ("example", False)):
            self.assertEqual(several.covers(host), covered, host)
        # What has no name can be for any; a name that is not on the certificate is for itself.
        self.assertTrue(Shown(None, context, frozenset()).covers("b.example"))
        self.assertTrue(Shown("c.example", context, one.names).covers("c.example"))
