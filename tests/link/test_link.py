"""Tests for L{burrow.link}: addresses, trust; and a link without what Linux alone has."""

import socket
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectingCancelledError, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from burrow import __version__, trust
from burrow.errors import ConfigError, Refused, ServerUnreachable
from burrow.link import accept, carrier, count_of, dial, reasons
from burrow.link.accept import AcceptFactory, HandshakeRefused, bearer
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import Dialer
from burrow.mux import heartbeat
from burrow.mux.interfaces import CloseCode
from burrow.testing import Recorder, Recorders
from tests.files import make_certificate


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://example.com", "https://example.com:443"),
        ("example.com", "https://example.com:443"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("[::1]", "https://[::1]:443"),
        ("Localhost", "https://localhost:443"),
        ("http://tunnels", "http://tunnels:80"),
        ("tunnels:8443", "https://tunnels:8443"),
    ],
)
def test_server_addresses(text, meant):
    assert str(ServerAddress.parse(text)) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "ftp://x", "https://", "https://x:0", "https://x:99999", "https://[::1", "foo", "//x"),
        *("https://x\x07", "https://x\n", "https://:1", "tcp.example://x"),
        *("https://x/path", "https://x/?a=b", "https://x?a=b", "https://x#there", "https://x/#there"),
        *("https://user@x", "https://user:password@x", "https://:password@x"),
    ],
)
def test_what_is_no_server_address(text):
    with pytest.raises(ConfigError):
        ServerAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("https://example.com", True),
        ("http://example.com", False),
        ("http://localhost", True),
        ("http://a.localhost.", True),
        ("http://localhost.example.com", False),
        ("http://127.1.2.3", True),
        ("http://[::1]", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://10.0.0.1", False),
        ("http://[::ffff:10.0.0.1]", False),
    ],
)
def test_whether_what_is_sent_can_be_read_on_the_way(text, private):
    assert ServerAddress.parse(text).private is private


def test_token_is_not_shown():
    assert "secret" not in repr(Credentials(ServerAddress.parse("https://x"), "secret", "agent"))


def test_bearer():
    assert [bearer(text) for text in ("Bearer x", "bearer  y ", "Basic z", "")] == ["x", "y", "", ""]


class Trust(SynchronousTestCase):
    def test_files(self):
        folder = Path(mkdtemp())
        cert_file, key_file = make_certificate(folder, "example.com")
        trust.trust_root(cert_file)
        for bad in (key_file, folder / "nowhere"):
            with self.assertRaises(ConfigError):
                trust.trust_root(bad)

    def test_platforms_whose_openssl_finds_no_roots(self):
        for platform in ("win32", "darwin"):
            self.patch(trust.sys, "platform", platform)
            der = Path(make_certificate(Path(mkdtemp()), "root.example")[0]).read_bytes()
            from twisted.internet.ssl import Certificate

            roots = [(Certificate.loadPEM(der).dump(), "x509_asn", True), (b"", "pkcs_7_asn", True)]
            trust.ssl.enum_certificates = lambda store: roots  # noqa: B023
            try:
                self.assertGreater(len(trust.bundled_roots()), 100)
                trust.trust_root(None)
            finally:
                del trust.ssl.enum_certificates


def end_of(session):
    """Fires with the reason, in a list, when a session is lost."""
    ended = Deferred()
    session.on_lost.append(lambda reason: ended.callback([reason]))
    return ended


class Loopback(TestCase):
    """Both ends of a link over loopback sockets, as on a system that has none of Linux's calls."""

    timeout = 20

    def setUp(self):
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self.patch(carrier, "socket", _SocketWithoutLinux)
        self.sessions = []
        self.accepted = Recorders()
        self.identity = "somebody"

        self.asked = Deferred()
        self.authenticated = succeed(None)

        async def authenticate(handshake):
            self.asked.callback(handshake)
            self.asked = Deferred()
            await self.authenticated
            if handshake.token != "right":
                raise HandshakeRefused(401, "wrong token")
            return self.identity

        def begin(session, lifeline, identity, handshake):
            session.listen(self.accepted)
            self.sessions.append((session, lifeline, identity, handshake))

        self.factory = AcceptFactory(
            reactor, authenticate, begin, lambda identity, handshake: (identity, handshake.agent), grace=0.05
        )
        self.port = self.listen()
        self.addCleanup(self.port.stopListening)

    def listen(self):
        return reactor.listenTCP(0, self.factory, interface="127.0.0.1")

    def dialer(self, token="right", port=None, host="127.0.0.1"):
        address = ServerAddress(False, host, port or self.port.getHost().port)
        return Dialer(reactor, Credentials(address, token, "agent-1234"))

    async def end(self, linked):
        """Close a link from the agent's side; return how each end saw it."""
        lost = [end_of(self.sessions[-1][0]), end_of(linked.session)]
        linked.session.close("done")
        return [(await one)[0] for one in lost]


