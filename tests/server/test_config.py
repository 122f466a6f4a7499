"""Tests for L{burrow.server.config}."""

from burrow.server.config import ServerConfig


def test_defaults_follow_the_domain():
    local, real = ServerConfig(), ServerConfig(domain="example.com")
    assert (local.https_listen, local.http_listen) == ("127.0.0.1:8443", "127.0.0.1:8080")
    assert (real.https_listen, real.http_listen) == (":443", ":80")
    assert ServerConfig(tls="off").https_listen == ""
