"""Which bytes make a terminal show a frame: only the lines that changed are sent."""

from __future__ import annotations

import io
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

_PLAIN = str.maketrans({"─": "-", "→": ">", "·": ".", "…": "~", "▸": ">", "↑": "^", "↓": "v"})
"""For terminals that are not in UTF-8."""

WHOLE = b"\x1b[0m\x1b[2J"


class Painter:
    """
    Knows what the terminal shows.

    @param environ: TERM, COLORTERM and NO_COLOR say which colours there are (L{rich.console.Console}, and
        https://no-color.org). @param encoding: the terminal's.
    """

    def __init__(self, environ: Mapping[str, str], encoding: str = "utf-8") -> None:
        self._environ = dict(environ)
        self._encoding = encoding
        self.unicode = encoding.lower().replace("-", "").startswith("utf8")
        self._file = io.StringIO()
        self._console = Console(
            file=self._file,
            force_terminal=True,
            force_interactive=False,
            legacy_windows=False,
            width=10_000,
            height=1000,
            highlight=False,
            markup=False,
            emoji=False,
            _environ=self._environ,
        )
        self._shown: list[str] = []

    def forget(self) -> None:
        """The terminal shows something else, or has another size: the next frame is sent whole."""
        self._shown = []

    def paint(self, lines: list[Text], width: int) -> bytes:
        """
        @param lines: all of the terminal. @param width: its columns.
        @return: the bytes that make the terminal show these lines; empty if it does.
        """
        drawn = self._drawn(lines)
        out: list[str] = []
        whole = len(self._shown) != len(drawn)
        for place, line in enumerate(drawn):
            if whole or line != self._shown[place]:
                # At the end of a full line the cursor is on its last column, which this would erase.
                rest = "\x1b[0m\x1b[K" if lines[place].cell_len < width else "\x1b[0m"
                out.append(f"\x1b[{place + 1};1H{line}{rest}")
        self._shown = drawn
        if not out:
            return b""
        data = "".join(out).encode(self._encoding, "replace")
        return (WHOLE if whole else b"") + data

    def _drawn(self, lines: list[Text]) -> list[str]:
        self._file.seek(0)
        self._file.truncate()
        self._console.print(Text("\n").join(lines), soft_wrap=True, end="")
        text = self._file.getvalue()
        if not self.unicode:
            text = text.translate(_PLAIN)
        return text.split("\n")