class Linked(Loopback):
    """A link from its beginning to its end."""

    async def test_bytes_and_the_end(self):
        linked = await self.dialer().dial()
        session = linked.session
        there, _, identity, handshake = self.sessions[0]
        self.assertEqual((identity, handshake.agent), ("somebody", "agent-1234"))
        lost, here_lost = Deferred(), linked.trouble()
        there.on_lost.append(lambda reason: lost.callback(None))
        self.assertGreater(await session.ping(), 0)
        session.open_stream(Recorder()).write(b"hello")
        await session.ping()
        self.assertEqual(self.accepted.built[0].received, b"hello")
        session.close("enough")  # a good-bye: nothing is kept
        await lost
        await here_lost
        self.assertTrue(session.lost)

    async def test_server_keeps_little_of_an_open_websocket(self):
        linked = await self.dialer().dial()
        await linked.session.ping()  # a message has come
        accepted = self.sessions[0][1]._carrier
        self.assertLessEqual(len(vars(accepted)), 21, vars(accepted))
        await self.end(linked)

    async def test_agent_says_where_its_inspector_is(self):
        for said, heard in ((4041, 4041), (0, 0), ("4041/evil", 0), (65_536, 0)):
            dialer = self.dialer()
            dialer.inspector = said
            linked = await dialer.dial()
            self.assertEqual(self.sessions[-1][3].inspector, heard)
            await self.end(linked)

    async def test_server_says_its_release_and_the_tokens_name(self):
        linked = await self.dialer().dial()
        self.assertEqual((linked.server_version, linked.token_name), (__version__, ""))
        await self.end(linked)
        self.factory.name_of = lambda identity: identity
        linked = await self.dialer().dial()
        self.assertEqual(linked.token_name, "somebody")
        await self.end(linked)

    async def test_session_goes_on_over_another_connection(self):
        dialer = self.dialer()
        linked = await dialer.dial()
        stream = linked.session.open_stream(Recorder())
        stream.write(b"one ")
        await linked.session.ping()
        detached = linked.trouble()
        linked.lifeline._carrier.abort()
        await detached
        stream.write(b"two ")
        self.assertIs(await dialer.dial(linked), linked)
        await linked.session.ping()
        self.assertIs(await dialer.dial(linked), linked)  # while the other is still there: the newer wins
        stream.write(b"three")
        await linked.session.ping()
        self.assertEqual(self.accepted.built[0].received, b"one two three")
        self.assertEqual(len(self.sessions), 1)
        await self.end(linked)

    async def test_everybody_who_waits_for_trouble_is_told_once(self):
        linked = await self.dialer().dial()
        waiting = [linked.trouble() for _ in range(3)]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        waiting[1].addCallback(lambda _: waiting.append(linked.trouble()))
        linked.report_trouble()
        for fired in waiting[1:3]:
            self.successResultOf(fired)
        self.assertNoResult(waiting[3])
        await self.end(linked)
        self.successResultOf(waiting[3])

    async def test_session_id_is_worthless_to_others(self):
        linked = await self.dialer().dial()
        self.identity = "thief"
        stolen = await self.dialer().dial(linked)
        self.assertIsNot(stolen, linked)
        self.assertEqual(len(self.sessions), 2)
        await self.end(stolen)
        ended = Deferred()
        self.sessions[0][0].on_lost.append(lambda reason: ended.callback(None))
        linked.session.close("done")
        await ended

    async def test_grace_time_ends(self):
        dialer = self.dialer()
        linked = await dialer.dial()
        ended, detached = Deferred(), linked.trouble()
        self.sessions[0][0].on_lost.append(lambda reason: ended.callback(None))
        linked.lifeline._carrier.abort()
        await detached
        await ended
        self.assertEqual(self.factory._kept, {})
        fresh = await dialer.dial(linked)
        self.assertIsNot(fresh, linked)
        linked.session.abort()
        await self.end(fresh)

    async def test_refusal(self):
        with self.assertRaisesRegex(Refused, "wrong token"):
            await self.dialer("wrong").dial()

    async def test_nobody_listens(self):
        port = self.port.getHost().port
        await self.port.stopListening()
        self.port.stopListening = lambda: succeed(None)
        with self.assertRaisesRegex(ServerUnreachable, "cannot reach"):
            await self.dialer(port=port).dial()

    async def test_no_file_descriptor_is_left_to_look_a_name_up(self):
        class Nothing:
            """What the resolver of Twisted knows then."""

            def resolveHostName(self, receiver, name, *arguments, **options):
                receiver.resolutionBegan(None)
                receiver.resolutionComplete()

        before = reactor.installNameResolver(Nothing())
        self.addCleanup(reactor.installNameResolver, before)
        for left, words in (
            (True, "no address is known for"),
            (False, "cannot reach .*: too many open files"),
        ):
            self.patch(reasons, "exhausted", lambda left=left: not left)
            with self.assertRaisesRegex(ServerUnreachable, words):
                await self.dialer(host="somewhere.example").dial()

    async def test_closing_handshake_is_a_clean_end_on_both_sides(self):
        """Nothing waits for the carrier to unregister itself; whoever closes, both see that it was meant."""
        reasons = await self.end(await self.dialer().dial())
        self.assertTrue(all(reason.check(ConnectionDone) for reason in reasons), reasons)
        linked = await self.dialer().dial()
        lost = end_of(linked.session)
        self.sessions[-1][0].close("the server stops", CloseCode.RESTART)
        (reason,) = await lost
        self.assertTrue(reason.check(ConnectionDone))
        self.assertEqual(str(reason.value.args[0]), "the server restarts")

    async def test_agent_that_hangs_up_while_it_is_authenticated(self):
        for refused in (False, True):
            self.authenticated = Deferred()
            asked = self.asked
            visitor = Recorder()
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port), visitor)
            visitor.transport.write(HANDSHAKE)
            await asked
            gone = Deferred()
            close = accept.AcceptProtocol.onClose
            self.patch(
                accept.AcceptProtocol,
                "onClose",
                lambda protocol, *how, gone=gone, close=close: (close(protocol, *how), gone.callback(None)),
            )
            visitor.transport.abortConnection()
            await gone
            self.patch(accept.AcceptProtocol, "onClose", close)
            if refused:
                self.authenticated.errback(HandshakeRefused(401, "wrong"))
            else:
                self.authenticated.callback(None)
        self.assertEqual(self.sessions, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_dial_that_is_cancelled_leaves_no_session(self):
        self.authenticated = Deferred()
        asked = self.asked
        dialling = Deferred.fromCoroutine(self.dialer().dial())
        await asked
        await deferLater(reactor, 0)  # until it waits
        dialling.cancel()
        await self.assertFailure(dialling, CancelledError)
        self.authenticated.callback(None)  # the server does not know yet that nobody is there
        await end_of(self.sessions[0][0])

    async def test_text_is_answered_by_a_close_code(self):
        linked = await self.dialer().dial()
        protocol = linked.lifeline._carrier
        self.assertFalse(protocol.zero_mask)  # not over TLS
        closed = Deferred()
        close = protocol.onClose
        protocol.onClose = lambda clean, code, reason: (close(clean, code, reason), closed.callback(code))
        lost = end_of(self.sessions[0][0])
        protocol.sendMessage(b"text", False)
        self.assertEqual(await closed, CloseCode.UNSUPPORTED)
        await lost

    async def test_breach_of_websocket_is_told_by_a_close_code(self):
        masked = b"\x00" * 4
        for breach, code in (
            (b"\x82\xff" + (5 << 20).to_bytes(8, "big") + masked + bytes(70_000), 1009),
            (b"\x82\x01x", 1002),  # no mask
            (b"\xc2\x81" + masked + b"x", 1002),  # RSV1
        ):
            asking = Asking(HANDSHAKE[:-2])
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port), asking)
            await asking.answered
            ended = end_of(self.sessions[-1][0])
            asking.transport.write(breach)
            for _ in range(200):  # one that goes on sending, and never reads the good-bye
                if asking.gone.called:
                    break
                asking.transport.write(b"x" * 1000)
                await deferLater(reactor, 0.01)
            await asking.gone
            self.assertIn(b"\x88", asking.data.partition(b"\r\n\r\n")[2])
            self.assertIn(code.to_bytes(2, "big"), asking.data.partition(b"\r\n\r\n")[2])
            await ended

    async def test_dial_that_is_cancelled_while_it_connects(self):
        dialer = self.dialer()
        connecting = Deferred(lambda cancelled: cancelled.errback(ConnectingCancelledError(None)))
        self.patch(dialer, "_endpoint", SimpleNamespace(connect=lambda factory: connecting))
        dialling = Deferred.fromCoroutine(dialer.dial())
        dialling.cancel()
        await self.assertFailure(dialling, CancelledError)

    async def test_session_without_a_count_of_bytes_is_not_resumed(self):
        linked = await self.dialer().dial()
        for header in (b"", b"Burrow-Received: -1\r\n", b"Burrow-Received: \xb2\r\n"):
            asking = Asking(HANDSHAKE[:-2] + b"Burrow-Session: %b\r\n" % linked.session_id.encode() + header)
            answer = await self.ask(asking)
            self.assertIn(b"HTTP/1.1 101", answer)
            self.assertNotIn(linked.session_id.encode(), answer)
        before = len(self.sessions)
        good = b"Burrow-Session: %b\r\nBurrow-Received: 0\r\n" % linked.session_id.encode()
        asking = Asking(HANDSHAKE[:-2] + good)
        ended = end_of(linked.session)
        linked.trouble().addCallback(lambda _: linked.session.abort())
        self.assertIn(b"Burrow-Session: " + linked.session_id.encode(), await self.ask(asking, 0))
        self.assertEqual(len(self.sessions), before)
        await ended

    async def ask(self, asking, session=-1):
        """The head of the answer to a handshake by hand; whose connection then ends, and its session."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        await connectProtocol(endpoint, asking)
        answer = await asking.answered
        ended = end_of(self.sessions[session][0])
        asking.transport.abortConnection()
        await ended
        return answer


class Looks(Loopback):
    """What the heartbeats of a link's two ends do beside pinging."""

    def setUp(self):
        super().setUp()
        self.patch(heartbeat, "INTERVAL", 0.01)

    async def test_few_bytes_are_acknowledged_all_the_same(self):
        linked = await self.dialer().dial()
        there = self.sessions[0][1]
        linked.session.open_stream(Recorder()).write(b"few")
        self.sessions[0][0].open_stream(Recorder()).write(b"few")
        while not (self.accepted.built and self.accepted.built[0].received and there.received):
            await deferLater(reactor, 0.01)
        for lifeline in (linked.lifeline, there):
            while lifeline._replay.unacknowledged:
                await deferLater(reactor, 0.01)
        await self.end(linked)

    async def test_other_network_is_trouble(self):
        linked = await self.dialer().dial()
        trouble = linked.trouble()
        self.patch(dial, "_local_address", lambda peer: "another")
        await trouble
        await self.end(linked)

    async def test_silence_is_trouble(self):
        linked = await self.dialer().dial()
        trouble = linked.trouble()
        self.patch(heartbeat, "SUSPECT_AFTER", 0.0)
        await trouble
        self.assertFalse(linked.session.lost)
        await self.end(linked)


