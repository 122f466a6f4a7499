"""Tests for L{burrow.link}: addresses, proxies, trust; and a link without what Linux alone has."""

import socket
from pathlib import Path
from tempfile import mkdtemp

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from burrow.errors import ConfigError, Refused, ServerUnreachable
from burrow.link import accept, carrier, proxy, trust
from burrow.link.accept import AcceptFactory, HandshakeRefused, bearer
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import Dialer
from burrow.testing import Recorder, Recorders
from tests.files import make_certificate


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://example.com", "https://example.com:443"),
        ("example.com", "https://example.com:443"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_server_addresses(text, meant):
    assert str(ServerAddress.parse(text)) == meant


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "https://", "https://x:0", "https://x:99999", "https://x/path"]
)
def test_what_is_no_server_address(text):
    with pytest.raises(ConfigError):
        ServerAddress.parse(text)


def test_token_is_not_shown():
    assert "secret" not in repr(Credentials(ServerAddress.parse("x"), "secret", "agent"))


def test_bearer():
    assert [bearer(text) for text in ("Bearer x", "bearer  y ", "Basic z", "")] == ["x", "y", "", ""]


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"https_proxy": "http://p:3129"}, ("p", 3129, "")),
        ({"https_proxy": "p"}, ("p", 3128, "")),
        ({"https_proxy": "http://u%40x:p@p:1"}, ("p", 1, "u@x:p")),
        ({"https_proxy": "http://p:1", "no_proxy": "example.com"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, None),
    ],
)
def test_proxy_of_the_environment(monkeypatch, environment, found):
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy.proxy_for("https", "example.com") == found


@pytest.mark.parametrize("url", ["socks5://p:1", "http://p:99999", "http://"])
def test_proxy_that_cannot_be_used(monkeypatch, url):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("https_proxy", url)
    with pytest.raises(ConfigError):
        proxy.proxy_for("https", "example.com")


class Proxied(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", 3128)
        self.endpoint = proxy.ConnectProxyEndpoint(endpoint, "::1", 443, "user:pass")
        self.wanted = Recorders()
        self.connecting = self.endpoint.connect(self.wanted)
        self.protocol = self.reactor.tcpClients[0][2].buildProtocol(None)
        self.transport = StringTransport()
        self.transport.abortConnection = self.transport.loseConnection
        self.protocol.makeConnection(self.transport)

    def test_connection_becomes_the_wanted_protocols(self):
        self.assertEqual(
            self.transport.value(),
            b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n",
        )
        self.protocol.dataReceived(b"HTTP/1.1 200 Fine\r\nX: y")
        self.assertNoResult(self.connecting)
        self.protocol.dataReceived(b"\r\n\r\nfirst bytes")
        recorder = self.successResultOf(self.connecting)
        self.assertEqual(recorder.received, b"first bytes")
        self.protocol.dataReceived(b" more")
        self.assertEqual(recorder.received, b"first bytes more")

    def test_refusal(self):
        self.protocol.dataReceived(b"HTTP/1.1 403 No\r\n\r\n")
        self.assertIn("403 No", str(self.failureResultOf(self.connecting, ConnectError).value))

    def test_nonsense(self):
        self.protocol.dataReceived(b"x" * 20_000)
        self.failureResultOf(self.connecting, ConnectError)


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


class Linked(TestCase):
    """A real link over loopback sockets, as on a system that has none of Linux's calls."""

    def setUp(self):
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self.patch(carrier, "socket", _SocketWithoutLinux)
        self.sessions = []
        self.accepted = Recorders()
        self.identity = "somebody"

        async def authenticate(handshake):
            if handshake.token != "right":
                raise HandshakeRefused(401, "wrong token")
            return self.identity

        def begin(session, lifeline, identity, handshake):
            session.factory = self.accepted
            self.sessions.append((session, lifeline, identity, handshake))

        self.factory = AcceptFactory(
            reactor, authenticate, begin, lambda identity, handshake: (identity, handshake.agent), grace=0.05
        )
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def dialer(self, token="right", port=None):
        address = ServerAddress(False, "127.0.0.1", port or self.port.getHost().port)
        return Dialer(reactor, Credentials(address, token, "agent-1234"))

    async def test_bytes_and_the_end(self):
        linked = await self.dialer().dial()
        session = linked.session
        there, _, identity, handshake = self.sessions[0]
        self.assertEqual((identity, handshake.agent), ("somebody", "agent-1234"))
        lost, here_lost = Deferred(), Deferred()
        there.on_lost = lambda reason: lost.callback(None)
        linked.on_trouble = lambda: here_lost.callback(None)
        self.assertGreater(await session.ping(), 0)
        session.open_stream(Recorder()).write(b"hello")
        await session.ping()
        self.assertEqual(self.accepted.built[0].received, b"hello")
        session.close("enough")  # a good-bye: nothing is kept
        await lost
        await here_lost
        self.assertTrue(session.lost)

    async def test_session_goes_on_over_another_connection(self):
        dialer = self.dialer()
        linked = await dialer.dial()
        stream = linked.session.open_stream(Recorder())
        stream.write(b"one ")
        await linked.session.ping()
        detached = Deferred()
        linked.on_trouble = lambda: detached.callback(None)
        linked.lifeline._carrier.abort()
        await detached
        stream.write(b"two ")
        self.assertIs(await dialer.dial(linked), linked)
        await linked.session.ping()
        linked.on_trouble = lambda: None
        self.assertIs(await dialer.dial(linked), linked)  # while the other is still there: the newer wins
        stream.write(b"three")
        await linked.session.ping()
        self.assertEqual(self.accepted.built[0].received, b"one two three")
        self.assertEqual(len(self.sessions), 1)
        await self.end(linked)

    async def end(self, linked):
        lost = [Deferred(), Deferred()]
        self.sessions[-1][0].on_lost = lambda reason: lost[0].callback(None)
        linked.on_trouble = lambda: lost[1].callback(None)
        linked.session.close("done")
        await lost[0]
        await lost[1]

    async def test_session_id_is_worthless_to_others(self):
        linked = await self.dialer().dial()
        self.identity = "thief"
        stolen = await self.dialer().dial(linked)
        self.assertIsNot(stolen, linked)
        self.assertEqual(len(self.sessions), 2)
        await self.end(stolen)
        ended = Deferred()
        self.sessions[0][0].on_lost = lambda reason: ended.callback(None)
        linked.session.close("done")
        await ended

    async def test_grace_time_ends(self):
        dialer = self.dialer()
        linked = await dialer.dial()
        ended, detached = Deferred(), Deferred()
        self.sessions[0][0].on_lost = lambda reason: ended.callback(None)
        linked.on_trouble = lambda: detached.callback(None)
        linked.lifeline._carrier.abort()
        await detached
        await ended
        linked.on_trouble = lambda: None
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


def test_stream_limit_for_agents_is_small():
    assert accept.MAX_AGENT_STREAMS <= 64
