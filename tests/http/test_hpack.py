"""Tests for L{burrow.http.hpack}, against hpack's own encoder and decoder."""

import random

import pytest
from hpack import Decoder, Encoder, HPACKDecodingError, HPACKError, NeverIndexedHeaderTuple
from hpack.exceptions import OversizedHeaderListError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.hpack import MAX_CODED, Http2Decoder, Http2Encoder, Huffman

LIMIT = 64 * 1024


def test_huffmans_code_is_hpacks():
    theirs, ours = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH), Huffman()
    chosen = random.Random(1)
    samples = [b"", b"0", b"\xff" * 9, bytes(range(256)), *(chosen.randbytes(size) for size in range(1, 60))]
    for data in samples:
        assert ours.encode(data) == theirs.encode(data)


@pytest.mark.parametrize("size", [MAX_CODED - 1, MAX_CODED, 250_000])
@pytest.mark.parametrize("field", [b"x", b"location"])
@pytest.mark.parametrize("sensitive", [False, True])
def test_long_fields_go_as_they_are(size, field, sensitive):
    value = b"~" * size
    header = NeverIndexedHeaderTuple(field, value) if sensitive else (field, value)
    encoder, decoder = Http2Encoder(), Decoder(10**6)
    for _ in range(3):
        block = encoder.encode([(b":status", b"200"), header, (b"a", b"b")])
        assert decoder.decode(block, raw=True) == [(b":status", b"200"), (field, value), (b"a", b"b")]
        if len(field) + size > MAX_CODED:
            assert len(block) < size + 20
    assert len(encoder.huffman_coder.encode(value)) > size * 3 // 2


def test_name_may_be_long():
    name = b"~" * 250_000
    assert name in Http2Encoder().encode([(name, b"x")])


def heads(chosen):
    names = [b"x-%d" % number for number in range(9)] + [b"cookie", b":path", b"y" * 300]
    for _ in range(40):
        fields = []
        for _ in range(chosen.randrange(60)):
            pair = (chosen.choice(names), chosen.randbytes(chosen.choice([0, 3, 100, 700])))
            fields.append(NeverIndexedHeaderTuple(*pair) if chosen.random() < 0.3 else pair)
        yield fields


@pytest.mark.parametrize("huffman", [False, True])
def test_heads_of_any_length_are_read_as_hpack_reads_them(huffman):
    encoder, ours, theirs = Encoder(), Http2Decoder(10**6), Decoder(10**6)
    lengths = []
    for fields in heads(random.Random(2)):
        block = encoder.encode(fields, huffman)
        lengths.append(len(block))
        assert ours.decode(block, raw=True) == theirs.decode(block, raw=True) == fields
        assert ours.header_table.dynamic_entries == theirs.header_table.dynamic_entries
    assert max(lengths) > 8192


class Counted(bytes):
    """Bytes that count what is copied of them."""

    copied = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        if isinstance(key, slice):
            self.copied += len(found)
        return found


def test_decoder_copies_nothing_of_a_head_but_its_fields():
    block = Counted(Encoder().encode([(b"%d" % number, bytes(20)) for number in range(1000)], huffman=False))
    Http2Decoder(LIMIT).decode(block, raw=True)
    assert 20_000 < block.copied < len(block)


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), min_size=1, max_size=4), st.data())
def test_any_bytes_are_read_as_hpack_reads_them(blocks, chosen):
    """Or are refused by both: then the table is of no more use."""
    ours, theirs, client = Http2Decoder(2000), Decoder(2000), Encoder()
    for block, right in blocks:
        if right:
            names = st.sampled_from([b":path", b"x-a", b"cookie"])
            fields = st.lists(st.tuples(names, st.sampled_from([b"", b"1", b"y" * 500])), max_size=6)
            block = client.encode(chosen.draw(fields))
            if chosen.draw(st.booleans()) and block:
                at = chosen.draw(st.integers(0, len(block) - 1))
                block = block[:at] + chosen.draw(st.binary(max_size=2)) + block[at + 1 :]
        try:
            expected = theirs.decode(block, raw=True)
        except HPACKError as error:
            with pytest.raises(HPACKError) as caught:
                ours.decode(block)
            if isinstance(error, OversizedHeaderListError):
                assert isinstance(caught.value, OversizedHeaderListError)
            return
        try:
            assert ours.decode(block) == expected
        except HPACKDecodingError as error:
            assert "more than 2 changes" in str(error)
            return
        assert ours.header_table.dynamic_entries == theirs.header_table.dynamic_entries
        assert ours.header_table_size == theirs.header_table_size


@pytest.mark.parametrize(
    "field", [b"\0\1x\x7f", b"\0\1x\x7f\xff", b"\0\x7f\x80\x80\x80\x80\x80\x80", b"\x3f"]
)
def test_fields_that_are_cut_off(field):
    block = Encoder().encode([(b"x", bytes(5000))], huffman=False)
    for data in (field, block[:-1], block[:2] + field, b"\0\1a\x7f\x80\x80\1" + bytes(6000) + field):
        with pytest.raises(HPACKDecodingError):
            Http2Decoder(LIMIT).decode(data, raw=True)


def test_head_that_is_longer_than_it_may_be_is_not_decoded():
    decoder = Http2Decoder(LIMIT)
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(b"\x82" + bytes(LIMIT), raw=True)
    assert list(decoder.decode(b"\x82", raw=True)) == [(b":method", b"GET")]
    # As long, but by a code that makes it longer: decoded, it would not be too long.
    block = Encoder().encode([(b"x", b"\n" * (LIMIT // 3))])
    assert len(block) > LIMIT
    assert len(Decoder(LIMIT).decode(block, raw=True)) == 1
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(block, raw=True)


def test_table_changes_its_size_twice_at_most():
    decoder = Http2Decoder(LIMIT)
    for _ in range(3):
        assert list(decoder.decode(b"\x20\x3f\xe1\x1f\x82", raw=True)) == [(b":method", b"GET")]
    with pytest.raises(HPACKDecodingError, match="more than 2"):
        decoder.decode(b"\x20" * 3 + b"\x82", raw=True)
