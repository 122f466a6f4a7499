"""Tests for L{burrow.policy.paths}."""

import pytest

from burrow.policy.paths import parse_redirect, parse_respond, parse_rewrite, readings
from tests.policy.test_fields import visit


def at(target):
    return visit(b"GET %b HTTP/1.1\r\nHost: demo.test\r\n\r\n" % target)


@pytest.mark.parametrize(
    ("rule", "target", "location"),
    [
        ("/old=/new", b"/old", b"/new"),
        ("/old=/new", b"/old?a=b", b"/new?a=b"),
        ("/old=/new?x", b"/old?a=b", b"/new?x"),
        ("/old=/new", b"/older", None),
        ("/old/*=/new/*", b"/old/a/b?c", b"/new/a/b?c"),
        ("/old/*=/new", b"/old/a", b"/new"),
        ("/*=https://new.example.com/*", b"/a", b"https://new.example.com/a"),
        ("/*=/*", b"//evil.test/", b"/evil.test/"),
        ("/*=/*", b"/\\evil.test/", b"/evil.test/"),
    ],
)
def test_redirect(rule, target, location):
    answer = parse_redirect(rule).visit(at(target))
    assert (answer and dict(answer.fields)[b"Location"]) == location
    assert str(parse_redirect(rule)) == rule


@pytest.mark.parametrize(
    ("rule", "target", "upstream"),
    [
        ("/api/*=/v2/*", b"/api/x?y", b"/v2/x?y"),
        ("/api/*=/*", b"/api/x", b"/x"),
        ("/a=/b", b"/a?c", b"/b?c"),
        ("/a=/b", b"/ab", b"/ab"),
        ("/a*=/b", b"/ab", b"/b"),
    ],
)
def test_rewrite(rule, target, upstream):
    one = at(target)
    assert parse_rewrite(rule).visit(one) is None
    assert one.target == upstream


@pytest.mark.parametrize(
    "target",
    [
        b"/admin",
        b"/admin/x",
        b"/%61dmin/x",
        b"//admin/",
        b"/x/../admin",
        b"/./admin",
        b"/x/%2e%2e/admin",
        b"\\admin"[:0] + b"/\\admin",
    ],
)
def test_what_is_refused_is_refused_however_it_is_spelled(target):
    answer = parse_respond("/admin*=403").visit(at(target))
    assert answer.status == 403


def test_respond():
    rule = parse_respond("/health=200 ok, still")
    assert rule.visit(at(b"/health?x")).content == (b"text/plain; charset=utf-8", b"ok, still")
    assert rule.visit(at(b"/healthy")) is None
    assert str(rule) == "/health=200 ok, still"
    assert parse_respond("/gone=410").visit(at(b"/gone")).content is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "old=/new",
        "/old",
        "/o ld=/new",
        "/a*b=/c",
        "/a?b=/c",
        "/a=b c",
        "/a=/b*",
        "/a*=/b*c",
        "/a=ftp://x",
        "/*=https://x*",
    ],
)
def test_what_is_no_redirect(text):
    with pytest.raises(ValueError, match=r"write|path|URL|\*"):
        parse_redirect(text)


def test_what_is_no_rewrite_and_no_answer():
    with pytest.raises(ValueError, match="is a path"):
        parse_rewrite("/a=https://example.com/")
    for text in ("/a", "/a=", "/a=ok", "/a=99", "/a=101", "/a=204", "/a=304", "/a=200 " + "x" * 5000):
        with pytest.raises(ValueError, match=r"status|PATH|4096"):
            parse_respond(text)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        (b"/a//b/", b"/a/b/"),
        (b"/../..", b"/"),
        (b"/", b"/"),
        (b"/%2Fa", b"/a"),
        (b"/%2561dmin", b"/admin"),
        (b"/admin;a=b/x", b"/admin/x"),
        (b"/a/..;/admin", b"/admin"),
        (b"/100%25/", b"/100%/"),
        (b"/%61dmin/x/../../y", b"/admin/x/../../y"),
        (b"/%2561dmin/../y", b"/admin/../y"),
        (b"/a%5C..%5Cadmin", b"/admin"),
        (b"/a;%2e./..;b/", b"/a/../"),
        (b"*", b"*"),
    ],
)
def test_readings_of_paths(path, read):
    assert read in readings(path)
