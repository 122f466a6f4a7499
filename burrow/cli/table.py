"""Tables on standard output: they fit a terminal, and are whole lines elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from burrow.cli.help import is_styled
from burrow.shown import escaped
from burrow.wording import at

_NARROWEST = 8
"""Characters that a column keeps, if it has so many."""

_GOOD, _SOON, _BAD = "32", "33", "31"
"""Colours of terminals (ECMA-48, SGR): green, yellow, red."""

_COLOURS = {
    **dict.fromkeys(("open", "valid", "serves"), _GOOD),
    **dict.fromkeys(("detached", "due", "draining", "missing"), _SOON),
    **dict.fromkeys(("away", "expired", "failed", "silent"), _BAD),
}
"""Of the words in a column STATE."""


_SENTENCES = ("", "LAST ERROR")
"""Headings of last columns whose texts are not cut: they may go on in the next line."""


_WHOLE = ("ID", "NAME", "URL")
"""Headings of columns that are not cut: one copies what stands there."""


def show_table(rows: list[tuple[str, ...]], spare: Sequence[str] = ()) -> None:
    """
    Print rows in columns, with what is not printable escaped. The first row is the heading. On a terminal no
    row is longer than a line, but for sentences in the last column.

    @param spare: see L{table_lines}.
    """
    out = sys.stdout
    width = shutil.get_terminal_size().columns if out is not None and out.isatty() else None
    for line in table_lines(rows, width, spare, styled=is_styled()):
        print(line)


def table_lines(
    rows: list[tuple[str, ...]], width: int | None, spare: Sequence[str] = (), *, styled: bool = False
) -> list[str]:
    """
    The lines of a table.

    @param width: characters of a line, at most; None: any number.
    @param spare: headings of columns that are left out where they do not fit, the first one first. Then cells
        are cut.
    @param styled: whether there are colours, by the escape sequences of terminals.
    """
    rows = [tuple(map(escaped, row)) for row in rows]
    left = list(spare)
    while True:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        sentences = widths.pop() if rows[0][-1] in _SENTENCES else None
        room = None if width is None else width - 2 * len(widths) + (2 if sentences is None else 0)
        if room is None or sum(widths) <= room or not left:
            break
        heading = left.pop(0)
        if heading in rows[0]:
            gone = rows[0].index(heading)
            rows = [row[:gone] + row[gone + 1 :] for row in rows]
    if room is not None:
        widths = _fitted(widths, room, [heading in _WHOLE for heading in rows[0]])
    if sentences is not None:
        widths.append(sentences)
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for heading, cell, most in zip(rows[0], row, widths, strict=True):
            text = cell if len(cell) <= most else f"{cell[: most - 1]}…"
            padding = " " * (most - len(text))
            code = "1" if number == 0 else _COLOURS.get(cell, "") if heading == "STATE" else ""
            cells.append((f"\x1b[{code}m{text}\x1b[0m" if styled and code and text else text) + padding)
        lines.append("  ".join(cells).rstrip())
    return lines


def _fitted(widths: list[int], room: int, whole: list[bool]) -> list[int]:
    """
    Widths of columns whose sum is at most C{room}, if that is possible: the widest get narrower.

    @param whole: which of them stay as they are.
    """
    widths = list(widths)
    while sum(widths) > room:
        cut = [n for n, width in enumerate(widths) if width > _NARROWEST and not whole[n]]
        if not cut:
            break
        widest = max(cut, key=lambda number: widths[number])
        widths[widest] -= 1
    return widths


def when(seconds: float | None) -> str:
    """A time in a table. C{seconds}: since the epoch; None for never."""
    return "never" if seconds is None else at(seconds)


def iso_at(text: object) -> str:
    """A time of the API, in UTC, as tables show it; what is none as it is."""
    try:
        return at(parse_iso(str(text)))
    except (ValueError, OverflowError):
        return str(text)


def parse_iso(text: str) -> float:
    """Seconds since the epoch of a time in ISO 8601. @raise ValueError: it is none."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def lasted(seconds: float) -> str:
    """How long ago, in one unit: C{42 s}, C{3 min}, C{5 h}, C{12 d}."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def size_of(count: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def took(seconds: float) -> str:
    """How long something took, for people."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
