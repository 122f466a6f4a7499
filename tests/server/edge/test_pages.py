"""Tests for L{burrow.server.edge.pages}."""

import json
from http import HTTPStatus

import pytest

from burrow.server.edge import pages


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
