"""Tests for L{burrow.protocols.admission}: the options --allow and --deny."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address

from burrow.errors import ConfigError
from burrow.protocols.admission import MAX_NETWORKS, Admission
from burrow.protocols.options import read_options, sent_options
from burrow.protocols.tcp import TcpProtocol
from burrow.wording import COMMAND_LINE

KIND = TcpProtocol()


def options(**given):
    """What the server makes of what an agent was given."""
    read = read_options(KIND.options, given, written=COMMAND_LINE)
    KIND.check_options(read)
    return read_options(KIND.options, sent_options(KIND.options, read))


def admits(host, **given):
    return Admission(options(**given)).admits(host)


def test_without_options_all_may_connect():
    assert admits("192.0.2.1")
    assert admits("no address")
    assert sent_options(KIND.options, options()) == {}


def test_allow():
    given = {"allow": ["192.0.2.0/24", "2001:db8::/32", "203.0.113.5"]}
    for host in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1", "203.0.113.5", "::ffff:203.0.113.5"):
        assert admits(host, **given), host
    for host in ("192.0.3.9", "::ffff:192.0.3.9", "2001:db9::1", "203.0.113.6", "::1", "no address", ""):
        assert not admits(host, **given), host


def test_a_network_of_mapped_addresses_is_one_of_ipv4():
    assert admits("192.0.2.9", allow=["::ffff:192.0.2.0/120"])
    assert not admits("::ffff:192.0.2.9", deny=["192.0.2.9"])
    assert not admits("::ffff:c000:209", deny=["192.0.2.9"])


def test_deny_counts_first():
    given = {"allow": ["192.0.2.0/24"], "deny": ["192.0.2.99"]}
    assert admits("192.0.2.98", **given)
    assert not admits("192.0.2.99", **given)
    assert admits("198.51.100.1", deny=["192.0.2.0/24"])
    assert not admits("192.0.2.1", deny=["0.0.0.0/0"])
    assert admits("2001:db8::1", deny=["0.0.0.0/0"])
    assert not admits("2001:db8::1", deny=["0.0.0.0/0", "::/0"])


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_as_the_library_of_python_has_it(host, address, prefix):
    network = ipaddress.ip_network((address, min(prefix, address.max_prefixlen)), strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None) or getattr(host, "ipv4_mapped", None)
    if mapped is None:
        inside = host.version == network.version and host in network
        assert admits(str(host), allow=[str(network)]) == inside
        assert admits(str(host), deny=[str(network)]) != inside


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"allow": ["192.0.2.1"], "as": "redis"}, "--allow is an option of tunnels of kind tcp: leave it"),
        ({"allow": ["nonsense"]}, '--allow "nonsense" is not possible: write an address or a network'),
        ({"deny": ["192.0.2.1/24"]}, "write 192.0.2.0/24 for the network, or 192.0.2.1 for the address"),
        ({"allow": ["192.0.2.0/24"], "deny": ["192.0.0.0/16"]}, "refuses all of --allow 192.0.2.0/24"),
        (
            {"deny": [f"192.0.2.{number}" for number in range(MAX_NETWORKS + 1)]},
            "101 networks: 100 are possible",
        ),
    ],
)
def test_what_is_not_possible(given, words):
    with pytest.raises(ConfigError) as caught:
        options(**given)
    assert words in str(caught.value)


class _Tunnel:
    options = options(allow=["192.0.2.0/24"])


def test_who_is_refused_gets_no_protocol():
    factory = KIND.visitor_factory(_Tunnel())
    for host in ("192.0.2.1", "::ffff:192.0.2.1"):
        kind = IPv6Address if ":" in host else IPv4Address
        assert factory.buildProtocol(kind("TCP", host, 5)) is not None
    for host in ("198.51.100.1", "::ffff:198.51.100.1", "::1"):
        kind = IPv6Address if ":" in host else IPv4Address
        assert factory.buildProtocol(kind("TCP", host, 5)) is None
