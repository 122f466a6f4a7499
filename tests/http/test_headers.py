"""Tests for L{burrow.http.headers}."""

from burrow.http.headers import Headers, tokens

FIELDS = [(b"Accept", b"a, B"), (b"x-Own", b"1"), (b"ACCEPT", b"c"), (b"X_Own", b"2")]


def test_parts_of_values():
    assert tokens([b"a, B", b"c", b" ,", b""]) == [b"a", b"b", b"c"]


def test_fields_are_kept_as_they_came_and_found_by_lower_case_names():
    headers = Headers(FIELDS)
    assert headers.fields == FIELDS
    assert headers[b"accept"] == [b"a, B", b"c"]
    assert headers.value(b"accept") == b"a, B"
    assert headers.tokens(b"accept") == [b"a", b"b", b"c"]
    assert headers.named(b"accept") == [FIELDS[0], FIELDS[2]]
    assert headers.named(b"x-own") == [FIELDS[1]]  # X_Own is another name here
    assert headers.without({b"accept", b"x_own"}) == [FIELDS[1]]


def test_a_name_that_did_not_come():
    headers = Headers(FIELDS)
    assert b"cookie" not in headers
    assert headers.value(b"cookie") == b""
    assert headers.tokens(b"cookie") == headers.named(b"cookie") == []
    assert headers.without({b"cookie"}) == FIELDS


def test_blanks_behind_a_value_are_no_part_of_it():
    assert Headers([(b"A", b"b \t")]).fields == [(b"A", b"b")]
