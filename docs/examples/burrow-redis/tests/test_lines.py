"""Tests of the kind "lines"."""

import pytest
from burrow_redis.lines import Lines

from burrow.errors import ConfigError
from burrow.testing.tunnel import MemoryTunnel


def test_lines_are_told_and_bytes_pass_as_they_are():
    tunnel = MemoryTunnel(Lines(), {"shown": "10"})
    visitor = tunnel.visit()
    for piece in (b"NICK b", b"ob\r\nJOIN #burrow-and-more\r", b"\nQU"):
        visitor.transport.write(piece)
        tunnel.pump()
    assert tunnel.built[0].received == b"NICK bob\r\nJOIN #burrow-and-more\r\nQU"
    assert [each.target for each in tunnel.records] == ["NICK bob", "JOIN #burr"]


@pytest.mark.parametrize("shown", ["ten", "0", "1.5"])
def test_option_that_is_no_possible_number(shown):
    with pytest.raises(ConfigError, match="write a whole number, 1 or more"):
        MemoryTunnel(Lines(), {"shown": shown})
