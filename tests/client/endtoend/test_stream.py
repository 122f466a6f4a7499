"""Tests for C{--end-to-end} on the agent: TLS on a visitor's stream, and the CA's handshake."""

import ssl
from types import SimpleNamespace

from cryptography import x509
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.certificates.acme.responder import challenge_context
from burrow.certificates.base import server_context
from burrow.certificates.selfsigned import self_signed
from burrow.client.endtoend.certificate import AT_LEAST, TRY_AGAIN, WAIT, Authority, Certificate
from burrow.client.endtoend.kind import LOST, EndToEndKind, answer_page, authority_of
from burrow.client.endtoend.stream import HELLO_WITHIN, EndToEnd, InsideObserver
from burrow.client.tunnels import tunnel_request
from burrow.errors import ConfigError
from burrow.folders import write_whole
from burrow.observe.observer import Observer
from burrow.protocols.upstream import UpstreamFailed
from burrow.testing import Recorder, SessionPair
from burrow.traffic.hub import Traffic

HOST = "mine.example.com"


class Inside(Protocol):
    def __init__(self):
        self.received = b""

    def dataReceived(self, data):
        self.received += data
        self.transport.write(data.upper())


def usable(days=90):
    key, certificate = self_signed("mine", x509.DNSName(HOST), days)
    return server_context(key, [certificate])


class Case(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.told = []
        self.certificate = Certificate(
            self.reactor, HOST, Authority(), lambda *event: self.told.append(event), self.folder()
        )
        self.inside = Inside()
        self.observer = None

    def folder(self):
        from pathlib import Path

        return Path(self.mktemp())

    def visit(self, protocols=("http/1.1",), wire=None):
        """A visitor's handshake through a stream: begins it."""
        self.pair = SessionPair(agent_factory=None, clock=self.reactor)
        end = EndToEnd(self.reactor, self.certificate, self.inside)
        if self.observer is not None:
            InsideObserver(self.observer).cover(end, None)
        self.pair.agent.listen(SimpleNamespace(buildProtocol=lambda addr: end, doStart=lambda: None))
        self.visitor = Recorder()
        self.pair.server.open_stream(self.visitor)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(list(protocols))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        if wire is not None:
            self.visitor.transport.write(wire)
        else:
            self.step()
        self.pump()

    def pump(self):
        self.pair.pump()
        received, self.visitor.received = self.visitor.received, b""
        self.incoming.write(received)
        self.last = received

    def step(self):
        try:
            self.client.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        self.visitor.transport.write(self.outgoing.read())
        return done

    def shake(self):
        for _ in range(10):
            if self.step():
                self.pump()
                return
            self.pump()
        raise AssertionError("the handshake never ends")

    def alert(self):
        return self.last[-1] if self.last[:1] == b"\x15" else None


class Streams(Case):
    def test_tls_ends_here(self):
        self.certificate.context = usable()
        self.visit()
        self.shake()
        self.assertEqual(self.client.selected_alpn_protocol(), "http/1.1")
        self.client.write(b"secret")
        self.visitor.transport.write(self.outgoing.read())
        self.pump()
        self.assertEqual(self.inside.received, b"secret")
        self.assertEqual(self.client.read(), b"SECRET")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_is_inside_is_observed(self):
        seen = []
        self.observer = Observer(Traffic(), "http", "mine", "192.0.2.1:1", "https")
        self.observer.received = seen.append
        self.certificate.context = usable()
        self.visit()
        self.shake()
        self.client.write(b"secret")
        self.visitor.transport.write(self.outgoing.read())
        self.pump()
        self.assertEqual(seen, [b"secret"])

    def test_the_certificate_is_waited_for(self):
        self.visit()
        self.assertEqual(self.last, b"")
        self.certificate._use(usable())
        self.pump()
        self.shake()
        self.visit()
        self.shake()

    def test_no_certificate_in_time(self):
        self.visit()
        self.reactor.advance(WAIT)
        self.pump()
        self.assertEqual(self.alert(), 80)

    def test_who_is_refused(self):
        self.certificate.context = usable()
        self.visit(["h2"])
        self.assertEqual(self.alert(), 120)
        self.visit(["acme-tls/1"])
        self.assertEqual(self.alert(), 120)
        self.visit(wire=b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.alert(), 50)

    def test_who_says_nothing(self):
        self.visit(wire=b"\x16\x03\x01")
        self.reactor.advance(HELLO_WITHIN)
        self.pair.pump()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.pair.agent.stream_count, 0)

    def test_who_leaves_while_the_certificate_is_waited_for(self):
        self.visit()
        self.visitor.transport.abortConnection()
        self.pair.pump()
        self.assertEqual((self.certificate._waiting, self.reactor.getDelayedCalls()), ([], []))

    def test_the_ca_is_shown_the_challenge_and_nothing_else(self):
        self.certificate.challenge = challenge_context(HOST, "token.thumbprint")
        self.visit(["acme-tls/1"])
        self.shake()
        self.assertEqual(self.client.selected_alpn_protocol(), "acme-tls/1")
        shown = x509.load_der_x509_certificate(self.client.getpeercert(True))
        self.assertTrue(any(each.critical for each in shown.extensions))