class OverTLS(Loopback):
    """Over TLS, whose own transport stands between the WebSocket and the socket."""

    def setUp(self):
        folder = Path(mkdtemp())
        self.ca_file, key_file = make_certificate(folder, "localhost")
        self.other_ca_file, _ = make_certificate(folder, "localhost", stem="other")
        self.context = DefaultOpenSSLContextFactory(str(key_file), str(self.ca_file))
        super().setUp()

    def listen(self):
        return reactor.listenSSL(0, self.factory, self.context, interface="127.0.0.1")

    def dialer(self, token="right", **trusted):
        address = ServerAddress(True, "localhost", self.port.getHost().port)
        return Dialer(reactor, Credentials(address, token, "agent-1234", **trusted))

    async def test_authorities_that_are_named_are_believed_alone(self):
        for trusted in ({"ca_file": self.ca_file}, {"ca_pem": self.ca_file.read_text()}):
            linked = await self.dialer(**trusted).dial()
            self.assertGreater(await linked.session.ping(), 0)
            self.assertTrue(linked.lifeline._carrier.zero_mask)
            reasons = await self.end(linked)
            self.assertTrue(all(reason.check(ConnectionDone) for reason in reasons), reasons)
        wrong = {"ca_file": self.other_ca_file}
        for distrusted in ({}, wrong, {**wrong, "ca_pem": self.other_ca_file.read_text()}):
            with self.assertRaisesRegex(ServerUnreachable, "does not believe.*--ca-file"):
                await self.dialer(**distrusted).dial()
        self.assertEqual(len(self.sessions), 2)

    async def test_certificate_that_is_believed_but_of_another_name(self):
        address = ServerAddress(True, "127.0.0.1", self.port.getHost().port)
        dialer = Dialer(reactor, Credentials(address, "right", "agent-1234", ca_file=self.ca_file))
        with self.assertRaisesRegex(ServerUnreachable, r"certificate .* is not for 127\.0\.0\.1"):
            await dialer.dial()
        self.assertEqual(self.sessions, [])

    async def test_server_that_ends_tls_ends_the_connection(self):
        linked = await self.dialer(ca_file=self.ca_file).dial()
        detached = linked.trouble()
        self.sessions[0][1]._carrier.transport.loseConnection()
        await detached
        ended = end_of(self.sessions[0][0])
        linked.session.abort()
        await ended  # by its grace time


