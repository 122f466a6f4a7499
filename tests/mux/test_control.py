"""Tests for L{burrow.mux.control}."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from burrow.errors import WireError
from burrow.mux.control import MAX_HEAD, VisitorHead, decode_box, decode_visitor_head, encode_box, window_of
from burrow.wire.windows import INITIAL_WINDOW

HEAD = VisitorHead("blog", "[::1]:1234", "https")
WINDOWS = st.integers(1, INITIAL_WINDOW)


@given(st.binary(max_size=50), WINDOWS)
def test_head_reads_back_with_what_is_behind_it(rest, window):
    for head in (HEAD, HEAD._replace(window=window)):
        wire = head.encode()
        assert decode_visitor_head(wire + rest) == (head, rest)
        for size in range(len(wire)):
            assert decode_visitor_head(wire[:size]) is None


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300), WINDOWS)
def test_head_is_the_box_that_amp_writes(tunnel, visitor, scheme, window):
    """A window that every yamux has is not told."""
    fields = {"tunnel": tunnel, "visitor": visitor, "scheme": scheme}
    assert VisitorHead(tunnel, visitor, scheme).encode() == encode_box(fields)
    told = {} if window == INITIAL_WINDOW else {"window": str(window)}
    assert VisitorHead(tunnel, visitor, scheme, window).encode() == encode_box(fields | told)


def test_long_head_tells_its_window():
    head = VisitorHead("t" * 20_000, "v", "s", 7)
    assert head.encode() == encode_box({"tunnel": "t" * 20_000, "visitor": "v", "scheme": "s", "window": "7"})


@pytest.mark.parametrize(
    "window", ["", "0", "-1", "+1", " 1", "1_0", "\u0661", "\u00b2", "x", str(INITIAL_WINDOW + 1), "9" * 6000]
)
def test_window_that_is_none(window):
    fields = {"tunnel": "t", "visitor": "v", "scheme": "s", "window": window}
    with pytest.raises(WireError, match="window"):
        decode_visitor_head(encode_box(fields))
    with pytest.raises(WireError, match="window"):
        window_of(window)


def test_value_that_no_box_can_have():
    assert VisitorHead("t" * 65535, "v", "s").encode() == encode_box(
        {"tunnel": "t" * 65535, "visitor": "v", "scheme": "s"}
    )
    with pytest.raises(amp.TooLong):
        VisitorHead("t" * 65536, "v", "s").encode()


@given(st.data())
def test_lengths_that_are_wrong_are_read_as_any_box(data):
    """The usual box is read at once, which must say of no bytes but its own what they mean."""
    head = data.draw(st.sampled_from([HEAD, HEAD._replace(window=20_000)]))
    wire = bytearray(head.encode() + b"behind\0\0")
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        box = decode_box(bytes(wire))
    except WireError:
        box = None
    try:
        head = decode_visitor_head(bytes(wire))
    except WireError:
        assert box is None or not {"tunnel", "visitor", "scheme"} <= set(box[0]) or "window" in box[0]
        return
    if box is None:
        assert head is None
    else:
        fields = box[0]
        window = window_of(fields.get("window"))
        assert head == (VisitorHead(fields["tunnel"], fields["visitor"], fields["scheme"], window), box[1])


def test_unknown_keys_are_ignored():
    box = amp.AmpBox({b"tunnel": b"t", b"visitor": b"v", b"scheme": b"s", b"later": b"x"})
    assert decode_visitor_head(box.serialize()) == (VisitorHead("t", "v", "s"), b"")


@pytest.mark.parametrize(
    "wire",
    [
        amp.AmpBox({b"tunnel": b"t"}).serialize(),
        amp.AmpBox({b"tunnel": b"\xff", b"visitor": b"v", b"scheme": b"s"}).serialize(),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x01a\xff\xff" + bytes(MAX_HEAD),
    ],
)
def test_what_is_no_head(wire):
    with pytest.raises(WireError):
        decode_visitor_head(wire)


@given(st.binary(max_size=100))
def test_random_bytes_never_do_worse_than_a_wire_error(noise):
    try:
        decode_visitor_head(noise)
    except WireError:
        pass
