"""Tests for L{burrow.client.screen.keys}."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from burrow.client.screen.keys import MAX_SEQUENCE, Keys


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"p", ["p"]),
        (b"\r", ["enter"]),
        (b"\x7f\x08\t\x03\x0c\x15", ["backspace", "backspace", "tab", "ctrl-c", "ctrl-l", "ctrl-u"]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (
            b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1bOH\x1b[1~\x1b[Z",
            ["pageup", "pagedown", "home", "end", "home", "home", "backtab"],
        ),
        ("äß日".encode(), ["ä", "ß", "日"]),
        (b"a\x1b[Bb", ["a", "down", "b"]),
        (b"\x1b[1;5A", []),  # Ctrl-Up has no meaning here
        (b"\x1b[200~pasted\x1b[201~", list("pasted")),
        (b"\x1bx", []),  # Alt-x
        (b"\x00\x01\x1f", []),
        (b"\xff\xfep", ["p"]),
    ],
)
def test_keys(data, keys):
    assert Keys().feed(data) == keys
    one_by_one = Keys()
    assert [key for byte in data for key in one_by_one.feed(bytes([byte]))] == keys


def test_escape_alone_is_known_when_nothing_follows():
    keys = Keys()
    assert (keys.feed(b"\x1b"), keys.waiting) == ([], True)
    assert (keys.flush(), keys.waiting) == (["escape"], False)
    assert keys.flush() == []
    assert keys.feed(b"\x1b[") == []
    assert (keys.flush(), keys.feed(b"B")) == ([], ["B"])


def test_a_sequence_without_end_is_dropped():
    keys = Keys()
    assert keys.feed(b"\x1b[" + b"1" * MAX_SEQUENCE * 2) == []
    assert not keys.waiting
    assert keys.feed(b"p") == ["p"]


@given(some.lists(some.binary(max_size=20), max_size=20))
def test_any_bytes(pieces):
    keys = Keys()
    for piece in pieces:
        for key in keys.feed(piece):
            assert len(key) > 1 or key.isprintable()
        assert len(keys._data) <= MAX_SEQUENCE
