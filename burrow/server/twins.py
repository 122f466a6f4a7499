"""
A name and the wildcard under it, as C{blog} and C{*.blog}, have one owner: when one is released or
transferred, so is the other.

The wildcard goes first, since its owner is who owns the name that it is under. If the store goes away between
the two, the same command for that name does the rest.
"""

from __future__ import annotations

from burrow.server.hosts import WILD, twin
from burrow.store.base import IStore, Reservation


async def with_twin(store: IStore, known: Reservation) -> list[Reservation]:
    """What is released or transferred with a name: it and its twin, if that is the same token's."""
    other = twin(known.name)
    found = None if other is None else await store.reservation(other)
    both = [known] if found is None or found.token != known.token else [known, found]
    return sorted(both, key=lambda one: not one.name.startswith(WILD))


def also(name: str, changed: list[Reservation]) -> str:
    """What was changed with a name, for a sentence that ends with it; empty for nothing."""
    return "".join(f", and {one.name} with it" for one in changed if one.name != name)


async def release(store: IStore, known: Reservation) -> list[Reservation]:
    """
    Release a name and its twin, as long as they are the token's. @return: those that were.
    """
    return [one for one in await with_twin(store, known) if await store.release(one.name, known.token)]


async def transfer(store: IStore, known: Reservation, token: str) -> list[Reservation]:
    """
    Make a name and its twin another token's.

    @return: those that are now, as they are now: none of a name that has been released.
    """
    moved = [await store.transfer(one.name, token) for one in await with_twin(store, known)]
    return [one for one in moved if one is not None]
