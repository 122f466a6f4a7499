"""Tests for L{burrow.server.names}."""

import pytest

from burrow.errors import BadOption
from burrow.server.names import RESERVED, assigned_name, check_name


def test_assigned_names_are_possible_and_differ():
    names = {assigned_name() for _ in range(2000)}
    assert len(names) == 2000
    for name in names:
        assert check_name(name) == name


def test_names_of_the_servers_owner():
    for name in ("app", "api", "docs", "dashboard", "status", "blog-admin", "mail", "burrow"):
        assert check_name(name) == name
    for name in ("postmaster", "hostmaster", "wpad", "autodiscover", "mta-sts", "localhost", "www", "Abuse"):
        with pytest.raises(BadOption, match="reserved"):
            check_name(name)
    with pytest.raises(BadOption, match="reserved"):
        check_name("Docs", {"docs"})


@pytest.mark.parametrize("name", ["a", "blog", "a-b", "1", "Blog", "x" * 63, "0-0"])
def test_possible(name):
    assert check_name(name) == name.lower()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "a.b",
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
        check_name(name)
