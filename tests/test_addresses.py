"""Tests for L{burrow.addresses}."""

import ipaddress

import pytest

from burrow import addresses
from burrow.addresses import ListenAddress, authority, is_localhost, parse_listen, parse_network, parse_ports


def test_listen():
    assert [str(parse_listen(text)) for text in ("off", ":443", "[::1]:80", "127.0.0.1:0")] == [
        "off",
        ":443",
        "[::1]:80",
        "127.0.0.1:0",
    ]
    for text in ("443", "x:", "x:99999", "x:-1"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_listen(text)


def test_listen_has_host_and_port():
    assert [parse_listen(text) for text in ("[::1]:080", "::1:80", ":443")] == [
        ListenAddress("::1", 80),
        ListenAddress("::1", 80),
        ListenAddress("", 443),
    ]


def test_ports():
    assert [parse_ports(text) for text in ("20000-20999", "7", "7-7", "7-")] == [
        range(20000, 21000),
        range(7, 8),
        range(7, 8),
        range(7, 8),
    ]
    for text in ("", "-", "0-7", "1-65536", "x", "1-2-3"):
        with pytest.raises(ValueError, match="FIRST-LAST"):
            parse_ports(text)
    with pytest.raises(ValueError, match="the lower port comes first: write 7-9"):
        parse_ports("9-7")


def test_networks():
    for text, network in (
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ):
        assert parse_network(text) == ipaddress.ip_network(network)
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8"):
        parse_network("x")
    with pytest.raises(ValueError, match=r"write 10\.0\.0\.0/8 for the network, or 10\.0\.0\.1 for"):
        parse_network("10.0.0.1/8")


def test_hosts_in_urls():
    assert [authority(host, 8443) for host in ("a.example", "192.0.2.1", "2001:db8::1")] == [
        "a.example:8443",
        "192.0.2.1:8443",
        "[2001:db8::1]:8443",
    ]


def test_names_of_the_loopback():
    names = ("localhost", "a.localhost", "localhost.example", "notlocalhost", "")
    assert [name for name in names if is_localhost(name)] == ["localhost", "a.localhost"]


def test_addresses():
    assert str(addresses.parse_address("::ffff:192.0.2.7")) == "192.0.2.7"
    assert str(addresses.parse_address("::ffff:c000:207")) == "192.0.2.7"
    assert str(addresses.parse_address("fe80::1%eth0")) == "fe80::1"
    assert addresses.parse_address("unknown") is None


def test_addresses_in_networks():
    networks = [addresses.parse_network("192.0.2.0/24"), addresses.parse_network("2001:db8::/32")]
    for host in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"):
        assert addresses.is_in(host, networks)
    for host in ("198.51.100.7", "2001:db9::1", "unknown", ""):
        assert not addresses.is_in(host, networks)


def test_all_addresses_of_a_customer_are_one():
    assert addresses.customer("2001:db8::1") == addresses.customer("2001:db8::2") == "2001:db8::/64"
    assert addresses.customer("2001:db8:0:1::1") != addresses.customer("2001:db8::1")
    assert addresses.customer("::ffff:192.0.2.7") == "192.0.2.7"
    assert addresses.customer("unknown") == "unknown"
