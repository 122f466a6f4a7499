"""Several tunnels by one command or table, for domains."""

import pytest

from burrow.client.several import tunnel_requests
from burrow.client.tunnels import tunnel_request
from burrow.client.tunnels_file import read_tunnels
from burrow.errors import ConfigError
from burrow.protocols.domain import MAX_DOMAINS
from burrow.wording import COMMAND_LINE


def names(name, domains, kind="http", upstream="3000"):
    return [
        each.name for each in tunnel_requests(kind, upstream, name, {"domain": domains}, written=COMMAND_LINE)
    ]


def test_each_domain_is_a_tunnel():
    assert names(None, ["A.Example.ORG", "b.example.org", "a.example.org."]) == [
        "a.example.org",
        "b.example.org",
    ]
    assert names("shop", ["a.example.org"]) == ["shop", "a.example.org"]
    assert names("db", ["a.example.org"], "tls", "5432") == ["db", "a.example.org"]
    for request in tunnel_requests("http", "3000", None, {"domain": ["a.example.org"], "password": "x"}):
        assert "domain" not in request.sent("agent")
        assert request.sent("agent")["password"].startswith("$scrypt$")


def test_in_a_file():
    table = {"shop": {"upstream": 3000, "domain": ["a.example.org", "b.example.org"]}}
    found = read_tunnels(table, "the file")
    assert {label: request.name for label, request in found.items()} == {
        "shop": "shop",
        "shop a.example.org": "a.example.org",
        "shop b.example.org": "b.example.org",
    }
    table["shop"]["name"] = ""
    table["shop"]["domain"] = "a.example.org"
    assert [request.name for request in read_tunnels(table, "the file").values()] == ["a.example.org"]
    table["other"] = {"upstream": 1, "domain": "a.example.org"}
    with pytest.raises(ConfigError, match=r"has the name a\.example\.org"):
        read_tunnels(table, "the file")


@pytest.mark.parametrize(
    ("domains", "words"),
    [
        (["x"], "--domain .x. is not possible: write a whole domain.*--name x"),
        (["192.0.2.1"], "write a domain name"),
        ([f"{number}.example.org" for number in range(MAX_DOMAINS + 1)], "are too many"),
    ],
)
def test_what_is_not_possible(domains, words):
    with pytest.raises(ConfigError, match=words):
        names(None, domains)


def test_a_private_tunnel_has_no_domain():
    with pytest.raises(ConfigError, match=r"--domain is for visitors of a public URL.*leave one of both out"):
        tunnel_requests(
            "http", "3000", None, {"domain": ["a.example.org"], "private": True}, written=COMMAND_LINE
        )
    with pytest.raises(ConfigError, match=r"^domain is for visitors"):
        tunnel_requests("http", "3000", None, {"domain": "a.example.org", "private": "yes"})
    told = {"domain": "a.example.org", "private": False}
    assert [each.name for each in tunnel_requests("http", "3000", None, told)] == ["a.example.org"]


def test_programs_give_one_as_the_name():
    with pytest.raises(ConfigError, match=r"give a\.example\.org as its name"):
        tunnel_request("http", "3000", None, {"domain": ["a.example.org"]})
    assert tunnel_request("http", "3000", "a.example.org", {}).name == "a.example.org"
