"""A QR code (ISO/IEC 18004) as lines of a terminal."""

from __future__ import annotations

import segno
from rich.text import Text

BORDER = 2
"""Light modules around it. The standard wants four; phones are content with two, and small terminals, too."""

_INK = "reverse bright_white on black"
"""Dark on light; where there are no colours, that is so on terminals that are dark."""
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}


def qr_lines(text: str, width: int, height: int) -> list[Text]:
    """
    The QR code of C{text}, with C{text} under it, in the middle.

    @return: lines; a sentence if there is no text, or no room.
    """
    if not text:
        return [Text("There is no URL yet")]
    code = segno.make(text, error="l", micro=False)
    rows = [list(map(bool, row)) for row in code.matrix_iter(border=BORDER)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    columns, lines = len(rows[0]), len(rows) // 2
    if columns > width or lines > height:
        return [
            Text("The QR code does not fit:"),
            Text(f"it takes {columns} columns and {lines + 1} lines."),
            Text(f"This terminal has {width} and {height + 1}."),
        ]
    indent = " " * ((width - columns) // 2)
    drawn = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        modules = "".join(_HALVES[one, other] for one, other in zip(upper, lower, strict=True))
        drawn.append(Text.assemble(indent, (modules, _INK)))
    if lines + 2 <= height and len(text) <= width:
        drawn += [Text(), Text(" " * ((width - len(text)) // 2) + text, "bold cyan")]
    above = max(0, (height - len(drawn)) // 2)
    return [Text()] * above + drawn
