"""burrow.client.inspect.decoding: codings are undone, and bombs are bounded."""

import gzip
import sys
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.client.inspect.decoding import MAX_DECODED, as_text, decode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def bare(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}


def coded(*names):
    return [(b"Content-Encoding", ", ".join(names).encode())]


@pytest.mark.parametrize("name", PACK)
@given(st.binary(max_size=2000))
def test_a_coding_is_undone(name, data):
    found = decode(PACK[name](data), coded(name))
    assert (found.data, found.truncated, found.error) == (data, False, "")


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_cut(name):
    bomb = PACK[name](bytes(50_000_000))
    found = decode(bomb, coded(name))
    assert (len(found.data), found.truncated) == (MAX_DECODED, True)


def test_a_bomb_in_a_bomb_is_cut():
    bomb = gzip.compress(gzip.compress(bytes(200_000_000)))
    found = decode(bomb, coded("gzip", "gzip"))
    assert len(found.data) <= MAX_DECODED


@pytest.mark.parametrize("name", PACK)
def test_the_beginning_of_a_body_is_unpacked_as_far_as_it_goes(name):
    text = "".join(f"line {number * 7919 % 10007}\n" for number in range(20_000)).encode()
    found = decode(PACK[name](text)[:-400], coded(name))
    assert found.error == ""
    assert text.startswith(found.data)


@pytest.mark.parametrize("name", PACK)
@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_told_or_unpacked_and_never_raises(name, data):
    found = decode(data, coded(name))
    assert found.error == "" or found.data == data


def test_codings_are_undone_from_the_last():
    packed = brotli.compress(gzip.compress(b"hello"))
    assert decode(packed, coded("gzip", "br")).data == b"hello"
    assert decode(packed, [*coded("gzip"), *coded("br")]).data == b"hello"


def test_deflate_without_its_frame():
    assert decode(bare(b"hello"), coded("deflate")).data == b"hello"


def test_members_of_gzip_follow_each_other():
    assert decode(gzip.compress(b"one ") + gzip.compress(b"two"), coded("gzip")).data == b"one two"
    assert len(decode(gzip.compress(b"x") * 5000, coded("gzip")).data) == 100  # each costs a copy of the rest


def test_unknown_and_too_many_codings_are_told():
    assert "compress" in decode(b"x", coded("compress")).error
    assert "5 times" in decode(b"x", coded(*["gzip"] * 5)).error
    assert decode(b"x", coded("identity")).data == b"x"
    assert decode(b"x", []).data == b"x"


def test_text_is_told_from_other_bytes():
    assert as_text("grün".encode(), "application/json", cut=False) == "grün"
    assert as_text("grün".encode("latin-1"), "text/plain; charset=ISO-8859-1", cut=False) == "grün"
    assert as_text("grün".encode("latin-1"), "text/plain", cut=False) is None
    assert as_text(b"a\x00b", "", cut=False) is None
    assert as_text(b"GIF89a", "image/gif", cut=False) is None
    assert as_text(b"<svg/>", "image/svg+xml", cut=False) == "<svg/>"
    assert as_text("grü".encode()[:-1], "text/plain", cut=True) == "gr"
    assert as_text(b"x", "text/plain; charset=zip", cut=False) is None
    assert as_text(b"x", "text/plain; charset=none-such", cut=False) is None
