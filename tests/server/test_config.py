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


def test_http_2_is_spoken_inside_tls_unless_it_is_off_and_without_tls_if_it_is_asked_for():
    for tls in ("local", "acme", "files"):
        spoken = [ServerConfig(tls=tls, http2=given).speaks_http2 for given in (None, True, False)]
        assert spoken == [True, True, False]
    assert [ServerConfig(tls="off", http2=given).speaks_http2 for given in (None, True, False)] == [
        False,
        True,
        False,
    ]


def test_a_tokens_share_of_certificates_is_half_of_what_there_is():
    lets_encrypt, other = ServerConfig().acme_url, "https://ca.example/dir"
    assert (ServerConfig().acme_weekly(lets_encrypt), ServerConfig().acme_share(lets_encrypt)) == (45, 23)
    assert (ServerConfig().acme_weekly(other), ServerConfig().acme_share(other)) == (0, 0)
    assert ServerConfig(acme_limit=1).acme_share(other) == 1
    assert ServerConfig(acme_limit=10, acme_token_limit=3).acme_share(other) == 3
    assert ServerConfig(acme_token_limit=0).acme_share(lets_encrypt) == 0
