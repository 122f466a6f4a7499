"""Tests for L{burrow.server.hosts}: which domains agents may ask for."""

import pytest

from burrow.errors import BadOption
from burrow.server.hosts import Hosts

HOSTS = Hosts("example.com")


@pytest.mark.parametrize("domain", ["app.corp1", "app.lan2", "a.b.0x10", "a.b.0x", "a.b.0xfe", "a.b.0XFE"])
def test_a_last_label_that_is_a_number_or_ends_in_a_digit(domain):
    with pytest.raises(BadOption, match="no visitor reaches"):
        HOSTS.check(domain)


@pytest.mark.parametrize("domain", ["1.example.org", "a.xn--p1ai", "0x10.example.org", "a.x0xfe", "app.0xyz"])
def test_visitors_find_what_is_accepted(domain):
    assert HOSTS.name(HOSTS.of(HOSTS.check(domain))) == domain
