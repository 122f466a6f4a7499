"""Tests for L{burrow.server.edge.pages}."""

import json
from http import HTTPStatus

import pytest

from burrow.policy.base import Answer
from burrow.server.edge import pages
from burrow.server.route import Why


def parts(page, accept, **options):
    data = pages.render(page, accept, **{"head_only": False, "close": False, **options})
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (b"text/html", b"text/html"),
        (b"application/xhtml+xml", b"text/html"),
        (b"application/problem+json, text/html", b"application/json"),
        (b"*/*", b"text/plain"),
        (b"", b"text/plain"),
        (b"image/png", b"text/plain"),
        (b"image/png, TEXT/HTML;q=0.9, application/json", b"text/html"),
        (b"application/json;q=1, text/html", b"application/json"),
        (b"application/vnd.api+json", b"application/json"),
        (b"application/jsonx", b"text/plain"),
    ],
)
def test_form_follows_accept(accept, kind):
    head, body = parts(pages.agent_away("a.example"), accept)
    assert b"Content-Type: " + kind in head
    assert b"Content-Length: %d" % len(body) in head
    assert b"Retry-After: 5" in head
    assert b"a.example" in body


def test_page_of_an_agent_that_is_not_expected_promises_nothing():
    page = pages.agent_left("a.example")
    assert (page.status, page.code) == (503, pages.AGENT_AWAY)
    assert "a.example" in page.text
    assert "closed the tunnel" in page.text
    assert "reconnects" not in page.text


def test_newline_behind_a_sentence_is_not_shown():
    assert pages.upstream_failed("failed", "It is down.\r\n").text == "It is down."


def test_html_is_escaped_and_json_is_json():
    page = pages.upstream_failed("failed", "<script>&")
    assert b"&lt;script&gt;&amp;" in parts(page, b"text/html")[1]
    assert json.loads(parts(page, b"application/json")[1])["detail"] == "<script>&"


@pytest.mark.parametrize("code", ["<script>", 'x" onload="', "a b", "A", "", "x" * 41, "\u00e4"])
def test_codes_that_are_no_codes(code):
    """An agent, or its upstream, may write anything into Burrow-Error."""
    page = pages.upstream_failed(code, "x")
    assert page.code == "upstream-failed"
    page = pages.Page(502, code, "x", "y")
    assert b"<script>" not in parts(page, b"text/html")[1]
    assert b'" onload' not in parts(page, b"text/html")[1]


@pytest.mark.parametrize("accept", [b"text/html", b"text/plain", b"application/json"])
def test_words_of_an_agent_reach_no_terminal(accept):
    page = pages.upstream_failed("failed", "a\x1b[2Jb\r\nc\x9bd\u202ee\u00e4")
    text = parts(page, accept)[1].decode()
    assert not [char for char in text if char in "\x1b\x9b\u202e\r"]
    shown = json.loads(text)["detail"] if b"json" in accept else text
    assert "a\\x1b[2Jb\\r\\nc\\x9bd\\u202ee\u00e4" in shown


def test_method_that_is_not_allowed_says_which_are():
    assert b"\r\nAllow: GET, HEAD, POST" in parts(pages.bad_request(405, "x"), b"")[0]
    assert b"Allow" not in parts(pages.bad_request(400, "x"), b"")[0]


def test_phrases_are_those_of_the_standard():
    for status, phrase in pages.PHRASES.items():
        standard = {413: "Content Too Large", 414: "URI Too Long"}.get(status, HTTPStatus(status).phrase)
        assert parts(pages.Page(status, "x", "y", "z"), b"")[0].startswith(
            f"HTTP/1.1 {status} {standard}\r".encode()
        )
        assert phrase == standard.encode()
    assert set(pages.PHRASES) >= {
        200,
        308,
        400,
        404,
        405,
        408,
        414,
        421,
        431,
        500,
        501,
        502,
        503,
        504,
        505,
        508,
    }


def test_pages_are_not_kept_and_not_guessed_at():
    head = parts(pages.bad_request(400, "what is wrong"), b"")[0]
    assert (
        b"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nBurrow-Page: bad-request" in head
    )
    assert b"\nWhat is wrong.\n" in parts(pages.bad_request(400, "what is wrong"), b"")[1]


