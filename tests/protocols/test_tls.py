"""Tests for L{burrow.protocols.tls}."""

from types import SimpleNamespace

import pytest
from twisted.internet.testing import MemoryReactorClock

from burrow.errors import ConfigError
from burrow.mux.control import VisitorHead
from burrow.protocols.base import AgentTunnel, Reach
from burrow.protocols.options import read_options
from burrow.protocols.registry import kinds

KIND = kinds()["tls"]


def test_is_found_and_reached_by_name():
    assert (KIND.reach, KIND.scheme) == (Reach.SNI, "tls")
    assert str(KIND.parse_upstream("8443", {})) == "tcp://localhost:8443"
    with pytest.raises(ConfigError, match="write a port"):
        KIND.parse_upstream("https://localhost", {})
    with pytest.raises(ConfigError, match="no option port"):
        read_options(KIND.options, {"port": 20000})


def test_server_refuses_addresses():
    options = read_options(KIND.options, {"allow": ["192.0.2.0/24"]})
    KIND.check_options(options)
    factory = KIND.visitor_factory(SimpleNamespace(options=options))
    assert factory.buildProtocol(SimpleNamespace(host="192.0.2.1")) is not None
    assert factory.buildProtocol(SimpleNamespace(host="198.51.100.1")) is None


@pytest.mark.parametrize(
    ("url", "port"), [("tls://db.example.com", 443), ("tls://db.example.com:8443", 8443)]
)
def test_service_is_told_the_visitor_before_the_hello(url, port):
    options = read_options(KIND.options, {"proxy-protocol": "v1"})
    upstream = KIND.parse_upstream("8443", options)
    tunnel = AgentTunnel(MemoryReactorClock(), KIND, upstream, options, url=url)
    protocol = KIND.agent_protocol(tunnel, VisitorHead("db", "192.0.2.1:1024", "tls"))
    assert protocol.first == b"PROXY TCP4 192.0.2.1 0.0.0.0 1024 %d\r\n" % port
