"""Tests for L{burrow.policy.limits}."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.policy.limits import (
    MAX_VISITORS,
    MaxBody,
    RateLimit,
    parse_field_name,
    parse_requests,
    parse_size,
)
from tests.policy.test_fields import visit


class Limited:
    def __init__(self, rate, field=""):
        self.time = 0.0
        self.rule = RateLimit(parse_requests(rate), field, lambda: self.time)

    def ask(self, address="192.0.2.7", *fields):
        one = visit(
            b"GET / HTTP/1.1\r\nHost: t\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
        )
        one.address = address
        return self.rule.visit(one)


def test_so_many_at_once_and_then_as_time_goes_by():
    limited = Limited("3/m")
    assert [limited.ask() for _ in range(3)] == [None] * 3
    refused = limited.ask()
    assert (refused.status, refused.fields) == (429, [(b"Retry-After", b"20")])
    limited.time = 19.9
    assert limited.ask().status == 429
    limited.time = 20.0
    assert limited.ask() is None
    assert limited.ask().status == 429
    limited.time = 1000.0
    assert [limited.ask() for _ in range(3)] == [None] * 3
    assert limited.ask().status == 429


def test_visitors_are_told_apart():
    limited = Limited("1/s")
    assert limited.ask("192.0.2.1") is None
    assert limited.ask("192.0.2.2") is None
    assert limited.ask("192.0.2.1").status == 429
    assert limited.ask("2001:db8::1") is None
    assert limited.ask("2001:db8::2").status == 429  # one customer's network
    assert limited.ask("2001:db8:0:1::1") is None
    assert limited.ask("unknown") is None


def test_by_a_field():
    limited = Limited("1/s", "x-key")
    assert limited.ask("192.0.2.1", b"X-Key: a") is None
    assert limited.ask("192.0.2.2", b"X-Key: a").status == 429
    assert limited.ask("192.0.2.1", b"X-Key: b") is None
    assert limited.ask("192.0.2.1") is None
    assert limited.ask("192.0.2.1").status == 429


def test_memory_is_bounded():
    limited = Limited("1/d")
    for number in range(MAX_VISITORS + 10):
        limited.ask(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limited.rule._by) == MAX_VISITORS


@given(st.integers(1, 20), st.lists(st.floats(0, 3), max_size=60))
def test_never_more_than_the_rate_allows(count, waits):
    limited = Limited(f"{count}/s")
    allowed = []
    for wait in waits:
        limited.time += wait
        if limited.ask() is None:
            allowed.append(limited.time)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= count + (allowed[last] - allowed[first]) * count + 1e-6


def test_max_body():
    one = visit(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n")
    assert MaxBody(10).visit(one).status == 413
    assert MaxBody(11).visit(one) is None
    assert one.body_limit == 11


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500K", 512_000), ("10M", 10 << 20), ("1 GiB", 1 << 30), ("3kb", 3072)]
)
def test_sizes(text, size):
    assert parse_size(text).bytes == size
    assert str(parse_size(text)) == text


def test_what_is_none():
    for text in ("", "M", "-1", "1.5M", "10X"):
        with pytest.raises(ValueError, match="write a size"):
            parse_size(text)
    with pytest.raises(ValueError, match="would let no request through: write 1 or more"):
        parse_requests("0/s")
    for text in ("", "10", "10/w", "x/s", "-1/s"):
        with pytest.raises(ValueError, match="write how many"):
            parse_requests(text)
    for text in ("", "a b", "a:"):
        with pytest.raises(ValueError, match="header field"):
            parse_field_name(text)