class Certificates(Case):
    def order(self, outcome):
        """What the next order comes to: a lifetime in days, or an error."""

        async def ordered():
            if isinstance(outcome, Exception):
                raise outcome
            key, leaf = self_signed("mine", x509.DNSName(HOST), outcome)
            self.certificate._use(server_context(key, [leaf]))
            self.orders += 1
            return leaf

        self.orders = 0
        self.certificate._order = ordered

    def test_a_failed_order_is_told_and_tried_again(self):
        self.order(ConfigError("the CA is away"))
        self.certificate.start()
        self.certificate.start()
        why = f"{HOST} has no certificate yet: the CA is away; tried again in 1 min"
        self.assertEqual(self.told, [("warning", why)])
        for delay in TRY_AGAIN:
            self.reactor.advance(delay)
        self.assertEqual(len(self.told), 1 + len(TRY_AGAIN))
        self.order(90)
        self.reactor.advance(TRY_AGAIN[-1])
        self.assertEqual((self.orders, len(self.told)), (1, 1 + len(TRY_AGAIN)))
        self.certificate.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_it_is_renewed_before_it_ends(self):
        began = self.certificate._now()
        self.certificate._now = lambda: began + self.reactor.seconds()
        self.order(30)
        self.certificate.start()
        self.reactor.pump([86_400.0] * 15)
        self.assertEqual(self.orders, 1)
        self.reactor.pump([86_400.0] * 7)
        self.assertGreater(self.orders, 1)
        self.certificate.stop()

    def test_a_clock_that_is_ahead_orders_one_in_six_hours(self):
        began = self.certificate._now() + 100 * 86_400
        self.certificate._now = lambda: began + self.reactor.seconds()
        self.order(30)
        self.certificate.start()
        self.reactor.pump([AT_LEAST - 1])
        self.assertEqual(self.orders, 1)
        self.reactor.pump([2])
        self.assertEqual(self.orders, 2)
        self.certificate.stop()

    def test_what_is_kept_is_used_unless_it_is_over(self):
        from cryptography.hazmat.primitives import serialization

        from burrow.client.endtoend.certificate import _pem

        key, leaf = self_signed("mine", x509.DNSName(HOST), 30)
        text = _pem(key) + leaf.public_bytes(serialization.Encoding.PEM)
        write_whole(self.certificate._file, text)
        self.assertEqual(self.certificate._file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.certificate._load(), leaf)
        self.assertIsNotNone(self.certificate.context)
        self.certificate.context = None
        self.certificate._now = lambda: leaf.not_valid_after_utc.timestamp() + 1
        self.assertIsNone(self.certificate._load())
        self.certificate._file.write_text("nothing")
        self.assertIsNone(self.certificate._load())
        self.assertIsNone(self.certificate.context)
        first = self.certificate._account_key().private_numbers()
        self.assertEqual(self.certificate._account_key().private_numbers(), first)


class Kinds(SynchronousTestCase):
    def request(self, **options):
        return tunnel_request("http", "3000", "mine", {"end-to-end": True, **options})

    def test_the_server_is_asked_for_a_tunnel_of_kind_tls(self):
        request = self.request(**{"acme-directory": "https://ca.example/dir"})
        self.assertEqual((request.kind.name, request.sent()), ("tls", {}))
        self.assertEqual(str(request.upstream), "http://localhost:3000")
        self.assertEqual(request.kind.authority.directory, "https://ca.example/dir")
        self.assertEqual(request, self.request(**{"acme-directory": "https://ca.example/dir"}))
        self.assertNotEqual(request, self.request())

    def test_its_url_and_what_is_lost(self):
        told = []
        kind = EndToEndKind(authority_of({}), None)
        reactor = MemoryReactorClock()
        self.patch(Certificate, "start", lambda self: None)
        for _ in range(2):
            url = kind.opened(reactor, f"tls://{HOST}:8443", lambda *event: told.append(event))
            self.assertEqual(url, f"https://{HOST}:8443")
        self.assertEqual(told, [("notice", LOST)])
        kind.closed()

    def test_refusals(self):
        for options, words in (
            ({"share": True}, "share is done by the server"),
            ({"private": True}, "private is done by the server"),
            ({"request-header-set": ["A: b"]}, "request-header-set is done by the server"),
            ({"end-to-end": False, "acme-email": "a@b.example"}, "add end-to-end = true"),
        ):
            with self.assertRaises(ConfigError) as caught:
                self.request(**options)
            self.assertIn(words, str(caught.exception))

    def test_a_service_that_is_away_is_a_plain_answer(self):
        class Stream:
            written = b""
            resumeProducing = loseConnection = lambda self: None

            def write(self, data):
                self.written += data

        end = SimpleNamespace(transport=Stream())
        answer_page(end, UpstreamFailed("refused", "nobody listens", "Nothing listens there."))
        head, _, body = end.transport.written.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 502 "))
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertIn(b"Nothing listens there.", body)
        self.assertNotIn(b"Burrow-Error", head)
