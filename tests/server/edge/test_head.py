"""Tests for L{burrow.server.edge.head}. Most refusals are tested end to end (tests/e2e/test_bad_input.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.server.edge.head import (
    MAX_HEAD,
    BadMessage,
    RequestReader,
    ResponseReader,
    end_to_end,
    tokens,
    write_head,
)


def request(text):
    head, rest = RequestReader().feed(text.replace("\n", "\r\n").encode())
    assert rest == b""
    return head


@given(st.data())
def test_any_split_reads_the_same(data):
    wire = b"\r\nPOST /a?b HTTP/1.1\r\nHost: X.Example:81\r\nA: b c\r\nContent-Length: 3\r\n\r\nxyz"
    reader, result, position = RequestReader(), None, 0
    while result is None:
        size = data.draw(st.integers(1, len(wire)))
        result = reader.feed(wire[position : position + size])
        position += size
    head, rest = result
    assert (head.method, head.target, head.host, head.length) == (b"POST", b"/a?b", "x.example", 3)
    assert head.authority == b"X.Example:81"
    assert rest + wire[position:] == b"xyz"
    assert not reader.started


@pytest.mark.parametrize(
    ("text", "keep_alive"),
    [
        ("GET / HTTP/1.1\nHost: x\n\n", True),
        ("GET / HTTP/1.1\nHost: x\nConnection: Close\n\n", False),
        ("GET / HTTP/1.0\nHost: x\n\n", False),
        ("GET / HTTP/1.0\nHost: x\nConnection: keep-alive\n\n", True),
    ],
)
def test_keep_alive(text, keep_alive):
    assert request(text).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("extra", "upgrade"),
    [
        ("Connection: Upgrade\nUpgrade: websocket\n", b"websocket"),
        ("Connection: keep-alive, upgrade\nUpgrade: websocket\n", b"websocket"),
        ("Upgrade: websocket\n", b""),
        ("Connection: Upgrade\nUpgrade: h2c\n", b""),
        ("Connection: Upgrade\nUpgrade: websocket\nContent-Length: 5\n", b""),
    ],
)
def test_upgrade(extra, upgrade):
    assert request(f"GET / HTTP/1.1\nHost: x\n{extra}\n").upgrade == upgrade


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.b", "a.b"), ("A.B:8443", "a.b"), ("a.b.", "a.b"), ("[::1]:80", "::1"), ("127.0.0.1", "127.0.0.1")],
)
def test_hosts(host, name):
    assert request(f"GET / HTTP/1.1\nHost: {host}\n\n").host == name


def test_targets():
    assert request("OPTIONS * HTTP/1.1\nHost: x\n\n").target == b"*"
    absolute = request("GET http://other:1?q HTTP/1.1\nHost: x\n\n")
    assert (absolute.host, absolute.authority, absolute.target) == ("other", b"other:1", b"/?q")


def test_chunked_has_no_length():
    head = request("POST / HTTP/1.1\nHost: x\nTransfer-Encoding: Chunked\n\n")
    assert head.length is None
    assert head.has_body


@given(st.binary(max_size=300))
def test_random_bytes_never_do_worse_than_bad_message(noise):
    for reader, arguments in ((RequestReader(), ()), (ResponseReader(), (b"GET",))):
        try:
            reader.feed(noise + b"\r\n\r\n", *arguments)
        except BadMessage as error:
            assert 400 <= error.status < 600


def test_head_without_an_end_is_too_long_at_last():
    reader = RequestReader()
    reader.feed(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    with pytest.raises(BadMessage) as caught:
        for _ in range(MAX_HEAD // 1000 + 1):
            reader.feed(b"x" * 1000)
    assert caught.value.status == 431


def response(text, method=b"GET"):
    return ResponseReader().feed(text.replace("\n", "\r\n").encode(), method)[0]


@pytest.mark.parametrize(
    ("text", "method", "framing"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", b"GET", (5, False, True)),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", b"GET", (None, True, True)),
        ("HTTP/1.1 200 OK\n\n", b"GET", (None, False, False)),
        ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", b"HEAD", (0, False, True)),
        ("HTTP/1.1 204 No Content\n\n", b"GET", (0, False, True)),
        ("HTTP/1.1 304 Not Modified\nContent-Length: 9\n\n", b"GET", (0, False, True)),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: close\n\n", b"GET", (5, False, False)),
        ("HTTP/1.0 200 OK\nContent-Length: 5\n\n", b"GET", (5, False, False)),
        ("HTTP/1.0 200 OK\nContent-Length: 5\nConnection: keep-alive\n\n", b"GET", (5, False, True)),
    ],
)
def test_framing_of_responses(text, method, framing):
    head = response(text, method)
    assert (head.length, head.chunked, head.keep_alive) == framing


def test_fields_for_this_hop_are_dropped():
    headers = [(b"Connection", b"X-Mine, close"), (b"X-Mine", b"1"), (b"Upgrade", b"x"), (b"Stays", b"1")]
    assert end_to_end(headers) == [(b"Stays", b"1")]
    assert end_to_end(headers, frozenset((b"stays",))) == []
    assert tokens([(b"TE", b"a, B"), (b"te", b"c")], b"te") == [b"a", b"b", b"c"]


def test_written_head_reads_back():
    wire = write_head(b"GET / HTTP/1.1", [(b"Host", b"x"), (b"Empty", b"")])
    assert RequestReader().feed(wire)[0].headers == [(b"Host", b"x"), (b"Empty", b"")]
