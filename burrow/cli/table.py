"""Tables on standard output."""

from __future__ import annotations

from burrow.shown import escaped
from burrow.wording import at


def show_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns, with what is not printable escaped. The first row is the heading."""
    rows = [tuple(map(escaped, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def when(seconds: float | None) -> str:
    """A time in a table. C{seconds}: since the epoch; None for never."""
    return "never" if seconds is None else at(seconds)
