"""Tests for L{burrow.server.config}."""

from burrow.server.config import ServerConfig


def test_defaults_follow_the_domain():
    local, real = ServerConfig(), ServerConfig(domain="example.com")
    assert (str(local.https_listen), str(local.http_listen)) == ("127.0.0.1:8443", "127.0.0.1:8080")
    assert (str(real.https_listen), str(real.http_listen)) == (":443", ":80")
    assert ServerConfig(tls="off").https_listen is None
    assert ServerConfig(https="off", http="off").https_listen is None
    assert ServerConfig(https="off", http="off").http_listen is None
    assert str(ServerConfig(node="off").node_address) == "127.0.0.1:0"
