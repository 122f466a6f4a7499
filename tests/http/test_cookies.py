"""Tests for L{burrow.http.cookies}."""

import pytest

from burrow.http.cookies import cookie_of, without_cookies
from burrow.http.headers import Headers


def test_value_of_a_cookie():
    headers = Headers([(b"Cookie", b"a=1; b=2;c="), (b"cookie", b"a=3; d=x=y")])
    assert [cookie_of(headers, name) for name in (b"a", b"b", b"c", b"d", b"e")] == [
        *(b"1", b"2", b"", b"x=y"),
        None,
    ]
    assert cookie_of(Headers(), b"a") is None


@pytest.mark.parametrize(
    ("came", "left"),
    [
        (b"a=1; own=2; b=3", b"a=1; b=3"),
        (b"own=2;a=1", b"a=1"),
        (b"a=1;b=2", b"a=1;b=2"),
        (b"owner=1", b"owner=1"),
        (b"own=1; own=2", None),
    ],
)
def test_cookies_that_are_left_out(came, left):
    others = [(b"Host", b"own"), (b"X", b"own=1")]
    after = without_cookies([*others, (b"Cookie", came)], b"own".__eq__)
    assert after == others + ([] if left is None else [(b"Cookie", left)])
