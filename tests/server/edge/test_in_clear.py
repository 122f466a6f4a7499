"""Tests for L{burrow.server.edge.in_clear}: a request without TLS at the TLS port."""

import pytest

from burrow.server.edge.in_clear import answer_in_clear

HEAD = b"GET /a?b=c HTTP/1.1\r\nHost: demo.example:8443\r\nAccept: text/html\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "location"),
    [
        (HEAD, b"https://demo.example:8443/a?b=c"),
        (
            HEAD.replace(b"Host: demo.example:8443", b"HOST:[2001:db8::1]:8443 "),
            b"https://[2001:db8::1]:8443/a?b=c",
        ),
        (HEAD.replace(b":8443", b""), b"https://demo.example/a?b=c"),
    ],
)
def test_who_asks_for_a_page_is_sent_to_https(head, location):
    answer = answer_in_clear(head)
    assert answer.startswith(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: " + location + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"write https:// in the URL" in body


@pytest.mark.parametrize(
    "head",
    [
        HEAD[:-2],
        HEAD.replace(b"GET", b"POST"),
        HEAD.replace(b"Accept: text/html", b"Upgrade: websocket"),
        HEAD.replace(b"Accept: text/html", b"Host: demo.example"),
        HEAD.replace(b"Host: ", b"X-Host: "),
        HEAD.replace(b"demo.example:8443", b"a@b"),
        HEAD.replace(b"/a?b=c", b"/a\tb"),
        HEAD.replace(b"/a?b=c", b"http://other.example/"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello",
    ],
)
def test_others_get_a_sentence(head):
    answer = answer_in_clear(head)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\nContent-Type: ")
    assert b"\r\nLocation" not in answer
    assert answer.endswith(b"This port speaks HTTPS: write https:// in the URL. \r\n")
