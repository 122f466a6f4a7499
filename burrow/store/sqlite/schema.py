"""The tables of the database, and how a file of an older release gets them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from burrow.errors import StoreError

MIGRATIONS = (
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
        digest BLOB NOT NULL, created REAL NOT NULL, last_used REAL
    );
    CREATE TABLE reservations (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, token TEXT NOT NULL, agent TEXT NOT NULL,
        upstream TEXT NOT NULL, port INTEGER UNIQUE, assigned INTEGER NOT NULL, created REAL NOT NULL
    );
    CREATE INDEX remembered ON reservations (token, agent, kind, upstream) WHERE assigned;
    """,
    """
    CREATE TABLE notes (
        space TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (space, key)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE live_notes (
        space TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, ttl REAL NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (space, key)
    ) WITHOUT ROWID;
    CREATE INDEX live_until ON live_notes (until);
    """,
    """
    ALTER TABLE tokens ADD COLUMN max_names INTEGER;
    ALTER TABLE tokens ADD COLUMN max_ports INTEGER;
    ALTER TABLE tokens ADD COLUMN max_tunnels INTEGER;
    ALTER TABLE tokens ADD COLUMN max_sessions INTEGER;
    ALTER TABLE tokens ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE reservations ADD COLUMN used REAL;
    ALTER TABLE reservations ADD COLUMN port_assigned INTEGER;
    ALTER TABLE reservations ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE reservations ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX owned ON reservations (token, port);
    """,
    """
    CREATE TABLE changes (
        count INTEGER PRIMARY KEY AUTOINCREMENT, space TEXT NOT NULL, key TEXT NOT NULL, UNIQUE (space, key)
    );
    CREATE TABLE changes_forgotten (count INTEGER NOT NULL);
    INSERT INTO changes_forgotten VALUES (0);
    CREATE TRIGGER token_added AFTER INSERT ON tokens BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES ('tokens', NEW.id);
    END;
    CREATE TRIGGER token_changed
    AFTER UPDATE OF name, role, digest, max_names, max_ports, max_tunnels, max_sessions, version
    ON tokens BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES ('tokens', NEW.id);
    END;
    CREATE TRIGGER token_revoked AFTER DELETE ON tokens BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES ('tokens', OLD.id);
    END;
    CREATE TRIGGER name_reserved AFTER INSERT ON reservations BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES ('reservations', NEW.name);
    END;
    CREATE TRIGGER name_changed
    AFTER UPDATE OF kind, token, agent, upstream, port, assigned, port_assigned, asked, version
    ON reservations BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES ('reservations', NEW.name);
    END;
    CREATE TRIGGER name_released AFTER DELETE ON reservations BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES ('reservations', OLD.name);
    END;
    CREATE TRIGGER note_kept AFTER INSERT ON notes BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES (NEW.space, NEW.key);
    END;
    CREATE TRIGGER note_removed AFTER DELETE ON notes BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES (OLD.space, OLD.key);
    END;
    CREATE TRIGGER live_note_kept BEFORE INSERT ON live_notes
    WHEN NOT EXISTS (
        SELECT 1 FROM live_notes
        WHERE space = NEW.space AND key = NEW.key AND text = NEW.text AND until > NEW.until - NEW.ttl
    ) BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES (NEW.space, NEW.key);
    END;
    CREATE TRIGGER live_note_removed AFTER DELETE ON live_notes BEGIN
        INSERT OR REPLACE INTO changes (space, key) VALUES (OLD.space, OLD.key);
    END;
    """,
)
"""The schema, a step a version: the file's user_version says how many were taken. Never change one.

Triggers log what changed, so that nothing that writes can forget to, a process of an older release included.
"""

_log = Logger()


def migrate(connection: sqlite3.Connection, path: Path) -> int:
    """
    Bring a database to the newest schema, all or nothing: also if this process is killed meanwhile.

    @param path: of its file, for the error's text.
    @return: the version that it had; 0 for a new one.
    @raise StoreError: a newer release brought it to a schema that this one does not know.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"a newer release has used the database {path}: its schema is version {version}, and this "
                f"release knows {len(MIGRATIONS)}. Install the newer one again, or put a backup from before "
                "the upgrade in its place"
            )
        for number in range(version, len(MIGRATIONS)):
            statement = ""
            for piece in MIGRATIONS[number].split(";"):
                statement += piece + ";"
                if sqlite3.complete_statement(statement):  # a trigger has more than one semicolon
                    connection.execute(statement)
                    statement = ""
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return version


def take_over_live_notes(connection: Any, path: Path, now: float) -> None:
    """
    Older releases kept notes with a time in a second file, beside the one at C{path}: copy those whose time
    is not over, and remove the file. What a damaged file has is lost, and the log says so.

    @param now: seconds since the epoch.
    """
    old = path.with_name(path.stem + "-live" + path.suffix)
    if not old.exists():
        return
    try:
        with closing(sqlite3.connect(old)) as second:
            query = "SELECT space, key, text, until - ?, until FROM live_notes WHERE until > ?"
            notes = second.execute(query, (now, now)).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR IGNORE INTO live_notes VALUES (?, ?, ?, ?, ?)", notes)
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        _log.warn("{file} is left out: {error}", file=str(old), error=error)
    for suffix in ("", "-wal", "-shm"):
        old.with_name(old.name + suffix).unlink(missing_ok=True)
