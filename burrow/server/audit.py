"""
Who changed what: the audit log, kept in the store.

Each change is a lasting note, whether it was made by the admin API, the dashboard, or a command on the
server. Entries are kept for L{KEEP} seconds, the latest L{MOST}.
"""

from __future__ import annotations

import getpass
import json
import secrets
import time
from collections.abc import Callable

import attr

from burrow.clock import DAY
from burrow.shown import escaped
from burrow.store.base import IStore, record
from burrow.store.spaces import AUDIT

KEEP = 90 * DAY
"""Seconds that an entry is kept."""

MOST = 2000
"""Entries that are kept, at most."""

TIDY_EVERY = 50
"""Entries that one process writes between two looks for what is too old or too much."""

LOCAL = "local"
"""The address of who runs a command on the server."""


@attr.frozen
class Entry:
    """
    One change.

    @ivar when: seconds since the epoch. @ivar who: the token's name, or who ran a command.
    @ivar action: as in C{token.create}. @ivar target: the name or id of what was changed.
    @ivar address: from where, without a port; or C{local}. @ivar result: C{ok}, or what it was changed to, or
        why it failed.
    @ivar key: its key in the store; keys are in the order of their times.
    """

    when: float
    who: str
    action: str
    target: str
    address: str
    result: str = "ok"
    key: str = ""


class Audit:
    """@param now: tells seconds since the epoch."""

    def __init__(self, store: IStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._written = 0

    async def add(self, who: str, action: str, target: str, address: str = LOCAL, result: str = "ok") -> None:
        """Keep an entry. @raise StoreError: the store cannot."""
        when = self._now()
        key = f"{int(when * 1e6):017d}-{secrets.token_hex(4)}"
        given = {"who": who, "action": action, "target": target, "address": address, "result": result}
        entry = {"when": when, **{field: escaped(text)[:400] for field, text in given.items()}}
        await self._store.put_note(AUDIT, key, json.dumps(entry))
        if self._written % TIDY_EVERY == 0:
            await self._tidy(when)
        self._written += 1

    async def entries(self) -> list[Entry]:
        """All entries, the oldest first. @raise StoreError: the store cannot answer."""
        notes = await self._store.notes(AUDIT)
        since = self._now() - KEEP
        found = [entry for key in sorted(notes) if (entry := _entry(key, notes[key])) is not None]
        return [entry for entry in found if entry.when >= since][-MOST:]

    async def _tidy(self, now: float) -> None:
        notes = await self._store.notes(AUDIT)
        keys = sorted(notes)
        kept = keys[-MOST:]
        oldest = f"{int((now - KEEP) * 1e6):017d}"
        for key in [*keys[:-MOST], *(key for key in kept if key < oldest)]:
            await self._store.swap_note(AUDIT, key, notes[key], None)


def _entry(key: str, text: str) -> Entry | None:
    """The entry in a note; None if this release cannot read it."""
    try:
        found = attr.evolve(record(Entry, json.loads(text)), key=key)
        return found if isinstance(found.when, (int, float)) else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


async def audit_command(store: IStore, action: str, target: str, result: str = "ok") -> None:
    """A command on the server changed something. @raise StoreError: the store cannot keep that."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in a container
        user = "unknown"
    await Audit(store).add(f"command line ({user})", action, target, LOCAL, result)
