"""
What a terminal sends for each key: bytes in, names of keys out. No I/O.

Source: ECMA-48 (control sequences), and xterm's "ctlseqs" for the keys that it does not name.
"""

from __future__ import annotations

import codecs
import re

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~]|[^\[O])", re.DOTALL)
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")

_SEQUENCES = {
    b"[A": "up",
    b"[B": "down",
    b"[5~": "pageup",
    b"[6~": "pagedown",
    b"[H": "home",
    b"[F": "end",
    b"[1~": "home",
    b"[4~": "end",
    b"[7~": "home",
    b"[8~": "end",
    b"[Z": "backtab",
    b"OA": "up",
    b"OB": "down",
    b"OH": "home",
    b"OF": "end",
    b"OM": "enter",
}

_CONTROLS = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x03": "ctrl-c",
    "\x0c": "ctrl-l",
    "\x15": "ctrl-u",
    "\x1b": "escape",
}

MAX_SEQUENCE = 64
"""Bytes of a control sequence, at most. A longer one is dropped."""


class Keys:
    """Reads keys. @ivar waiting: whether an escape was read of which more may come."""

    def __init__(self) -> None:
        self._data = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    @property
    def waiting(self) -> bool:
        """Whether what was read ends within a control sequence, or is the escape key alone."""
        return bool(self._data)

    def feed(self, data: bytes) -> list[str]:
        """
        @return: the keys in C{data}: a character for those that write one; else a name, such as "up" and
            "enter". Keys that have no name here are left out.
        """
        self._data += data
        keys: list[str] = []
        while self._data:
            at = self._data.find(b"\x1b")
            if at != 0:
                text, self._data = (self._data, b"") if at < 0 else (self._data[:at], self._data[at:])
                keys += self._named(self._decoder.decode(text))
                continue
            found = _SEQUENCE.match(self._data)
            if found is not None:
                name = _SEQUENCES.get(found[0][1:])
                if name is not None:
                    keys.append(name)
                self._data = self._data[found.end() :]
            elif _BEGUN.match(self._data) and len(self._data) <= MAX_SEQUENCE:
                break
            else:  # no sequence: the escape goes, and what follows is read as keys, or dropped if it is long
                self._data = self._data[1:] if len(self._data) <= MAX_SEQUENCE else b""
        return keys

    def flush(self) -> list[str]:
        """Nothing more came for a while: an escape that waits was the key."""
        waiting, self._data = self._data, b""
        return ["escape"] if waiting == b"\x1b" else []

    @staticmethod
    def _named(text: str) -> list[str]:
        named = (_CONTROLS.get(character, character) for character in text)
        return [key for key in named if len(key) > 1 or key.isprintable()]
