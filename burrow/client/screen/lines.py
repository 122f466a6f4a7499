"""A line a request, where there is no terminal: for people, or one JSON object a line for programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from burrow.shown import escaped
from burrow.traffic.hub import Listener
from burrow.traffic.record import Record

Write = Callable[[str], None]
"""Takes one line, without its end."""

_text: Callable[[str], str] = encode_basestring_ascii
"""JSON of a text: the part of C{json.dumps} that is in C; the whole takes three times as long."""

_HUMAN = "%s %s %s %s %.1f ms %d bytes"
_JSON = (
    '{"event": "request", "tunnel": %s, "id": %s, "request_id": %s, "protocol": %s, '
    '"method": %s, "path": %s, "status": %s, "ms": %.1f, "received": %d, "sent": %d, "visitor": %s'
)


class HumanLines(Listener):
    """
    C{2026-11-26T15:04:05+0100 GET /path 200 12.3 ms 4096 bytes}, when a request is over. In the place of the
    method what is not HTTP has its protocol; in that of the status what has none has "-".

    @param write: takes the lines. @param now: returns the time, in seconds since the epoch.
    """

    def __init__(self, write: Write, now: Callable[[], float] = time.time) -> None:
        self._write = write
        self._now = now
        self._second = 0
        self._shown = ""

    def ended(self, record: Record) -> None:
        """See L{Listener.ended}."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._shown = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
        took = record.took or 0.0
        line = _HUMAN % (
            self._shown,
            record.method or record.protocol,
            record.target or record.visitor,
            record.status or "-",
            took * 1000,
            record.sent,
        )
        if record.error:
            line = f"{line}: {record.error}"
        self._write(escaped(line))


class JsonLines(Listener):
    """An event "request" when a request is over: see docs/screen.md. @param write: takes the lines."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def ended(self, record: Record) -> None:
        """See L{Listener.ended}."""
        line = _JSON % (
            _text(record.tunnel),
            _text(record.id),
            _text(record.request_id),
            _text(record.protocol),
            _text(record.method),
            _text(record.target),
            "null" if record.status is None else record.status,
            (record.took or 0.0) * 1000,
            record.received,
            record.sent,
            _text(record.visitor),
        )
        self._write(f'{line}, "error": {_text(record.error)}}}' if record.error else line + "}")
