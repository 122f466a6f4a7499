"""Tests for L{burrow.server.names}."""

import pytest

from burrow.mux.control import BadOption
from burrow.server.names import RESERVED, assigned_name, check_name


def test_assigned_names_are_possible_and_differ():
    names = {assigned_name() for _ in range(2000)}
    assert len(names) == 2000
    for name in names:
        assert check_name(name) == name


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
        *sorted(RESERVED)[:3],
    ],
)
def test_impossible(name):
    with pytest.raises(BadOption):
        check_name(name)
