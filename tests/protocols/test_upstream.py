"""Tests for L{burrow.protocols.upstream}."""

import tomllib

import pytest
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TimeoutError

from burrow.client.tunnels_file import read_tunnels
from burrow.errors import ConfigError
from burrow.mux.pipe import PipeEnd
from burrow.protocols.http import answer_failure
from burrow.protocols.upstream import Upstream, UpstreamTLS
from tests.files import make_certificate
from tests.server.edge.edges import Wire

WEB = ("http", "https", "h2c", "h2")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3000", "http://localhost:3000"),
        ("localhost:3000", "http://localhost:3000"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("https://10.0.0.1", "https://10.0.0.1:443"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
        ("h2c://localhost:50051", "h2c://localhost:50051"),
        ("h2c://a.example", "h2c://a.example:80"),
        ("h2://a.example", "h2://a.example:443"),
        ("h2c+unix:/run/app.sock", "h2c+unix:/run/app.sock"),
        ("h2c+unix:///run/app.sock", "h2c+unix:/run/app.sock"),
    ],
)
def test_names_of_upstreams(text, meant):
    assert str(Upstream.parse(text, WEB)) == meant


def test_which_speak_http_2_and_tls():
    found = [
        Upstream.parse(text, WEB)
        for text in ("1", "https://x", "h2c://x", "h2://x", "unix:/x", "h2c+unix:/x")
    ]
    assert [each.http2 for each in found] == [False, False, True, True, False, True]
    assert [each.secure for each in found] == [False, True, False, True, False, False]


def test_kinds_that_speak_no_http_2():
    for text in ("h2c://x:1", "h2://x:1", "h2c+unix:/x"):
        with pytest.raises(ConfigError):
            Upstream.parse(text, ("tcp",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "example.com",
        "[::1]",
        "0",
        "65536",
        "a:b",
        "ftp://x:1",
        "http://x/path",
        "http://u:p@x",
        "http://",
        "x:99999",
        "http://x?q",
        "unix:",
        "unix:app.sock",
        "unix://app.sock",
        "unix:/" + "x" * 107,
        "h2c+unix:app.sock",
        "h2+unix:/run/app.sock",
        "h2c://x/path",
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


def test_rules_for_certificates_that_contradict_themselves(tmp_path):
    cert_file, key_file = make_certificate(tmp_path, "x")
    secure = Upstream.parse("https://x", WEB)
    assert secure.with_tls(UpstreamTLS()) is secure
    assert str(secure.with_tls(UpstreamTLS(cert_file, name="y"))) == str(secure)  # names are kept by it
    for upstream, tls in (
        (Upstream.parse("http://x", WEB), UpstreamTLS(name="y")),
        (Upstream.parse("unix:/x", WEB), UpstreamTLS(insecure=True)),
        (secure, UpstreamTLS(cert_file, insecure=True)),
        (secure, UpstreamTLS(key_file)),
        (secure, UpstreamTLS(tmp_path / "nowhere")),
    ):
        with pytest.raises(ConfigError):
            upstream.with_tls(tls)


@pytest.mark.parametrize(
    "table",
    [
        "upstream = 1\nupstream-insecure = 'yes'",
        "upstream = 'https://x'\nupstream-ca = 1",
        "upstream = 'https://x'\nupstream-name = 1",
        "upstream = 'http://x'\nupstream-name = 'y'",
    ],
)
def test_wrong_rules_in_a_file(table):
    with pytest.raises(ConfigError, match=r"\[tunnels.web\]"):
        read_tunnels(tomllib.loads(f"[web]\n{table}"), "burrow.toml")


def test_rules_in_a_file(tmp_path):
    cert_file, _ = make_certificate(tmp_path, "x")
    table = {"upstream": "https://x", "upstream-ca": str(cert_file), "upstream-name": "y"}
    request = read_tunnels({"web": table}, "burrow.toml")["web"]
    assert request.upstream.tls == UpstreamTLS(cert_file, False, "y")
    request = read_tunnels({"web": {"upstream": "https://x", "upstream-insecure": True}}, "")["web"]
    assert request.upstream.tls == UpstreamTLS(insecure=True)
