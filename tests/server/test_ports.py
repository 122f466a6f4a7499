"""Tests for L{burrow.server.ports}: which ports tunnels may have, and the kernel may give to others."""

import pytest

from burrow.errors import BadOption
from burrow.server.ports import Ports, outgoing_warning


def settings(folder, ports, reserved=""):
    (folder / "ip_local_port_range").write_text(ports)
    (folder / "ip_local_reserved_ports").write_text(reserved + "\n")
    return folder


def test_ports_that_outgoing_connections_may_get_are_warned_of(tmp_path):
    here = settings(tmp_path, "32768\t60999\n")
    assert outgoing_warning(range(20_000, 21_000), here) == ""
    assert outgoing_warning(range(32_000, 32_768), here) == ""
    assert outgoing_warning(range(61_000, 61_001), here) == ""
    for shared in (range(32_768, 32_769), range(60_999, 62_000), range(20_000, 65_536)):
        text = outgoing_warning(shared, here)
        assert f"--tcp-ports {shared.start}-{shared.stop - 1} shares" in text
        assert "32768 to 60999" in text


def test_ports_that_the_kernel_keeps_back_are_not(tmp_path):
    here = settings(tmp_path, "32768 60999", "40000-40009,40011")
    assert outgoing_warning(range(40_000, 40_010), here) == ""
    assert outgoing_warning(range(40_011, 40_012), here) == ""
    assert outgoing_warning(range(40_000, 40_011), here) != ""


def test_where_the_kernel_says_nothing_nobody_is_warned(tmp_path):
    assert outgoing_warning(range(40_000, 40_010), tmp_path) == ""
    assert outgoing_warning(range(40_000, 40_010), settings(tmp_path, "none")) == ""


@pytest.mark.parametrize(
    ("allowed", "wanted", "words"),
    [
        (
            range(20_000, 20_010),
            19_999,
            "ask for one from 20000 to 20009, or for none, and the",
        ),
        (range(20_000, 20_010), 20_010, "port 20010 is not possible here"),
        (range(20_000, 20_001), 1, "ask for 20000, or for none"),
    ],
)
def test_port_that_tunnels_may_not_have(allowed, wanted, words):
    ports = Ports(None, "", allowed)
    for port in allowed:
        ports.check(port)
    with pytest.raises(BadOption, match=words):
        ports.check(wanted)
