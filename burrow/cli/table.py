"""Tables on standard output."""

from __future__ import annotations

from burrow.shown import escaped


def show_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns, with what is not printable escaped. The first row is the heading."""
    rows = [tuple(map(escaped, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
