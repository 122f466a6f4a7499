"""The events of a text/event-stream, as they pass (WHATWG HTML, section 9.2.6). No I/O."""

from __future__ import annotations

import re

from burrow.traffic.record import Message

MAX_KEPT = 64 * 1024
"""Bytes of one event that are kept; the rest is counted."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventStreamReader:
    """Cuts an event stream at its empty lines. What it keeps is bounded by L{MAX_KEPT}."""

    def __init__(self) -> None:
        self._event = bytearray()  # without the end of its last line, if that is whole
        self._size = 0
        self._line_empty = True
        self._after_cr = False

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes of the body. @return: the events that are whole now, comments alone included."""
        found: list[Message] = []
        start = 0
        if self._after_cr and data.startswith(b"\n"):
            start = 1  # of a CR LF in two pieces
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        for end in _LINE_END.finditer(data, start):
            self._add(data[start : end.start()])
            start = end.end()
            if self._line_empty:
                self._end(found)
            else:
                self._add(b"\n")
                self._line_empty = True
        self._add(data[start:])
        return found

    def _add(self, piece: bytes) -> None:
        if piece:
            self._line_empty = False
            self._size += len(piece)
            room = MAX_KEPT - len(self._event)
            if room > 0:
                self._event += piece[:room]

    def _end(self, found: list[Message]) -> None:
        """An empty line."""
        if self._size:
            event = bytes(self._event)
            found.append(Message("event", event.removesuffix(b"\n"), self._size - 1))
            self._event.clear()
            self._size = 0
