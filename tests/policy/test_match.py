"""Tests for L{burrow.policy.match}."""

from ipaddress import ip_network

import pytest

from burrow.policy.match import Match, TextPattern
from burrow.policy.paths import PathPattern
from tests.policy.test_fields import visit


@pytest.mark.parametrize(
    ("pattern", "text", "meant"),
    [
        ("a", b"a", True),
        ("a", b"ab", False),
        ("a*", b"ab", True),
        ("*.test", b"a.test", True),
        ("*.test", b"a.tests", False),
        ("a*b", b"axb", True),
        ("ab*ba", b"aba", False),
        ("*bot*", b"a bot/1", True),
        ("*bot*", b"curl", False),
        ("*", b"", True),
    ],
)
def test_texts(pattern, text, meant):
    assert TextPattern(pattern).means(text) is meant


@pytest.mark.parametrize("text", ["a*b*", "**", "*a*b*", "", "x" * 501, "a\r\nb", "a\0"])
def test_impossible_texts(text):
    with pytest.raises(ValueError, match=r"write \*|characters"):
        TextPattern(text)


def asking(target):
    return visit(b"GET %b HTTP/1.1\r\nHost: demo.test\r\n\r\n" % target)


def test_path_is_meant_however_it_is_spelled():
    match = Match(paths=(PathPattern.parse("/admin/*"),))
    for target in (b"/admin/x", b"/%61dmin/x?y", b"//admin//x", b"/a/%2e%2e/admin/x", b"/\\admin/x"):
        assert match.means(asking(target)), target
    for target in (b"/adminx", b"/x/admin/x", b"/x?/admin/x", b"/"):
        assert not match.means(asking(target)), target
    assert not match.means(visit(b"OPTIONS * HTTP/1.1\r\nHost: demo.test\r\n\r\n"))


def test_all_conditions_have_to_hold():
    head = b"POST /a HTTP/1.1\r\nHost: demo.test\r\nX_Env: one\r\nX-Env: staging-2\r\n\r\n"
    holds = {
        "paths": (PathPattern.parse("/b"), PathPattern.parse("/a")),
        "methods": frozenset((b"PUT", b"POST")),
        "fields": ((b"x-env", TextPattern("staging*")),),
        "addresses": (ip_network("192.0.2.0/24"),),
    }
    fails = {
        "paths": (PathPattern.parse("/b"),),
        "methods": frozenset((b"GET",)),
        "fields": ((b"x-env", TextPattern("prod*")),),
        "addresses": (ip_network("2001:db8::/32"),),
    }
    assert Match(**holds).means(visit(head))
    for key, value in fails.items():
        assert not Match(**{**holds, key: value}).means(visit(head)), key
    assert Match(fields=((b"x-env", None),)).means(visit(head))
    assert not Match(fields=((b"x-other", None),)).means(visit(head))
    assert Match().always


def test_visitor_without_an_address_is_in_no_network():
    one = visit()
    one.address = "unknown"
    assert not Match(addresses=(ip_network("0.0.0.0/0"),)).means(one)
