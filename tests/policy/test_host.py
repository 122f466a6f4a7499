"""Tests for L{burrow.policy.host}: requests for the upstream's own origin, answers for the visitor's."""

import pytest

from burrow.policy.base import changed, may_be_answered, may_be_changed
from burrow.policy.host import HostHeader, RewriteHost, parse_host_header
from tests.policy.test_fields import visit

HEAD = b"GET /a HTTP/1.1\r\nHost: demo.test:8443\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "mode", "origin"),
    [
        ("auto", "auto", ""),
        ("preserve", "preserve", ""),
        ("upstream", "upstream", ""),
        ("localhost:3000", "fixed", "http://localhost:3000"),
        ("https://app.internal", "fixed", "https://app.internal"),
        ("[::1]:80", "fixed", "http://[::1]:80"),
        ("auto=http://localhost:3000", "auto", "http://localhost:3000"),
        ("upstream=https://x", "upstream", "https://x"),
    ],
)
def test_values(text, mode, origin):
    parsed = parse_host_header(text)
    assert parsed == HostHeader(mode, origin)
    assert parse_host_header(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *("", "a b", "http://", "ftp://x", "x:99999", "x/path", "preserve=x", "auto=", "other=x", "x\r\ny"),
        *("-", "a..b", "user@x", "x" * 300)[1:],
    ],
)
def test_values_that_are_none(text):
    with pytest.raises(ValueError, match="write auto, preserve, upstream or a host"):
        parse_host_header(text)


@pytest.mark.parametrize(
    ("upstream", "origin"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:80", "http://localhost"),
        ("https://app.internal:443", "https://app.internal"),
        ("localhost:3000", "http://localhost:3000"),
        ("unix:/run/app.sock", "http://localhost"),
        ("h2c://localhost:5000", "http://localhost:5000"),
        ("/srv/files", ""),
        ("tcp://localhost:22", ""),
        ("an app of Python's", ""),
    ],
)
def test_origin_of_an_upstream(upstream, origin):
    assert parse_host_header("auto").of(upstream) == HostHeader("auto", origin)
    assert parse_host_header("preserve").of(upstream) == HostHeader("preserve")
    assert parse_host_header("own.test").of(upstream) == HostHeader("fixed", "http://own.test")


def asked(*fields, head=HEAD, scheme="https"):
    one = visit(head, scheme)
    RewriteHost("http://localhost:3000").visit(one)
    return one.host, changed(list(fields), one.on_request, may_be_changed)


def answered(name, value, scheme="https"):
    one = visit(HEAD, scheme)
    RewriteHost("http://localhost:3000").visit(one)
    ((_, shown),) = changed([(name, value)], one.on_answer, may_be_answered)
    return shown


def test_own_pages_requests_are_the_upstreams_own():
    host, fields = asked(
        (b"Origin", b"https://demo.test:8443"), (b"Referer", b"https://demo.test:8443/a?b#c"), (b"X", b"y")
    )
    assert host == b"localhost:3000"
    assert fields == [
        (b"Origin", b"http://localhost:3000"),
        (b"Referer", b"http://localhost:3000/a?b#c"),
        (b"X", b"y"),
    ]


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.test",
        b"null",
        b"https://demo.test:8443.evil.test",
        b"https://demo.test",
        b"http://demo.test:8443",
    ],
)
def test_other_sites_stay_what_they_are(origin):
    assert asked((b"Origin", origin))[1] == [(b"Origin", origin)]


@pytest.mark.parametrize(
    ("name", "came", "shown"),
    [
        (b"Location", b"http://localhost:3000/x", b"https://demo.test:8443/x"),
        (b"Location", b"https://localhost:3000/x", b"https://demo.test:8443/x"),
        (b"Location", b"HTTP://LOCALHOST:3000", b"https://demo.test:8443"),
        (b"Location", b"//localhost:3000/x", b"//demo.test:8443/x"),
        (b"Location", b"/x?next=http://localhost:3000/", b"/x?next=http://localhost:3000/"),
        (b"Location", b"http://localhost:30001/x", b"http://localhost:30001/x"),
        (b"Location", b"http://localhost/x", b"http://localhost/x"),
        (b"Location", b"http://localhost:3000@evil.test/", b"http://localhost:3000@evil.test/"),
        (b"Location", b"http://localhost:3000.evil.test/", b"http://localhost:3000.evil.test/"),
        (b"Content-Location", b"http://localhost:3000/x", b"https://demo.test:8443/x"),
        (b"Refresh", b"0; url=http://localhost:3000/x", b"0; url=https://demo.test:8443/x"),
        (b"Refresh", b"5;URL='http://localhost:3000/'", b"5;URL='https://demo.test:8443/'"),
        (b"Refresh", b"5", b"5"),
        (
            b"Link",
            b'<http://localhost:3000/a>; rel=preload, <https://cdn.test/b>; rel="x"',
            b'<https://demo.test:8443/a>; rel=preload, <https://cdn.test/b>; rel="x"',
        ),
        (b"Access-Control-Allow-Origin", b"http://localhost:3000", b"https://demo.test:8443"),
        (b"Access-Control-Allow-Origin", b"*", b"*"),
        (b"Access-Control-Allow-Origin", b"https://other.test", b"https://other.test"),
        (b"Set-Cookie", b"a=b; Domain=localhost; Path=/; Secure", b"a=b; Path=/; Secure"),
        (b"Set-Cookie", b"a=b;domain=.LOCALHOST", b"a=b"),
        (b"Set-Cookie", b"a=b; Domain=other.test", b"a=b; Domain=other.test"),
        (b"X-Other", b"http://localhost:3000/x", b"http://localhost:3000/x"),
    ],
)
def test_what_an_upstream_says_of_itself(name, came, shown):
    assert answered(name, came) == shown


def test_cookie_for_a_visitor_without_tls():
    assert answered(b"Set-Cookie", b"a=b; Secure; HttpOnly", scheme="http") == b"a=b; HttpOnly"