class Refusing(TestCase):
    """Something that answers an agent's handshake in pieces."""

    async def test_sentence_that_comes_behind_its_head_is_read(self):
        body = b'{"error": "the token is revoked"}'
        head = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(body)

        class Answering(Protocol):
            def dataReceived(self, data):
                self.transport.write(head)
                reactor.callLater(0.01, self.transport.write, body[:9])
                reactor.callLater(0.02, self.transport.write, body[9:])

        port = reactor.listenTCP(0, Factory.forProtocol(Answering), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        credentials = Credentials(ServerAddress(False, "127.0.0.1", port.getHost().port), "", "agent-1234")
        with self.assertRaisesRegex(Refused, "the token is revoked"):
            await Dialer(reactor, credentials).dial()


class Asking(Protocol):
    """Sends a handshake, and keeps the head of the answer."""

    def __init__(self, handshake):
        self.handshake = handshake
        self.answered, self.gone = Deferred(), Deferred()
        self.data = b""

    def connectionLost(self, reason):
        self.gone.callback(None)

    def connectionMade(self):
        self.transport.write(self.handshake + b"\r\n")

    def dataReceived(self, data):
        self.data += data
        if b"\r\n\r\n" in self.data and not self.answered.called:
            self.answered.callback(self.data.partition(b"\r\n\r\n")[0])


HANDSHAKE = (
    b"GET /_burrow/agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: burrow.resume.v1\r\nAuthorization: Bearer right\r\n"
    b"Burrow-Agent: agent-1234\r\n\r\n"
)


class Ponging(carrier.CarrierProtocol):
    """A carrier without its WebSocket."""

    def __init__(self):
        self.pongs = []
        self.sendPong = self.pongs.append


def test_pings_of_a_peer_that_reads_nothing_do_not_pile_up():
    protocol = Ponging()
    for number in range(10_000):
        protocol.onPing(b"%d" % number)
    assert protocol.pongs == [b"0"]
    protocol.resumeProducing()  # the socket took it
    assert protocol.pongs == [b"0", b"9999"]
    for _ in range(3):
        protocol.resumeProducing()
    protocol.onPing(b"another")
    assert protocol.pongs == [b"0", b"9999", b"another"]


class _SocketWithoutLinux:
    IPPROTO_TCP = socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("12", 12),
        ("9" * 19, 10**19 - 1),
        ("1" * 20, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("\xb2", None),
        ("9" * 5000, None),
    ],
)
def test_counts_of_a_handshake(text, count):
    assert count_of(text) == count
