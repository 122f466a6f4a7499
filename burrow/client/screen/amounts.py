"""Times and sizes as the screen shows them: short, and of a bounded width."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seven characters at most, as in C{0.8 ms}, C{12 ms}, C{3.4 s}, C{2m05s}, C{3h07m}, C{12 d}."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 6000:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 360_000:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400} d"


def span(seconds: float) -> str:
    """Whole seconds, for sentences: C{12 s}, C{2m05s}."""
    whole = max(0, int(seconds))
    return f"{whole} s" if whole < 100 else duration(whole)


def size(count: int) -> str:
    """Bytes in seven characters at most, in powers of 1000: C{12 B}, C{3.4 kB}, C{120 MB}."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in "kMGTP":
        amount /= 1000
        if amount < 99.95:
            return f"{amount:.1f} {unit}B"
        if amount < 999.5:
            return f"{amount:.0f} {unit}B"
    return f"{amount:.0f} PB"


def number(count: int) -> str:
    """With commas, as in C{1,234}."""
    return f"{count:,}"
