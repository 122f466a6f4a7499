"""Tests for L{burrow.policy.interstitial} and L{burrow.policy.https}."""

import pytest

from burrow.policy.base import changed, may_be_changed
from burrow.policy.https import ToHttps
from burrow.policy.interstitial import Interstitial
from tests.policy.test_fields import visit

GET = b"GET /a HTTP/1.1\r\nHost: demo.test\r\n%b\r\n"


def of(fields=b""):
    return visit(GET % fields)


BROWSER = b"User-Agent: Mozilla/5.0\r\nAccept: text/html,*/*\r\n"


def test_first_visit_of_a_browser_gets_a_page():
    for fields in (BROWSER, BROWSER + b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"):
        answer = Interstitial().visit(of(fields=fields))
        kind, body = answer.content
        assert kind == b"text/html; charset=utf-8"
        assert b'href="/a"' in body
        cookie = dict(answer.fields)[b"Set-Cookie"]
        assert cookie.startswith(b"burrow-seen=1; Path=/;")
        assert cookie.endswith(b"; Secure")


def test_who_has_seen_the_page_gets_the_service_which_does_not_see_the_cookie():
    one = of(fields=BROWSER + b"Cookie: a=b; burrow-seen=1; c=d\r\n")
    assert Interstitial().visit(one) is None
    came = [(b"Cookie", b"a=b; burrow-seen=1; c=d"), (b"X", b"y")]
    assert changed(came, one.on_request, may_be_changed) == [(b"Cookie", b"a=b; c=d"), (b"X", b"y")]
    assert changed([(b"cookie", b"burrow-seen=1")], one.on_request, may_be_changed) == []


@pytest.mark.parametrize(
    "head",
    [
        GET % b"Accept: */*\r\nUser-Agent: curl/8\r\n",
        GET % (BROWSER + b"Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"),
        GET % (BROWSER + b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n"),
        GET % (BROWSER + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        GET.replace(b"GET", b"POST") % BROWSER,
        GET % b"User-Agent: GitHub-Hookshot/1\r\nAccept: text/html\r\n",
    ],
)
def test_programs_never_get_the_page(head):
    assert Interstitial().visit(visit(head)) is None


def test_what_a_visitor_sends_is_shown_escaped():
    head = (GET % BROWSER).replace(b"/a ", b'//evil.test/"><script>alert(1)</script>?a=b&c ')
    body = Interstitial().visit(visit(head)).content[1]
    assert b"<script>" not in body
    assert b'href="/evil.test/&quot;&gt;' in body


# -- HTTPS ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "place"),
    [
        (b"GET /a?b HTTP/1.1\r\nHost: demo.test:8080\r\n\r\n", b"https://demo.test/a?b"),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", b"https://[2001:db8::1]/"),
        (b"OPTIONS * HTTP/1.1\r\nHost: demo.test\r\n\r\n", b"https://demo.test/"),
    ],
)
def test_who_comes_without_tls_is_led_to_it(head, place):
    answer = ToHttps().visit(visit(head, "http"))
    assert (answer.status, answer.fields) == (308, [(b"Location", place)])
    assert ToHttps().visit(visit(head, "https")) is None
