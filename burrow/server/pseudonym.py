"""The name of a server in Via (RFC 9110 section 7.6.3)."""

from __future__ import annotations

from secrets import token_hex

from burrow.errors import StoreError
from burrow.store.base import IStore

_NOTE = ("server", "via")


async def pseudonym(store: IStore) -> str:
    """The pseudonym, which is the same on all nodes of a store and unique to them."""
    own = f"burrow-{token_hex(6)}"
    try:
        await store.swap_note(*_NOTE, None, own)
        return await store.note(*_NOTE) or own
    except StoreError:
        return own  # without a shared one, a loop over several nodes takes one more round
