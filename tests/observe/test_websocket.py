"""Tests for L{burrow.observe.websocket} and C{events}: messages as they pass."""

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.observe import events
from burrow.observe.events import EventStreamReader
from burrow.observe.websocket import (
    MAX_INFLATED,
    MAX_KEPT,
    MessageReader,
    context_takeover,
)

KINDS = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}


def frame(opcode, payload, mask=b"", *, fin=True, compressed=False):
    """A frame, written out as in RFC 6455 section 5.2."""
    head = bytes([(0x80 if fin else 0) | (0x40 if compressed else 0) | opcode])
    size, bit = len(payload), 0x80 if mask else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + mask + payload


def deflater():
    return zlib.compressobj(9, zlib.DEFLATED, -15)


def deflated(compress, payload):
    data = compress.compress(payload) + compress.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


def read(wire, sizes=(), takeover=None):
    """The kinds and payloads of the messages in C{wire}, fed in pieces."""
    reader, found = MessageReader(takeover), []
    sizes = iter(sizes)
    while wire:
        size = next(sizes, len(wire))
        found += reader.feed(wire[:size])
        wire = wire[size:]
    return [(message.kind, message.data, message.size) for message in found]


messages = st.lists(
    st.tuples(
        st.sampled_from(["text", "binary"]),
        st.binary(max_size=300) | st.binary(min_size=1, max_size=40).map(lambda some: some * 500),
        st.sampled_from([b"", b"\x01\x02\x03\x04", bytes(4)]),
        st.lists(st.integers(0, 400), max_size=3),
        st.booleans(),
        st.sampled_from(["", "ping", "pong"]),
    ),
    max_size=8,
)


@given(messages, st.lists(st.integers(1, 600), max_size=30), st.sampled_from([None, True, False]))
def test_any_messages_in_any_pieces(parts, sizes, takeover):
    wire, expected, compress = b"", [], deflater()
    for kind, payload, mask, cuts, compressed, between in parts:
        compressed = compressed and takeover is not None
        if compressed and not takeover:
            compress = deflater()
        data = deflated(compress, payload) if compressed else payload
        starts = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(starts)]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            opcode = 0 if number else KINDS[kind]
            wire += frame(opcode, piece, mask, fin=last, compressed=compressed and not number)
            if between and not last:
                wire += frame(KINDS[between], b"beat", mask)
                expected.append((between, b"beat", 4))
        expected.append((kind, payload[:MAX_KEPT], len(payload)))
    assert read(wire, sizes, takeover) == expected


def test_large_message_is_cut():
    payload = bytes(range(256)) * 1024
    assert read(frame(2, payload, b"mask"), [1000] * 300) == [("binary", payload[:MAX_KEPT], len(payload))]


def test_close():
    assert read(frame(8, b"\x03\xe8bye")) == [("close", b"\x03\xe8bye", 5)]


def test_empty_frames():
    wire = frame(1, b"", fin=False) + frame(0, b"") + frame(9, b"") + frame(1, b"a")
    assert read(wire, [1] * 20) == [("text", b"", 0), ("ping", b"", 0), ("text", b"a", 1)]


def undecodable(wire, takeover=None):
    """What is found before C{wire} cannot be read any more."""
    reader = MessageReader(takeover)
    found = reader.feed(frame(9, b"first") + wire)
    assert reader.undecodable
    assert reader.feed(frame(1, b"later")) == []
    return [(message.kind, message.data) for message in found]


def test_bomb_is_given_up():
    bomb = deflated(deflater(), bytes(MAX_INFLATED + 1_000_000))
    assert len(bomb) < 20_000
    assert undecodable(frame(2, bomb, compressed=True), takeover=True) == [("ping", b"first")]


def test_many_small_bombs_are_given_up():
    wire, compress = b"", deflater()
    for _ in range(40):
        wire += frame(2, deflated(compress, bytes(1_000_000)), compressed=True)
    assert 10 < len(undecodable(wire, takeover=True)) < 30


@pytest.mark.parametrize(
    "wire",
    [
        frame(3, b""),
        frame(0, b"rest"),
        frame(9, b"x" * 126),
        frame(1, b"abc", compressed=True),
    ],
)
def test_what_is_no_websocket(wire):
    assert undecodable(wire) == [("ping", b"first")]


def test_what_is_no_deflate():
    wire = frame(1, b"\xff\xff\xff\xff", compressed=True)
    assert undecodable(wire, takeover=True) == [("ping", b"first")]


def test_block_that_says_it_is_the_last():
    """RFC 7692 section 7.2.3.4: another message follows all the same."""
    last = deflater()
    wire = b"".join(
        frame(1, data, compressed=True)
        for data in [
            last.compress(b"hello") + last.flush(zlib.Z_FINISH) + b"\x00",
            *[deflated(deflater(), b"again" * 1000)] * 50,
        ]
    )
    reader = MessageReader(True)
    found = [message.data for message in reader.feed(wire)]
    assert found == [b"hello"] + [b"again" * 1000] * 50
    assert not reader._inflater.unused_data


@given(st.binary(max_size=200), st.sampled_from([None, True, False]))
def test_any_bytes_do_no_harm(wire, takeover):
    read(wire, takeover=takeover)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"permessage-deflate", (True, True)),
        (b"permessage-deflate; client_no_context_takeover; server_max_window_bits=9", (False, True)),
        (b"x, Permessage-Deflate ; server_no_context_takeover", (True, False)),
        (b"x-webkit-deflate-frame", (None, None)),
    ],
)
def test_what_was_negotiated(value, expected):
    assert context_takeover([value]) == expected
    assert context_takeover([]) == (None, None)


LINES = st.text("ab: é", min_size=1, max_size=20)


@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3).map("\n".join), max_size=10),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(1, 30), max_size=40),
)
def test_events_in_any_pieces(texts, end, sizes):
    reader, found = EventStreamReader(), []
    wire = "".join(text.replace("\n", end) + end + end for text in texts).encode()
    sizes = iter(sizes)
    while wire:
        size = next(sizes, len(wire))
        found += reader.feed(wire[:size])
        wire = wire[size:]
    assert [message.data.decode() for message in found] == texts
    assert all(message.kind == "event" and message.size == len(message.data) for message in found)


def test_event_without_an_end_is_bounded():
    reader = EventStreamReader()
    for _ in range(50):
        assert reader.feed(b"x" * 10_000 + b"\n") == []
        assert len(reader._event) <= events.MAX_KEPT
    (message,) = reader.feed(b"\n\n")
    assert message.size == 500_049
    assert len(message.data) <= events.MAX_KEPT
    assert [each.data for each in reader.feed(b"data: y\n\n")] == [b"data: y"]


def test_cut_event_is_no_end_of_it():
    reader = EventStreamReader()
    assert reader.feed(b"x" * (events.MAX_KEPT - 1) + b"\ny\nz\n") == []
    assert len(reader.feed(b"\n")) == 1
