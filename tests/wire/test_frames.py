"""Tests for L{burrow.wire.frames}."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.errors import WireError
from burrow.wire.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    FrameReader,
    encode,
)

frames = st.lists(
    st.one_of(
        st.tuples(st.just(DATA), st.integers(0, 15), st.integers(0, 2**32 - 1), st.binary(max_size=300)),
        st.tuples(
            st.sampled_from([WINDOW_UPDATE, PING, GO_AWAY]),
            st.integers(0, 15),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
        ),
    ),
    max_size=8,
)


def serialize(described):
    """The bytes of frames given as (kind, flags, stream id, payload or value)."""
    out = b""
    for kind, flags, stream_id, rest in described:
        if kind == DATA:
            out += encode(kind, flags, stream_id, len(rest)) + rest
        else:
            out += encode(kind, flags, stream_id, rest)
    return out


def joined(pieces):
    """Pieces of Data frames put together again, as (kind, flags, stream id, payload or value)."""
    whole = []
    for piece in pieces:
        kind, flags, stream_id, value, payload = piece
        whole.append((kind, flags, stream_id, payload if kind == DATA else value))
    return whole


@given(frames, st.data())
def test_any_split_reads_the_same(described, data):
    wire = serialize(described)
    reader, pieces, position = FrameReader(), [], 0
    while position < len(wire):
        size = data.draw(st.integers(1, len(wire)))
        pieces += reader.receive(wire[position : position + size])
        position += size
    read = []
    for frame in joined(pieces):
        # A piece that does not open its frame continues the one before it.
        if (
            frame[0] == DATA
            and read
            and read[-1][0] == DATA
            and len(read[-1][3]) < len(described[len(read) - 1][3])
        ):
            last = read.pop()
            frame = (DATA, last[1] | frame[1], last[2], last[3] + frame[3])
        read.append(frame)
    assert read == described


def test_header_is_twelve_bytes_big_endian():
    assert encode(WINDOW_UPDATE, SYN | RST, 0x01020304, 0x0A0B0C0D) == (
        bytes.fromhex("00 01 0009 01020304 0a0b0c0d")
    )


def test_opening_flags_come_first_and_closing_flags_last():
    reader = FrameReader()
    wire = encode(DATA, SYN | FIN, 1, 4) + b"abcd"
    assert reader.receive(wire[:14]) == [(DATA, SYN, 1, 2, b"ab")]
    assert reader.receive(wire[14:15]) == [(DATA, 0, 1, 1, b"c")]
    assert reader.receive(wire[15:]) == [(DATA, FIN, 1, 1, b"d")]


def test_half_a_header_waits():
    reader = FrameReader()
    wire = encode(PING, ACK, 0, 7)
    assert reader.receive(wire[:11]) == []
    assert reader.receive(wire[11:]) == [(PING, ACK, 0, 7, b"")]


@pytest.mark.parametrize("wire", [b"\x01" + bytes(11), b"\x00\x04" + bytes(10), b"\xff" * 12])
def test_what_the_specification_does_not_have_is_an_error(wire):
    with pytest.raises(WireError):
        FrameReader().receive(wire)
