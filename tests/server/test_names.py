"""Tests for L{burrow.server.names}."""

import pytest

from burrow.errors import BadOption
from burrow.server.hosts import Hosts
from burrow.server.names import RESERVED, assigned_name, check_name

HOSTS = Hosts("example.com")


def test_assigned_names_are_possible_and_differ():
    names = {assigned_name() for _ in range(2000)}
    assert len(names) == 2000
    for name in names:
        assert check_name(name, HOSTS) == name


def test_names_of_the_servers_owner():
    for name in ("app", "api", "docs", "dashboard", "status", "blog-admin", "mail", "burrow"):
        assert check_name(name, HOSTS) == name
    for name in ("postmaster", "hostmaster", "wpad", "autodiscover", "mta-sts", "localhost", "www", "Abuse"):
        with pytest.raises(BadOption, match="reserved"):
            check_name(name, HOSTS)
    with pytest.raises(BadOption, match="reserved"):
        check_name("Docs", HOSTS, {"docs"})


@pytest.mark.parametrize("name", ["a", "blog", "a-b", "1", "Blog", "x" * 63, "0-0"])
def test_possible(name):
    assert check_name(name, HOSTS) == name.lower()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "a_b",
        "x" * 64,
        "ü",
        "a b",
        "xn--bcher-kva",
        "ab--c",
        "a\n",
        "_dmarc",
        *sorted(RESERVED),
    ],
)
def test_impossible(name):
    with pytest.raises(BadOption):
        check_name(name, HOSTS)


def test_domains_of_users_own():
    for name in ("app.example.org", "APP.Example.ORG.", "example.org", "xn--bcher-kva.example"):
        assert check_name(name, HOSTS) == name.lower().rstrip(".")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("example.com", "this server's own"),
        ("blog.example.com", "--name blog"),
        ("a.blog.example.com", "--name blog"),
        ("192.0.2.1", "no possible domain"),
        ("_x.example.org", "no possible domain"),
        ("bücher.example", "xn--"),
        ("a..b", "no possible domain"),
        ("a b.example", "no possible domain"),
        (f"{'x' * 64}.org", "no possible domain"),
        ("org.", "whole domain"),
        ("com.example.com", "--name com"),
        ("*", "write *. and that name, as in --name '*.blog'"),
        ("*.*", "write *. and that name, as in --name '*.blog'"),
        ("*.blog.example.com", "write *. and that name"),
        ("blog*", "write *. and that name"),
        ("https://blog.example.com", "write the name alone, as in --name blog"),
    ],
)
def test_domains_that_are_not_possible(name, words):
    with pytest.raises(BadOption) as caught:
        check_name(name, HOSTS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("blog.example.com", "blog"),
        ("app.example.org", "app.example.org"),
        ("xexample.com", "xexample.com"),
        ("x.blog.example.com", "*.blog"),
        ("a.x.blog.example.com", ""),
        (".blog.example.com", ""),
        ("example.com", ""),
        (".example.com", ""),
        ("localhost", ""),
        ("192.0.2.1", ""),
        ("", ""),
    ],
)
def test_hosts_and_names(host, name):
    assert HOSTS.name(host) == name
    if name.startswith("*."):
        assert HOSTS.of(name) == "*.blog.example.com"
    elif name:
        assert HOSTS.of(name) == host


def test_wildcards():
    assert check_name("*.Blog", HOSTS) == "*.blog"
    for name in ("*.", "*", "*.a.b", "*.example.org", "x*.blog", "*.www", "*.*.blog", "*blog"):
        with pytest.raises(BadOption):
            check_name(name, HOSTS)
