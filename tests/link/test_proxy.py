"""Tests for L{burrow.link.proxy}: which proxy, and the way through it."""

from types import SimpleNamespace

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.link import endpoint, proxy
from burrow.link.address import Credentials, ServerAddress
from burrow.link.proxy import ANSWER_TIMEOUT, ConnectProxyEndpoint, connect_request
from burrow.testing import Recorders

VARIABLES = ("https_proxy", "http_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"https_proxy": "http://p:3129"}, ("p", 3129, "")),
        ({"https_proxy": "p"}, ("p", 3128, "")),
        ({"https_proxy": "http://p:0"}, ("p", 3128, "")),
        ({"https_proxy": "http://u%40x:p@p:1"}, ("p", 1, "u@x:p")),
        ({"https_proxy": "http://u:p%2Fw@p:1"}, ("p", 1, "u:p/w")),
        ({"https_proxy": "http://u@p:1"}, ("p", 1, "u:")),
        ({"http_proxy": "http://p:1"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "example.com"}, None),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, None),
    ],
)
def test_proxy_of_the_environment(monkeypatch, environment, found):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy.proxy_for("https", "example.com") == found


@pytest.mark.parametrize("url", ["socks5://p:1", "http://p:99999", "http://", "https://p:1"])
def test_proxy_that_cannot_be_used(monkeypatch, url):
    monkeypatch.setenv("https_proxy", url)
    with pytest.raises(ConfigError, match="HTTPS_PROXY is not usable"):
        proxy.proxy_for("https", "example.com")


class Socket(StringTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True


class Proxied(SynchronousTestCase):
    def setUp(self):
        self.wanted = Recorders()
        self.begin(self.wanted)

    def begin(self, wanted):
        self.reactor = MemoryReactorClock()
        way = TCP4ClientEndpoint(self.reactor, "127.0.0.1", 3128)
        self.endpoint = ConnectProxyEndpoint(self.reactor, way, connect_request("::1", 443, "user:pass"))
        self.connecting = self.endpoint.connect(wanted)
        self.protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        self.transport = Socket()
        self.protocol.makeConnection(self.transport)

    def fails(self, words):
        error = self.failureResultOf(self.connecting, ConnectError).value
        self.assertIn(words, str(error))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_connection_becomes_the_wanted_protocols(self):
        self.assertEqual(
            self.transport.value(),
            b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n",
        )
        self.protocol.dataReceived(b"HTTP/1.1 200 Fine\r\nX: y")
        self.assertNoResult(self.connecting)
        self.protocol.dataReceived(b"\r\n")
        self.protocol.dataReceived(b"\r")
        self.assertNoResult(self.connecting)
        self.protocol.dataReceived(b"\nfirst bytes")
        recorder = self.successResultOf(self.connecting)
        self.assertEqual(recorder.received, b"first bytes")
        self.transport.protocol.dataReceived(b" more")
        self.assertEqual(recorder.received, b"first bytes more")
        self.reactor.advance(2 * ANSWER_TIMEOUT)
        self.assertFalse(self.transport.aborted)

    def test_nothing_is_said_before_the_first_bytes(self):
        received = []
        self.wanted._make = lambda: _Told(received)
        self.begin(self.wanted)
        self.protocol.dataReceived(b"HTTP/1.1 200\r\n\r\n")
        self.successResultOf(self.connecting)
        self.assertEqual(received, [])

    def test_user_that_is_not_known_is_not_sent(self):
        self.assertEqual(
            connect_request("example.com", 443, ""),
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        )

    def test_refusal(self):
        for answer in ("HTTP/1.1 403 No\r\nX: 200", "HTTP/1.1 502", "200", ""):
            self.begin(self.wanted)
            self.protocol.dataReceived(answer.encode() + b"\r\n\r\n")
            self.fails("refused the connection: " + answer.partition("\r\n")[0])
        self.assertEqual(self.wanted.built, [])

    def test_answer_that_does_not_end(self):
        """16 KiB of it are read."""
        self.protocol.dataReceived(b"HTTP/1.1 200 Fine\r\n")
        self.protocol.dataReceived(b"x" * (16_384 - 19))
        self.assertNoResult(self.connecting)
        self.protocol.dataReceived(b"x")
        self.fails("no end")

    def test_proxy_that_does_not_answer(self):
        self.reactor.advance(9.5)
        self.protocol.dataReceived(b"HTTP/1.1 200 Fine\r\n")
        self.reactor.advance(0.4)
        self.assertNoResult(self.connecting)
        self.reactor.advance(0.1)
        self.fails("the proxy did not answer")
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def test_proxy_that_hangs_up(self):
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.connecting, ConnectError)

    def test_nobody_wants_the_connection_any_more(self):
        self.connecting.cancel()
        self.failureResultOf(self.connecting, CancelledError)
        self.assertTrue(self.transport.aborted)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.begin(SimpleNamespace(doStart=bool, buildProtocol=lambda address: None))
        self.protocol.dataReceived(b"HTTP/1.1 200 Fine\r\n\r\n")
        self.fails("no protocol")


class _Told:
    """Keeps each call of dataReceived."""

    def __init__(self, received):
        self.dataReceived = received.append

    def makeConnection(self, transport):
        pass


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize(
    ("variables", "host", "connects", "asks"),
    [
        ({}, "example.com", ("example.com", 81), None),
        ({}, "a.localhost", ("localhost", 81), None),
        ({"https_proxy": "u:p@p:1", "http_proxy": "q:2"}, "example.com", None, "example.com"),
        ({"https_proxy": "u:p@p:1", "no_proxy": "localhost"}, "localhost", ("localhost", 81), None),
    ],
)
def test_way_to_a_server(monkeypatch, secure, variables, host, connects, asks):
    for name, value in variables.items():
        monkeypatch.setenv(name, f"http://{value}" if name != "no_proxy" else value)
    made = []

    def named(reactor, name, port, timeout):
        assert timeout == 10
        made.append((name, port))
        return "tcp"

    monkeypatch.setattr(endpoint, "HostnameEndpoint", named)
    monkeypatch.setattr(endpoint, "SecureEndpoint", lambda reactor, options, way: ("tls", options, way))
    clock = MemoryReactorClock()
    way = endpoint.server_endpoint(clock, Credentials(ServerAddress(secure, host, 81), "", ""))
    if secure:
        kind, options, way = way
        assert (kind, options.name) == ("tls", host)
    if asks is None:
        assert (way, made) == ("tcp", [connects])
    else:
        assert made == [("p", 1) if secure else ("q", 2)]
        credentials = "u:p" if secure else ""
        assert way._request == connect_request(asks, 81, credentials)
