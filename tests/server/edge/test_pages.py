"""Tests for L{burrow.server.edge.pages}."""

import json

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


def test_html_is_escaped_and_json_is_json():
    page = pages.upstream_failed("failed", "<script>&")
    assert b"&lt;script&gt;&amp;" in parts(page, b"text/html")[1]
    assert json.loads(parts(page, b"application/json")[1])["detail"] == "<script>&"


def test_head_only_and_close():
    head, body = parts(pages.no_such_tunnel("x"), b"", head_only=True, close=True)
    assert body == b""
    assert b"Connection: close" in head


def test_timeouts_have_their_own_status():
    assert pages.upstream_failed("timeout", "x").status == 504
    assert pages.upstream_failed("refused", "x").status == 502