def test_head_only_and_close():
    head, body = parts(pages.no_such_tunnel("x"), b"", head_only=True, close=True)
    assert body == b""
    assert b"Connection: close" in head


def test_timeouts_have_their_own_status():
    assert pages.upstream_failed("timeout", "x").status == 504
    assert pages.upstream_failed("refused", "x").status == 502


def test_pages_say_what_happened_and_when_to_try_again():
    for page, status, code, retry in (
        (pages.no_such_tunnel("a.example"), 404, "no-such-tunnel", None),
        (pages.agent_away("a.example"), 503, "agent-away", b"5"),
        (pages.agent_left("a.example"), 503, "agent-away", b"60"),
        (pages.store_away(), 503, "store-away", b"5"),
        (pages.misdirected("a.example"), 421, "misdirected", None),
        (pages.policy_failed(), 500, "policy-failed", None),
        (pages.no_web_socket(), 502, "no-web-socket", None),
        (pages.loop("a.example"), 508, "loop", None),
        (pages.options(), 200, "options", None),
    ):
        assert (page.status, page.code, dict(page.headers).get(b"Retry-After")) == (status, code, retry)
        assert page.content is None
        assert dict(page.headers).keys() == (
            {b"Allow"} if code == "options" else {b"Retry-After"} if retry else set()
        )
        if code not in ("store-away", "policy-failed", "no-web-socket", "options"):
            assert "a.example" in page.text
    assert "--name a" in pages.no_such_tunnel("a.example").text


def test_page_of_a_name_that_nobody_serves():
    for why, page in (
        (Why.UNKNOWN, pages.no_such_tunnel("x")),
        (Why.AWAY, pages.agent_away("x")),
        (Why.LEFT, pages.agent_left("x")),
    ):
        assert pages.no_route("x", why) == page


def test_what_a_policy_answers_is_sent_as_it_is():
    answer = Answer(418, "tea", "A teapot", "It is short.", [(b"X-Tea", b"1")], (b"text/tea", b"tea"))
    head, body = parts(pages.answered(answer), b"text/html")
    assert head.startswith(b"HTTP/1.1 418 ")
    assert b"\r\nContent-Type: text/tea\r\nContent-Length: 3\r\n" in head
    assert b"\r\nX-Tea: 1" in head
    assert body == b"tea"


def test_status_without_a_phrase():
    assert parts(pages.Page(599, "x", "y", "z"), b"")[0].startswith(b"HTTP/1.1 599 Error\r\n")


def test_request_id_is_shown_last():
    page = pages.bad_request(400, "x")
    assert parts(page, b"", request_id=b"abc")[0].endswith(b"\r\nX-Request-Id: abc")
    assert b"X-Request-Id" not in parts(page, b"")[0]
    fields, body = pages.parts(page, b"", b"abc")
    assert fields[-1] == (b"x-request-id", b"abc")
    assert dict(fields)[b"content-length"] == b"%d" % len(body)
    assert all(name == name.lower() for name, _ in fields)


def test_form_says_the_same_whatever_it_is():
    page = pages.Page(502, "upstream-refused", "A title", "A text")
    shown = json.loads(parts(page, b"application/json")[1])
    assert shown == {"error": "upstream-refused", "status": 502, "title": "A title", "detail": "A text"}
    assert parts(page, b"application/json")[1].endswith(b"}\n")
    assert parts(page, b"")[1] == b"A title (upstream-refused)\nA text\n"
    html = parts(page, b"text/html")[1]
    for word in (b"502", b"A title", b"A text", b"upstream-refused"):
        assert word in html


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (pages.misdirected, "and its certificate does not cover it"),
        (pages.passed_on, "whose tunnel has TLS of its own"),
    ],
)
def test_a_connection_for_another_name_says_why(page, why):
    made = page("a.example")
    assert (made.status, made.code) == (421, "misdirected")
    assert made.text == f"This connection is not for a.example, {why}: open one for a.example."
