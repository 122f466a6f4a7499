"""Bytes that wait in pieces."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.wire.pieces import SMALL, put


@given(st.lists(st.integers(1, 3 * SMALL)), st.sampled_from([list, deque]))
def test_nothing_is_lost_and_no_two_neighbours_are_small(sizes, make):
    pieces, data = make(), b""
    for number, size in enumerate(sizes):
        piece = bytes([number % 256]) * size
        put(pieces, piece)
        data += piece
    assert b"".join(pieces) == data
    assert all(max(map(len, pair)) >= SMALL for pair in zip(pieces, list(pieces)[1:], strict=False))
    assert all(len(piece) < 2 * SMALL or len(piece) in sizes for piece in pieces)


@pytest.mark.parametrize("first", [memoryview(b"ab")[1:], bytes(SMALL)])
def test_what_is_a_view_or_large_stays_as_it_is(first):
    pieces = [first]
    put(pieces, b"c")
    assert pieces == [first, b"c"]
    put(pieces, b"d")
    assert pieces == [first, b"cd"]
