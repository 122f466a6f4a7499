"""The events of a text/event-stream, as they pass (WHATWG HTML, section 9.2.6). No I/O."""

from __future__ import annotations

import re

from burrow.traffic.record import Message

MAX_KEPT = 64 * 1024
"""Bytes of one event that are kept; the rest is counted."""

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n")


class EventStreamReader:
    """Cuts an event stream at its empty lines. What it keeps is bounded by L{MAX_KEPT}."""

    def __init__(self) -> None:
        self._kept = b""
        self._dropped = 0

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes of the body. @return: the events that are whole now, comments alone included."""
        found = []
        data = self._kept + data
        start = 0
        for blank in _BLANK.finditer(data):
            if blank.end() == len(data) and data.endswith(b"\r"):
                break  # an LF may follow, which belongs to this line's end
            event = data[start : blank.start()]
            if event.strip():
                found.append(Message("event", event[:MAX_KEPT], len(event) + self._dropped))
            self._dropped = 0
            start = blank.end()
        rest = data[start:]
        over = len(rest) - MAX_KEPT
        if over > 0:
            # The beginning is kept, with two bytes at the end that may begin an empty line.
            rest = rest[: MAX_KEPT - 3] + rest[-3:]
            self._dropped += over
        self._kept = rest
        return found
