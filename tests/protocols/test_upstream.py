"""Tests for L{burrow.protocols.upstream}."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.mux.pipe import PipeEnd
from burrow.protocols.http import answer_failure
from burrow.protocols.upstream import Upstream, UpstreamFailed
from tests.server.edge.edges import Wire

WEB = ("http", "https")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3000", "http://localhost:3000"),
        ("localhost:3000", "http://localhost:3000"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("https://10.0.0.1", "https://10.0.0.1:443"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("example.com", "http://example.com:80"),
    ],
)
def test_names_of_upstreams(text, meant):
    assert str(Upstream.parse(text, WEB)) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65536",
        "a:b",
        "ftp://x:1",
        "http://x/path",
        "http://u:p@x",
        "http://",
        "x:99999",
        "http://x?q",
    ],
)
def test_what_is_no_upstream(text):
    with pytest.raises(ConfigError):
        Upstream.parse(text, WEB)


def test_tcp_needs_a_port():
    assert str(Upstream.parse("5432", ("tcp",))) == "tcp://localhost:5432"
    with pytest.raises(ConfigError):
        Upstream.parse("db.example", ("tcp",))


@pytest.mark.parametrize(
    "host", ["db.internal", "10.1.2.3", "[fd00::1]", "127.0.0.1", "localhost", "[::1]", "a.localhost"]
)
@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(), TimeoutError(), DNSLookupError(), Exception("10.1.2.3 is odd")]
)
def test_hosts_of_the_agents_network_are_for_its_screen(host, error):
    """What a visitor is told names the loopback's ports at most."""
    upstream = Upstream.parse(f"{host}:4711", WEB)
    failure = upstream.explain(error)
    stream = PipeEnd()
    stream.makeConnection(Wire(None))
    answer_failure(stream, failure)
    told = stream.transport.value().decode()
    assert f"\r\nBurrow-Error: {failure.code}\r\n" in told
    assert upstream.host in str(failure)
    if "local" in host or host in ("127.0.0.1", "[::1]"):
        assert str(failure) in told
    else:
        assert not [word for word in (upstream.host, "4711", "10.1.2.3") if word in told]


class Connecting(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.connector = Upstream.parse("3000", WEB).connector(self.reactor)

    def connect(self):
        return Deferred.fromCoroutine(self.connector.connect(Factory.forProtocol(Protocol)))

    def fail_last(self, error):
        self.reactor.connectors[-1].stopConnecting()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(self.reactor.connectors[-1], Failure(error))

    def hosts(self):
        return [client[0] for client in self.reactor.tcpClients]

    def test_other_loopback_is_tried_and_remembered(self):
        connecting = self.connect()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        protocol.makeConnection(object())
        self.successResultOf(connecting)
        self.assertEqual(self.hosts(), ["127.0.0.1", "::1"])
        self.connect().addErrback(lambda reason: None)
        self.assertEqual(self.hosts()[-1], "::1")

    def test_failures_are_explained(self):
        for error, code in (
            (ConnectionRefusedError(), "refused"),
            (TimeoutError(), "timeout"),
            (DNSLookupError(), "unknown-host"),
        ):
            connecting = self.connect()
            for _ in range(2):
                self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(error))
            failure = self.failureResultOf(connecting, UpstreamFailed)
            self.assertEqual(failure.value.code, code)
            self.assertTrue(str(failure.value))
