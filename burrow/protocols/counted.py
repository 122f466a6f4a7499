"""What kinds count of their own, for metrics: a kind's attribute C{counts}, numbers by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from burrow.protocols.base import Kind

MAX_COUNTS = 20
"""Names of one kind that are shown, at most: each is a series wherever metrics are kept."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


def counts_of(kinds: Iterable[Kind]) -> dict[str, dict[str, int]]:
    """
    What each kind has counted in this process, by the kind's name; those that count nothing are left out.

    A kind is anybody's code: what is no count, or has no possible name, is left out.
    """
    found = {}
    for kind in kinds:
        counts = getattr(kind, "counts", None)
        pairs = sorted(counts.items(), key=str) if isinstance(counts, dict) else []
        good = ((name, value) for name, value in pairs if _is_count(name, value))
        if shown := dict(islice(good, MAX_COUNTS)):
            found[str(kind.name)] = shown
    return found


def _is_count(name: object, value: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and type(value) is int and value >= 0
