"""Tests for L{burrow.client.sse}."""

import pytest

from burrow.client.sse import LONGEST, EventReader, ServerEvent

TEXT = b': live\n\nid: 7\ndata: {"a": 1}\n\nevent: gap\r\ndata: 1\r\ndata:2\r\n\r\nid: 9\n\ndata: rest'
EVENTS = [ServerEvent("message", '{"a": 1}', "7"), ServerEvent("gap", "1\n2", "")]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_events_in_pieces(size):
    reader, found = EventReader(), []
    for start in range(0, len(TEXT), size):
        found += reader.feed(TEXT[start : start + size])
    assert found == EVENTS


@pytest.mark.parametrize("text", [b"data: " + b"x" * LONGEST, b"data: x\n" * (LONGEST // 6)])
def test_an_event_is_bounded(text):
    with pytest.raises(ValueError, match="too long"):
        EventReader().feed(text)


def test_what_is_not_utf_8():
    with pytest.raises(UnicodeDecodeError):
        EventReader().feed(b"data: \xff\n\n")
