"""Notes in the database: those that last in one table, those with a time in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.store.sqlite import changes

TIDY_EVERY = 10.0
"""Seconds between two removals of notes whose time is over."""


class Notes:
    """
    Functions of a cursor, called within a transaction.

    @param now: seconds since the epoch. @param seconds: seconds of a clock that nobody sets.
    """

    def __init__(self, now: Callable[[], float], seconds: Callable[[], float]) -> None:
        self._now = now
        self._seconds = seconds
        self._tidied = float("-inf")

    def text(self, cursor: Any, space: str, key: str) -> str | None:
        """The text of a note, or None if there is none or its time is over."""
        row = cursor.execute(
            "SELECT text FROM live_notes WHERE space = ? AND key = ? AND until > ? "
            "UNION ALL SELECT text FROM notes WHERE space = ? AND key = ?",
            (space, key, self._now(), space, key),
        ).fetchone()
        return None if row is None else str(row[0])

    def some(self, cursor: Any, space: str, keys: list[str]) -> dict[str, str]:
        """The texts of these notes by key, of those that there are."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, text FROM notes WHERE space = ? AND key IN ({marks})"
        found = dict(cursor.execute(query, (space, *keys)).fetchall())
        query = f"SELECT key, text FROM live_notes WHERE space = ? AND until > ? AND key IN ({marks})"
        found.update(cursor.execute(query, (space, self._now(), *keys)).fetchall())
        return found

    def put(self, cursor: Any, space: str, key: str, text: str | None, ttl: float | None) -> None:
        """Keep a note, or remove it if C{text} is None. @param ttl: seconds; None: it lasts."""
        if ttl is not None or text is None:
            cursor.execute("DELETE FROM notes WHERE space = ? AND key = ?", (space, key))
        if ttl is None or text is None:
            cursor.execute("DELETE FROM live_notes WHERE space = ? AND key = ?", (space, key))
        if text is None:
            return
        if ttl is None:
            cursor.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (space, key, text))
            return
        until = self._now() + ttl
        cursor.execute(
            "INSERT OR REPLACE INTO live_notes VALUES (?, ?, ?, ?, ?)", (space, key, text, ttl, until)
        )
        self._tidy(cursor)

    def _tidy(self, cursor: Any) -> None:
        """
        Remove what is over. A note that has more time left than it was given is from before the clock was set
        back: its time begins again now.
        """
        if self._seconds() - self._tidied < TIDY_EVERY:
            return
        self._tidied = self._seconds()
        now = self._now()
        cursor.execute("DELETE FROM live_notes WHERE until <= ?", (now,))
        cursor.execute("UPDATE live_notes SET until = ? + ttl WHERE until > ? + ttl", (now, now))
        changes.forget(cursor)

    @staticmethod
    def lasts(space: str, key: str, text: str | None, ttl: float | None) -> Callable[[Any], bool]:
        """A function of the connection: whether L{put} makes, replaces or removes a lasting note."""

        def lasts(connection: Any) -> bool:
            if text is not None and ttl is None:
                return True
            query = "SELECT 1 FROM notes WHERE space = ? AND key = ?"
            return connection.execute(query, (space, key)).fetchone() is not None

        return lasts

    def all(self, cursor: Any, space: str) -> dict[str, str]:
        """The texts of a space by key."""
        rows = cursor.execute(
            "SELECT key, text FROM notes WHERE space = ? "
            "UNION ALL SELECT key, text FROM live_notes WHERE space = ? AND until > ?",
            (space, space, self._now()),
        )
        return dict(rows.fetchall())
