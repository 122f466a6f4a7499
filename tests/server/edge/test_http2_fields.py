"""
What the edge sends as fields over HTTP/2 keeps the rules as h2 has them. Nobody looks, since all fields have
come through our readers.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from h2.utilities import HeaderValidationFlags, normalize_outbound_headers, validate_outbound_headers

from burrow.http.body import ChunkedBody
from burrow.http.head import BadMessage
from burrow.http.response_head import ResponseReader
from burrow.server.edge import pages
from burrow.server.edge.answers import answer_fields, interim_fields

GET = SimpleNamespace(method=b"GET")
LINES = {
    "in a name": b"x%cy: v",
    "before a name": b"%cx: v",
    "behind a name": b"x%c: v",
    "in a value": b"x: a%cb",
    "before a value": b"x: %ca",
    "behind a value": b"x: a%c",
    "for a value": b"x:%c",
}


def check(fields, *, trailers=False):
    flags = HeaderValidationFlags(
        is_client=False, is_trailer=trailers, is_response_header=not trailers, is_push_promise=False
    )
    whole = fields if trailers else [(b":status", b"200"), *fields]
    assert list(validate_outbound_headers(whole, flags)) == whole
    assert list(normalize_outbound_headers(whole, flags, False)) == whole


@pytest.mark.parametrize("where", LINES)
def test_no_byte_of_an_upstream_makes_a_field_that_may_not_be_sent(where):
    taken = 0
    for byte in range(256):
        line = LINES[where] % byte
        try:
            read = ResponseReader().feed(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n", b"GET")
        except BadMessage:
            continue
        if read is not None:
            taken += 1
            check(answer_fields(GET, read[0], "example.com", b"0123456789abcdef", cookie=b"a=b"))
            check(interim_fields(read[0], "example.com"))
    assert taken > 50


@pytest.mark.parametrize("where", LINES)
def test_nor_one_behind_a_body(where):
    taken = 0
    for byte in range(256):
        body = ChunkedBody()
        try:
            body.feed(b"0\r\n" + LINES[where] % byte + b"\r\n\r\n")
        except BadMessage:
            continue
        if body.done:
            taken += 1
            check([(name.lower(), value) for name, value in body.trailers], trailers=True)
    assert taken > 50


def test_fields_of_the_connection_do_not_pass():
    head = b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
    head += b"Proxy-Connection: close\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
    head += b"X: y\r\n\r\n"
    read = ResponseReader().feed(head, b"GET")
    fields = answer_fields(GET, read[0], "example.com", b"0123456789abcdef")
    check(fields)
    assert [name for name, _ in fields] == [b"x", b"x-request-id"]


@pytest.mark.parametrize("accept", [b"text/html", b"application/json", b"", b"\r\n:"])
def test_pages(accept):
    for page in (pages.bad_request(400, "x\r\ny"), pages.misdirected("t.example.com")):
        check(pages.parts(page, accept, b"0123456789abcdef")[0])


def test_visitors_are_served_without_h2():
    """It took most of a request's time. The agent has it for upstreams, and tests as an oracle."""
    code = "import sys, burrow.server.edge.http2; print(sorted({'h2', 'hyperframe'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
