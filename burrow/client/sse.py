"""
Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) out of bytes.
"""

from __future__ import annotations

import attr

LONGEST = 1 << 20
"""Bytes of an event that is kept, at most."""


@attr.frozen
class ServerEvent:
    """@ivar kind: its type, "message" if none was told. @ivar id: empty if none was told."""

    kind: str
    data: str
    id: str = ""


class EventReader:
    """Bytes in, events out."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """
        Take bytes.

        @return: the events that ended in them.
        @raise ValueError: an event is longer than L{LONGEST}, or not UTF-8.
        """
        found = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode()
            self._size += len(line)
            if self._size > LONGEST:
                raise ValueError("an event is too long")
            if text:
                self._field(text)
                continue
            if "data" in self._fields:
                kind = self._fields.get("event", "message")
                found.append(ServerEvent(kind, self._fields["data"], self._fields.get("id", "")))
            self._fields, self._size = {}, 0
        if self._size + len(self._rest) > LONGEST:
            raise ValueError("an event is too long")
        return found

    def _field(self, text: str) -> None:
        name, _, value = text.partition(":")
        if name == "":
            return  # a comment
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = f"{self._fields['data']}\n{value}"
        self._fields[name] = value
