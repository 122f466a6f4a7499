"""Tests for L{burrow.program.endpoint}. tests/e2e/test_endpoint.py has real tunnels."""

import os
from unittest import mock

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    ISSLTransport,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.internet.protocol import Factory
from twisted.plugin import getPlugins
from zope.interface.verify import verifyObject

from burrow.errors import ConfigError
from burrow.mux.control import VisitorHead
from burrow.program.endpoint import TunnelPort, _ToFactory
from burrow.protocols.base import AgentTunnel
from burrow.protocols.http import HttpProtocol
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair

SETTINGS = {"BURROW_SERVER": "https://example.com", "BURROW_TOKEN": "burrow_secret"}


@pytest.fixture(autouse=True)
def environ(tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BURROW_")}
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    with mock.patch.dict(os.environ, {**kept, **home, **SETTINGS}, clear=True):
        yield


def request(text):
    """The request of an endpoint's string."""
    return serverFromString(None, text)._request


def test_the_plugin_is_found():
    (found,) = (each for each in getPlugins(IStreamServerEndpointStringParser) if each.prefix == "burrow")
    verifyObject(IStreamServerEndpointStringParser, found)


def test_what_is_read():
    for text, kind, name, options in (
        ("burrow", "http", None, {}),
        ("burrow:demo", "http", "demo", {}),
        ("burrow:name=demo:kind=tcp:port=4000", "tcp", "demo", {"port": 4000}),
        ("burrow:name=demo:private=yes:allow-token=ann", "http", "demo", {"private": True}),
        ("burrow:kind=tcp:as=redis", "redis", None, {}),
        ("burrow:kind=tls", "tls", None, {}),
    ):
        found = request(text)
        assert (found.kind.name, found.name) == (kind, name), text
        assert {key: found.options[key] for key in options} == options
    endpoint = serverFromString(
        None, r"burrow:server=https\://other.example\:8443:token=t:stop-grace=3:no-retry=1"
    )
    verifyObject(IStreamServerEndpoint, endpoint)
    config = endpoint._config
    assert (config.server, config.token) == ("https://other.example:8443", "t")
    assert (config.stop_grace, config.no_retry, config.no_inspect) == (3.0, True, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("burrow:", "'' is no possible name"),
        ("burrow:demo:other", "'other' is one name too many"),
        ("burrow:demo:name=other", "'demo' is one name too many"),
        ("burrow:kind=udp", "tunnels of kind udp bring a program no connections: write kind=http"),
        ("burrow:kind=files", "tunnels of kind files bring a program no connections"),
        ("burrow:kind=redis", "kind=tcp:as=KIND"),
        ("burrow:nmae=demo", "no option nmae"),
        ("burrow:kind=tcp:port=x", "write a port"),
        ("burrow:kind=tcp:port=4000-4003", 'port="4000-4003" is several ports.* write a tunnel for each$'),
        ("burrow:private=maybe", "write true or false"),
        ("burrow:kind=tcp:proxy-protocol=v1", "proxy-protocol is about a service with an address"),
        ("burrow:upstream-insecure=true", "upstream-insecure is about a service with an address"),
        ("burrow:end-to-end=true", "end-to-end is about a service with an address"),
        ("burrow:route=/api=4000", "route is about a service with an address"),
        ("burrow:no-inspect=true", "no option no-inspect"),
        ("burrow:stop-grace=x", "write a number of seconds"),
        (r"burrow:server=http\://example.com", "could read the token"),
        ("burrow:allow-token=ann", "add private=yes"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        serverFromString(None, text)


def test_without_a_server_or_token():
    for key, words in (("BURROW_TOKEN", "which token"), ("BURROW_SERVER", "which server")):
        del os.environ[key]
        with pytest.raises(ConfigError, match=words):
            serverFromString(None, "burrow:demo")


class Streams:
    """The stream of a visitor, to a program's factory."""

    def __init__(
        self, visitor="192.0.2.7:4711", scheme="https", url="https://demo.example.com", factory=None
    ):
        self.factory = factory or Recorders(HalfCloseRecorder)
        self.pair = SessionPair()
        kind = _ToFactory(HttpProtocol(), self.factory)
        tunnel = AgentTunnel(self.pair.clock, kind, None, url=url)
        self.visitor = HalfCloseRecorder()
        protocol = kind.agent_protocol(tunnel, VisitorHead("demo", visitor, scheme))
        self.pair.agent.factory = Recorders(lambda: protocol)
        self.pair.server.open_stream(self.visitor)
        self.pair.pump()


def test_a_visitor_is_a_connection_of_the_factory():
    streams = Streams()
    (protocol,) = streams.factory.built
    assert protocol.transport.getPeer() == IPv4Address("TCP", "192.0.2.7", 4711)
    assert protocol.transport.getHost().port == 443
    assert ISSLTransport.providedBy(protocol.transport)
    assert protocol.transport.getPeerCertificate() is None
    streams.visitor.transport.write(b"question")
    streams.pair.pump()
    protocol.transport.write(protocol.received + b" and answer")
    protocol.transport.loseConnection()
    streams.pair.pump()
    assert streams.visitor.received == b"question and answer"
    assert streams.visitor.read_lost


def test_without_tls_it_is_not_secure():
    streams = Streams("[2001:db8::7]:4711", "tcp", "tcp://example.com:20001")
    (protocol,) = streams.factory.built
    assert protocol.transport.getPeer() == IPv6Address("TCP", "2001:db8::7", 4711)
    assert protocol.transport.getHost().port == 20_001
    assert not ISSLTransport.providedBy(protocol.transport)


def test_a_factory_that_takes_no_connection():
    class Busy(Factory):
        def buildProtocol(self, addr):
            return None

    assert Streams(factory=Busy()).visitor.lost is not None


def test_the_kind_is_the_kinds_own():
    kind = _ToFactory(HttpProtocol(), Factory())
    assert (kind.name, kind.version) == ("http", HttpProtocol.version)
    assert kind.options == HttpProtocol.options


class Tunnel:
    closed = False

    def __init__(self, url):
        self.url = url

    def when_ended(self, call):
        self.ended = call


def test_the_port():
    for url, address in (
        ("https://demo.example.com", HostnameAddress(b"demo.example.com", 443)),
        ("https://demo.example.com:8443", HostnameAddress(b"demo.example.com", 8443)),
        ("http://demo.example.com", HostnameAddress(b"demo.example.com", 80)),
        ("tcp://example.com:20001", HostnameAddress(b"example.com", 20_001)),
        ("private://demo", HostnameAddress(b"demo", 0)),
    ):
        factory = Factory()
        port = TunnelPort(factory)
        tunnel = Tunnel(url)
        factory.doStart()
        port.opened(tunnel)
        verifyObject(IListeningPort, port)
        assert port.getHost() == address
        port.startListening()
        tunnel.closed = True
        tunnel.ended(None)
        assert factory.numPorts == 0
        with pytest.raises(CannotListenError):
            port.startListening()
