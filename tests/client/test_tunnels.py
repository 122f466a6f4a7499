"""Tests for L{burrow.client.tunnels}: a kind that only the server has."""

import pytest

from burrow.client.tunnels import tunnel_request
from burrow.client.tunnels_file import read_tunnels
from burrow.errors import ConfigError
from burrow.protocols.registry import kinds
from burrow.wording import COMMAND_LINE, ENDPOINT, FILE, PROGRAM


def test_tunnel_of_a_kind_that_only_the_server_has():
    request = tunnel_request("tcp", "6379", "cache", {"as": "redis", "port": "20001"}, written=COMMAND_LINE)
    assert (request.kind.name, request.sent(), str(request.upstream)) == (
        "redis",
        {"port": 20001},
        str(tunnel_request("tcp", "6379", None, {}).upstream),
    )
    table = {"cache": {"kind": "tcp", "as": "redis", "upstream": 6379}}
    assert read_tunnels(table, "config.toml")["cache"].kind.name == "redis"


@pytest.mark.parametrize("name", ["Redis", "re dis", "../redis", "9p", "x" * 40])
def test_no_name_of_a_kind(name):
    with pytest.raises(ConfigError, match="write the name of a kind"):
        tunnel_request("tcp", "6379", None, {"as": name}, written=COMMAND_LINE)


def test_unknown_kind_says_what_to_write_where_the_server_has_it():
    with pytest.raises(ConfigError, match='write kind = "tcp" and as = "redis"'):
        read_tunnels({"cache": {"kind": "redis", "upstream": 6379}}, "config.toml")


@pytest.mark.parametrize("method", ["check_options", "parse_upstream"])
def test_a_plugin_that_fails_is_named(monkeypatch, method):
    def fail(*arguments):
        raise ZeroDivisionError("a plugin's fault")

    monkeypatch.setattr(kinds()["tcp"], method, fail)
    said = "plugin for tunnels of kind tcp failed: ZeroDivisionError: a plugin's fault"
    with pytest.raises(ConfigError, match=said):
        tunnel_request("tcp", "6379", None, {})


@pytest.mark.parametrize(
    ("kind", "given", "command_line", "file", "program", "endpoint"),
    [
        (
            "tcp",
            {"private": True, "port": 20_000},
            "a private tunnel has no public port: leave --port away, or --private",
            "a private tunnel has no public port: leave port away, or private",
            "a private tunnel has no public port: leave port away, or private",
            "a private tunnel has no public port: leave port away, or private",
        ),
        (
            "http",
            {"sticky": True},
            "--sticky is for a name that agents share: add --share",
            "sticky is for a name that agents share: add share = true",
            "sticky is for a name that agents share: add share=True",
            "sticky is for a name that agents share: add share=yes",
        ),
        (
            "http",
            {"cors-credentials": True},
            "--cors-credentials says what allowed origins may send: add --cors ORIGIN",
            "cors-credentials says what allowed origins may send: add cors ORIGIN",
            "cors_credentials says what allowed origins may send: add cors ORIGIN",
            "cors-credentials says what allowed origins may send: add cors ORIGIN",
        ),
        (
            "tcp",
            {"port": "x"},
            '--port "x" is not possible: write a port, 1 to 65535',
            'port = "x" is not possible: write a port, 1 to 65535',
            'port="x" is not possible: write a port, 1 to 65535',
            'port="x" is not possible: write a port, 1 to 65535',
        ),
        (
            "tcp",
            {"as": "udp"},
            "this Burrow has tunnels of kind udp: write burrow udp, without --as",
            'this Burrow has tunnels of kind udp: write kind = "udp", without as',
            'this Burrow has tunnels of kind udp: write kind="udp", without as',
            "this Burrow has tunnels of kind udp: write kind=udp, without as",
        ),
        (
            "gopher",
            {},
            'write burrow tcp --as "gopher"',
            'write kind = "tcp" and as = "gopher"',
            'write kind="tcp", **{"as": "gopher"}',
            'write kind=tcp:as="gopher"',
        ),
    ],
)
def test_options_are_spelled_as_they_were_given(kind, given, command_line, file, program, endpoint):
    texts = {COMMAND_LINE: command_line, FILE: file, PROGRAM: program, ENDPOINT: endpoint}
    for written, sentence in texts.items():
        with pytest.raises(ConfigError) as raised:
            tunnel_request(kind, "3000", None, given, written)
        assert str(raised.value).endswith(sentence)
