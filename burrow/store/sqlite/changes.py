"""
The log of changes in the database: see L{burrow.store.changes}. Triggers in L{burrow.store.sqlite.schema}
write it.

Functions of a cursor, called within a transaction. A version is the count of changes so far.
"""

from __future__ import annotations

from typing import Any

from burrow.store.changes import MAX_LOGGED


def count(cursor: Any) -> int:
    """How many changes there were."""
    row = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return 0 if row is None else int(row[0])


def since(cursor: Any, version: str) -> list[tuple[str, str]] | None:
    """The spaces and keys that changed since a version; None if that is not known."""
    forgotten = cursor.execute("SELECT count FROM changes_forgotten").fetchone()[0]
    if not version.isdecimal() or not forgotten <= int(version) <= count(cursor):
        return None
    query = "SELECT space, key FROM changes WHERE count > ? ORDER BY count"
    return list(cursor.execute(query, (int(version),)).fetchall())


def forget(cursor: Any) -> None:
    """Forget the oldest changes, of more than L{MAX_LOGGED<burrow.store.changes.MAX_LOGGED>}."""
    query = "SELECT count FROM changes ORDER BY count DESC LIMIT 1 OFFSET ?"
    oldest = cursor.execute(query, (MAX_LOGGED,)).fetchone()
    if oldest is not None:
        cursor.execute("DELETE FROM changes WHERE count <= ?", oldest)
        cursor.execute("UPDATE changes_forgotten SET count = ?", oldest)
