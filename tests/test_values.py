"""Tests for L{burrow.values}."""

import pytest

from burrow.values import parse_listen


def test_listen():
    assert [parse_listen(text) for text in ("off", ":443", "[::1]:80", "127.0.0.1:0")] == [
        "",
        ":443",
        "[::1]:80",
        "127.0.0.1:0",
    ]
    for text in ("443", "x:", "x:99999", "x:-1"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_listen(text)
