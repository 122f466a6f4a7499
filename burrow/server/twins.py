"""
What is released and transferred together: a name and the wildcard under it, as C{blog} and C{*.blog}, which
have one owner. The store does it, in one step.
"""

from __future__ import annotations

from collections.abc import Iterable

from burrow.store.base import IStore, Reservation
from burrow.store.names import twin


async def with_twin(store: IStore, known: Reservation) -> list[Reservation]:
    """What would be released or transferred with a name now: it and its twin."""
    other = twin(known.name)
    found = None if other is None else await store.reservation(other)
    return [known] if found is None or found.token != known.token else [known, found]


def also(name: str, changed: Iterable[str]) -> str:
    """Which names were changed with a name, for a sentence that ends with it; empty for none."""
    return "".join(f", and {one} with it" for one in changed if one != name)
