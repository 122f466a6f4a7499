"""Tests for L{burrow.server.edge.terminating}: TLS that ends here, of names whose tunnel gets plain bytes."""

import ssl
from types import SimpleNamespace

from cryptography import x509
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates.acme.responder import challenge_context
from burrow.certificates.base import server_context
from burrow.certificates.selfsigned import self_signed
from burrow.errors import ConfigError
from burrow.policy.client_ca import ClientCAs
from burrow.protocols.base import Reach
from burrow.protocols.tls import MAX_ALPN, TlsProtocol
from burrow.server.edge.passing import Passing
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import HANDSHAKE_TIMEOUT, TLSFrontFactory
from burrow.server.ports import Ports
from burrow.testing import Recorder
from tests.files import folder_of
from tests.policy.authorities import CLIENT, Signed
from tests.policy.visiting import NOW
from tests.server.edge.test_tls import Visit, greeting, handshake

NAME = "db.example.com"


class Certificates:
    """Of one name. @ivar open: whether a challenge is."""

    def __init__(self):
        key, certificate = self_signed("db", x509.DNSName(NAME), 1)
        self.only = server_context(key, [certificate])
        self.open = False

    def context(self, name):
        return succeed(self.only)

    def challenge(self, name):
        return succeed(challenge_context(name, "key") if self.open else None)


class Ended(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        sweep = Sweep(self.clock)
        sweep.start()
        self.addCleanup(sweep.stop)
        self.built = []
        self.ports = Ports(None, "", range(1))
        self.options = {"terminate": True, "alpn": ("mqtt", "h2")}
        self.route = SimpleNamespace(
            name="db",
            kind=SimpleNamespace(name="tls"),
            factory=Factory.forProtocol(self.build),
            options=self.options,
        )
        self.certificates = Certificates()
        self.reach = Reach.SNI
        self.factory = TLSFrontFactory(
            self.certificates,
            Factory.forProtocol(Recorder),
            sweep,
            75,
            passing=Passing(
                greeting(lambda host: self.reach, lambda host: succeed(self.route)), self.ports, lambda: NOW
            ),
        )

    def build(self):
        self.built.append(Recorder())
        return self.built[-1]

    def test_the_tunnel_gets_what_is_inside(self):
        visit = Visit(self.factory)
        client = handshake(visit, NAME, ["h2", "mqtt", "x"])
        self.assertEqual(client.selected_alpn_protocol(), "mqtt")
        (inside,) = self.built
        self.assertEqual(self.ports.visitors, {inside})
        inside.transport.write(b"plain")
        self.assertIs(inside.transport, visit.transport.protocol)
        visit.transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.ports.visitors, set())

    def test_who_offers_nothing_or_is_wanted_nothing_of(self):
        self.assertIsNone(handshake(Visit(self.factory), NAME).selected_alpn_protocol())
        self.options["alpn"] = ()
        self.assertIsNone(handshake(Visit(self.factory), NAME, ["h2"]).selected_alpn_protocol())
        self.assertEqual(len(self.built), 2)

    def test_nothing_in_common(self):
        with self.assertRaises(ssl.SSLError) as caught:
            handshake(Visit(self.factory), NAME, ["http/1.1"])
        self.assertIn("application protocol", str(caught.exception).lower().replace("_", " "))
        self.assertEqual(self.built, [])

    def test_a_name_beside_it_with_the_same_certificate_is_served_as_ever(self):
        handshake(Visit(self.factory), NAME, ["mqtt"])
        self.reach = Reach.HOST
        client = handshake(Visit(self.factory), NAME, ["h2", "http/1.1"])
        self.assertEqual(client.selected_alpn_protocol(), "http/1.1")

    def test_no_stream_before_the_handshake_is_done(self):
        visit = Visit(self.factory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        with self.assertRaises(ssl.SSLWantReadError):
            client.do_handshake()
        visit.send(outgoing.read())
        self.assertEqual(self.built, [])
        self.clock.advance(HANDSHAKE_TIMEOUT + 1)
        self.assertTrue(visit.transport.disconnected or visit.transport.disconnecting)

    def test_who_is_refused(self):
        self.route.factory = SimpleNamespace(buildProtocol=lambda addr: None)
        visit = Visit(self.factory)
        handshake(visit, NAME)
        self.assertTrue(visit.transport.disconnected or visit.transport.disconnecting)
        self.assertEqual(self.ports.counts.refused, 1)
        self.certificates.only = None
        with self.assertRaises(ssl.SSLError) as caught:
            handshake(Visit(self.factory), NAME)
        self.assertIn("unrecognized name", str(caught.exception).lower().replace("_", " "))

    def test_a_certificate_is_asked_for(self):
        ca = Signed("ca", ca=True)
        self.options["client-ca"] = ClientCAs.read(ca.pem)
        for signed, inside in (
            (Signed("a", ca, usage=CLIENT), 1),
            (Signed("a", ca, begins=-3, ends=-1), 0),
            (Signed("a"), 0),
            (None, 0),
        ):
            self.built.clear()
            visit = Visit(self.factory)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if signed is not None:
                context.load_cert_chain(*signed.write(folder_of(self)))
            handshake(visit, NAME, context=context)
            self.assertEqual(len(self.built), inside)
            self.assertEqual(visit.transport.disconnected or visit.transport.disconnecting, not inside)

    def test_a_ca_is_answered_here(self):
        self.certificates.open = True
        client = handshake(Visit(self.factory), NAME, ["acme-tls/1"])
        self.assertEqual(client.selected_alpn_protocol(), "acme-tls/1")
        self.assertEqual(self.built, [])


class Options(SynchronousTestCase):
    def test_what_goes_together(self):
        check = TlsProtocol().check_options
        check({"terminate": True, "alpn": ("h2",) * MAX_ALPN})
        for options, words in (
            ({"alpn": ("h2",)}, "add --terminate"),
            ({"client-ca": object()}, "add --terminate"),
            ({"terminate": True, "alpn": ("h2",) * (MAX_ALPN + 1)}, f"possible {MAX_ALPN} times"),
        ):
            with self.assertRaises(ConfigError) as caught:
                check(options)
            self.assertIn(words, str(caught.exception))
        (alpn,) = (each for each in TlsProtocol.options if each.key == "alpn")
        for text in ("", "a b", "acme-tls/1", "x" * 256):
            self.assertRaises(ValueError, alpn.parse, text)
