"""Tests for L{burrow.http.body}."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.body import (
    MAX_SIZE_LINE,
    MAX_TRAILERS,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
    chunk,
    last_chunk,
)
from burrow.http.head import BadMessage


def read(body, wire, sizes):
    """Feed pieces of the drawn sizes; the payload and what was behind the body."""
    payload, rest, position = b"", b"", 0
    for size in sizes:
        if body.done or position >= len(wire):
            break
        piece, rest = body.feed(wire[position : position + size])
        payload += piece
        position += size
    return payload, rest + wire[position:]


sizes = st.lists(st.integers(1, 40), min_size=400, max_size=400)
payloads = st.lists(st.binary(min_size=1, max_size=50), max_size=6)


@pytest.mark.slow
@given(payloads, sizes)
def test_chunks_written_by_us_are_read_by_us(pieces, split):
    wire = b"".join(map(chunk, pieces)) + last_chunk([(b"X-A", b"b"), (b"X-C", b"")])
    body = ChunkedBody()
    assert read(body, wire + b"next", split) == (b"".join(pieces), b"next")
    assert body.done
    assert body.trailers == [(b"X-A", b"b"), (b"X-C", b"")]


@pytest.mark.slow
@given(st.binary(max_size=200), sizes)
def test_length(payload, split):
    body = LengthBody(len(payload))
    assert read(body, payload + b"next", split) == (payload, b"next")
    assert body.done


def test_until_close_never_ends_by_itself():
    body = UntilCloseBody()
    assert body.feed(b"any") == (b"any", b"")
    assert not body.done


@given(st.binary(max_size=100))
def test_random_bytes_never_do_worse_than_bad_message(noise):
    try:
        ChunkedBody().feed(noise)
    except BadMessage as error:
        assert error.status == 400


@pytest.mark.parametrize(
    "wire",
    [
        b"5\nhello\r\n",
        b"5 x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"1_0\r\n",
        b"ffffffffffffffff\r\n",
        b"5\r\nhello!",
        b"5\r\nhello\r\r\n",
        b"0\r\nNo colon\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\rc\r\n\r\n",
        b"0\r\nA: \x7f\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n\xe4: b\r\n\r\n",
        b"5;a\0\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b'5;a="\n"\r\nhello\r\n',
        b" 5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"5,\r\nhello\r\n",
        b"5\r\r\nhello\r\n",
        b"\xb2\r\n",
        b"5;" + b"x" * MAX_SIZE_LINE,
        b"0\r\n" + b"A: " + b"b" * MAX_TRAILERS,
        b"0\r\n" + b"A: b\r\n" * MAX_TRAILERS,
    ],
)
def test_what_is_no_chunked_body(wire):
    with pytest.raises(BadMessage) as caught:
        ChunkedBody().feed(wire)
    assert caught.value.status == 400
    with pytest.raises(BadMessage):
        body = ChunkedBody()
        for position in range(len(wire)):
            body.feed(wire[position : position + 1])


def test_chunks_byte_by_byte():
    body, wire = ChunkedBody(), b"3;x\r\nabc\r\n0A\r\n0123456789\r\n0\r\nA: b\r\n\r\nnext"
    assert read(body, wire, [1] * len(wire)) == (b"abc0123456789", b"next")
    assert body.trailers == [(b"A", b"b")]


def test_chunk_longer_than_its_size_is_refused_at_once():
    body = ChunkedBody()
    body.feed(b"3\r\nabc\r")
    with pytest.raises(BadMessage):
        body.feed(b"d")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Trailer",
            "Upgrade",
            "Keep-Alive",
            "TE",
        ),
        *("X-Forwarded-For", "X-Forwarded-Any", "Forwarded", "X-Real-IP", "Via", "True-Client-IP", "Proxy"),
        *(
            "Authorization",
            "Proxy-Authorization",
            "WWW-Authenticate",
            "Cookie",
            "Set-Cookie",
            "Origin",
            "Expect",
        ),
        *(
            "Content-Type",
            "Content-Encoding",
            "Location",
            "If-Match",
            "Range",
            "Cache-Control",
            "Burrow-Error",
        ),
        *("content_length", "x.forwarded.for", "COOKIE", "Max-Forwards", "Sec-Fetch-Site", "X-Own"),
    ],
)
def test_fields_that_are_not_for_trailers(name):
    body = ChunkedBody(frozenset((b"x-own",)))
    body.feed(f"0\r\n{name}: 9\r\nGrpc-Status: 0\r\nServer-Timing:\t a \t\r\nETag:\r\n\r\n".encode())
    assert body.done
    assert body.trailers == [(b"Grpc-Status", b"0"), (b"Server-Timing", b"a"), (b"ETag", b"")]


@pytest.mark.parametrize("length", [MAX_SIZE_LINE - 2, MAX_SIZE_LINE - 1])
def test_size_line_at_its_bound(length):
    wire = b"1;" + b"x" * (length - 2) + b"\r\na\r\n0\r\n\r\n"
    assert ChunkedBody().feed(wire) == (b"a", b"")


def test_trailers_at_their_bound():
    for name, size, fits in ((b"A", MAX_TRAILERS - 4, True), (b"A", MAX_TRAILERS - 3, False)):
        body = ChunkedBody()
        wire = b"0\r\n" + name + b":" + b"b" * size + b"\r\n\r\n"
        if fits:
            body.feed(wire)
            assert len(body.trailers[0][1]) == size
        else:
            with pytest.raises(BadMessage):
                body.feed(wire)


def test_trailers_cost_linear_time():
    for text in (b" " * 16_000, b"a" + b" " * 16_000):
        with pytest.raises(BadMessage):
            ChunkedBody().feed(b"0\r\nA:" + text[:16_000] + b"\x01\r\n\r\n")


def test_extensions_are_dropped_and_framing_trailers_too():
    body = ChunkedBody()
    payload, rest = body.feed(b'3;a="b"\r\nabc\r\n0\r\nContent-Length: 9\r\nX: y\r\n\r\n')
    assert (payload, rest, body.trailers) == (b"abc", b"", [(b"X", b"y")])
