"""Tests for L{burrow.policy.compress}."""

import sys
import zlib

import brotli
import pytest

from burrow.http.response_head import ResponseReader
from burrow.policy import compress
from burrow.policy.compress import coding, compressed
from tests.policy.test_fields import visit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GET = b"GET / HTTP/1.1\r\nHost: demo.test\r\nAccept-Encoding: %b\r\n\r\n"
HTML = b"Content-Type: text/html\r\n"


def answered(
    fields=HTML, accepted=b"gzip", status=b"200 OK", length=b"Content-Length: 5000\r\n", method=b"GET"
):
    asked = visit((GET % accepted).replace(b"GET", method))
    head, _ = ResponseReader().feed(b"HTTP/1.1 %b\r\n%b%b\r\n" % (status, fields, length), method)
    return compressed(asked, head)


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        (b"gzip, deflate, br, zstd", b"br"),
        (b"gzip, zstd", b"zstd"),
        (b"gzip", b"gzip"),
        (b"*", b"br"),
        (b"br;q=0, *", b"zstd"),
        (b"gzip;q=1.0, br;q=0.5", b"gzip"),
        (b"identity, gzip;q=0.5", b""),
        (b"gzip;q=0", b""),
        (b"gzip;q=x", b""),
        (b"deflate", b""),
        (b"", b""),
    ],
)
def test_coding_that_a_visitor_likes_best(accepted, taken):
    assert coding(visit(GET % accepted).request.headers.tokens(b"accept-encoding")) == taken


def unbrotli():
    unpacker = brotli.Decompressor()

    def unpack(data):
        whole = piece = unpacker.process(data)
        while piece:  # it gives so much at a time
            piece = unpacker.process(b"")
            whole += piece
        return whole

    return unpack


UNPACK = {
    b"gzip": lambda: zlib.decompressobj(31).decompress,
    b"br": unbrotli,
    b"zstd": lambda: zstd.ZstdDecompressor().decompress,
}


@pytest.mark.parametrize("name", UNPACK)
def test_each_piece_can_be_read_when_it_comes(name):
    head, encoder = answered(HTML + b'ETag: "a"\r\nAccept-Ranges: bytes\r\nContent-MD5: x\r\n', name)
    assert head.length is None
    assert head.declared is None
    assert head.headers == {
        b"content-type": [b"text/html"],
        b"etag": [b'W/"a"'],
        b"vary": [b"Accept-Encoding"],
        b"content-encoding": [name],
    }
    unpack = UNPACK[name]()
    pieces = [b"one " * 300, b"two", b"three " * 20_000]
    packed = 0
    for piece in pieces:
        data = encoder.feed(piece)
        packed += len(data)
        assert unpack(data) == piece
    assert unpack(encoder.end()) == b""
    assert packed < 3000


@pytest.mark.parametrize(
    "given",
    [
        {"fields": b"Content-Type: image/png\r\n"},
        {"fields": b"Content-Type: text/event-stream\r\n"},
        {"fields": b"Content-Type: application/grpc\r\n"},
        {"fields": b""},
        {"fields": HTML + b"Content-Encoding: br\r\n"},
        {"fields": HTML + b"Cache-Control: private, no-transform\r\n"},
        {"fields": HTML + b"Content-Range: bytes 0-5000/9000\r\n", "status": b"206 Partial Content"},
        {"status": b"304 Not Modified"},
        {"status": b"204 No Content", "length": b""},
        {"length": b"Content-Length: 999\r\n"},
    ],
)
def test_what_is_not_compressed(given):
    head, encoder = answered(**given)
    assert encoder is None
    assert head.headers.get(b"content-encoding") != [b"gzip"]
    assert b"vary" not in head.headers


def test_visitor_that_does_not_ask_and_head():
    head, encoder = answered(accepted=b"")
    assert encoder is None
    assert (head.length, head.headers[b"vary"]) == (5000, [b"Accept-Encoding"])
    head, encoder = answered(method=b"HEAD")
    assert encoder is None
    assert (head.declared, head.headers[b"content-encoding"]) == (None, [b"gzip"])
    assert answered(HTML + b"Vary: accept-encoding\r\n")[0].headers[b"vary"] == [b"accept-encoding"]


def test_so_many_at_a_time(monkeypatch):
    monkeypatch.setattr(compress, "MAX_ENCODERS", 2)
    first, second = answered()[1], answered()[1]
    assert first is not None
    assert second is not None
    head, third = answered()
    assert third is None
    assert (head.length, head.headers[b"vary"]) == (5000, [b"Accept-Encoding"])
    del first
    assert answered()[1] is not None
