"""Tests for L{burrow.client.port_ranges}: several ports by one command or table."""

import re

import pytest

from burrow.client.port_ranges import MAX_PORTS, tunnel_requests
from burrow.client.tunnels import tunnel_request
from burrow.client.tunnels_file import read_tunnels
from burrow.errors import ConfigError
from burrow.wording import COMMAND_LINE


def made(*arguments, **options):
    requests = tunnel_requests(*arguments, {"port": None, **options}, written=COMMAND_LINE)
    return [(str(one.upstream), one.name, one.options["port"]) for one in requests]


def test_each_port_is_a_tunnel():
    assert made("tcp", "5000-5002", "ftp", port="20000-20002") == [
        ("tcp://localhost:5000", "ftp-5000", 20000),
        ("tcp://localhost:5001", "ftp-5001", 20001),
        ("tcp://localhost:5002", "ftp-5002", 20002),
    ]
    assert made("udp", "games.lan:7000-7001", None) == [
        ("udp://games.lan:7000", None, None),
        ("udp://games.lan:7001", None, None),
    ]
    assert made("tcp", "5000-5000", "one", port="20000") == [("tcp://localhost:5000", "one-5000", 20000)]
    assert made("tcp", "my-host:22", "ssh", port="20022") == [("tcp://my-host:22", "ssh", 20022)]


@pytest.mark.parametrize(
    ("arguments", "port", "words"),
    [
        (("tcp", "5000", None), "20000-20002", "burrow tcp 20000-20002 --port 20000-20002"),
        (("tcp", "5000-5002", None), "20000-20001", "has 2 ports and"),
        (("tcp", "5000-5002", None), "20000", "has 1 port and"),
        (("tcp", "5002-5000", None), None, "write 5000-5002"),
        (("tcp", "5000-5002", None), "x-y", "write FIRST-LAST"),
        (("tcp", f"5000-{5000 + MAX_PORTS}", None), None, f"{MAX_PORTS} are possible"),
    ],
)
def test_what_does_not_go_together(arguments, port, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        made(*arguments, port=port)


@pytest.mark.parametrize(
    ("upstream", "port", "words"),
    [
        ("5000-5003", None, '"5000-5003" is several ports, and a tunnel has one: write a tunnel for each'),
        ("lan:5000-5003", "20000-20003", '"lan:5000-5003" is several ports'),
        ("5000", "20000-20003", '--port "20000-20003" is several ports'),
    ],
)
def test_who_makes_one_tunnel_refuses_several_ports(upstream, port, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        tunnel_request("tcp", upstream, None, {"port": port}, COMMAND_LINE)


def test_kinds_without_ports_have_no_ranges():
    with pytest.raises(ConfigError):
        tunnel_requests("http", "3000-3002", None, {})


def test_in_a_file():
    table = {"ftp": {"kind": "tcp", "upstream": "5000-5001", "port": "20000-20001"}, "ssh": {"upstream": 22}}
    read = read_tunnels(table, "file")
    assert {label: (one.name, one.options.get("port")) for label, one in read.items()} == {
        "ftp-5000": ("ftp-5000", 20000),
        "ftp-5001": ("ftp-5001", 20001),
        "ssh": ("ssh", None),
    }
    table["web"] = {"kind": "tcp", "upstream": 80, "port": 20001}
    with pytest.raises(ConfigError, match="has the port 20001"):
        read_tunnels(table, "file")
