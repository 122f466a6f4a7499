"""What a server knows of its Redis, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burrow.store.base import Reservation, Token
from burrow.store.redis.contents import Everything
from burrow.store.redis.guard import MAX_MARKS
from burrow.store.reserving import renewed


def token_mark(token_id: str) -> str:
    """The mark of a token that was revoked."""
    return f"token:{token_id}"


def name_mark(name: str) -> str:
    """The mark of a name that was released."""
    return f"name:{name}"


def _older(there: Reservation, known: Reservation, ports: bool) -> bool:
    """
    Whether what is known of a name is newer than what is there: its owner, or the port that it got. That
    counts (C{ports}) only in a Redis that went back: else another server gave it a new one.
    """
    if there.version != known.version or there.token != known.token:
        return there.version < known.version
    newer = there.port is None or (known.used or 0.0) > (there.used or 0.0)
    return ports and known.port not in (None, there.port) and newer


class KnownRecords:
    """
    @param lost: called with a name whenever it turns out that it is not its last owner's any more.
    @ivar tokens: by id. @ivar names: reservations by name.
    @ivar marks: versions of what was revoked or released, by L{token_mark} and L{name_mark}.
    @ivar notes: lasting notes that went through here, by space and key.
    @ivar renewed: the names whose reservation here is not in Redis yet.
    @ivar used: when tokens were used last, by id, which is not in Redis yet.
    """

    def __init__(self, lost: Callable[[str], None]) -> None:
        self.tokens: dict[str, Token] = {}
        self.names: dict[str, Reservation] = {}
        self.marks: dict[str, int] = {}
        self.notes: dict[tuple[str, str], str] = {}
        self.renewed: set[str] = set()
        self.used: dict[str, float] = {}
        self._on_lost = lost
        self._touched: set[str] = set()

    # -- one at a time --------------------------------------------------------------------------------------

    def learn(self, record: Token | Reservation) -> None:
        """Know a record, unless a newer one is known, or that it was removed."""
        key = record.id if isinstance(record, Token) else record.name
        known: dict[str, Any] = self.tokens if isinstance(record, Token) else self.names
        mark = token_mark(key) if isinstance(record, Token) else name_mark(key)
        gone = mark in self.marks and (isinstance(record, Token) or self.marks[mark] >= record.version)
        if not gone and (key not in known or known[key].version <= record.version):
            before = known.get(key)
            self._touched.add(mark)
            known[key] = record
            if isinstance(record, Reservation) and before is not None and before.token != record.token:
                self.renewed.discard(key)  # its last owner's renewal is void
                self._on_lost(key)

    def removed(self, mark: str, version: int) -> None:
        """What the mark is of was revoked, or released in this version."""
        self._touched.add(mark)
        self.marks[mark] = max(version, self.marks.get(mark, -1))
        kind, _, key = mark.partition(":")
        if kind == "token":
            self.tokens.pop(key, None)
            self.used.pop(key, None)
        elif key in self.names and self.names[key].version <= version:
            del self.names[key]
            self.renewed.discard(key)
            self._on_lost(key)

    def renew(self, known: Reservation, wanted: Reservation) -> Reservation:
        """Renew a reservation here alone, until it can be written. @return: what it is now."""
        self.names[known.name] = renewed(known, wanted)
        self.renewed.add(known.name)
        return self.names[known.name]

    def lose(self, name: str) -> None:
        """A name that was renewed here alone is another's in Redis."""
        self.names.pop(name, None)
        self.renewed.discard(name)  # before who is told asks Redis
        self._on_lost(name)

    def freed(self, name: str) -> None:
        """The server freed a name, or its port: whichever it was, it is read again."""
        self._touched.add(name_mark(name))
        self.names.pop(name, None)
        self.renewed.discard(name)

    def keep_note(self, space: str, key: str, text: str | None, ttl: float | None) -> None:
        """Know a note if it lasts; forget one that was removed, or was given a time."""
        if text is None or ttl is not None:
            self.notes.pop((space, key), None)
        else:
            self.notes[space, key] = text

    # -- all at once ----------------------------------------------------------------------------------------

    def reading(self) -> None:
        """Everything is read from now on: what is learned or removed meanwhile is newer than the answer."""
        self._touched = set()

    def lacking(
        self, there: Everything, *, ports: bool = False
    ) -> tuple[list[Token], list[Reservation], list[tuple[str, int]]]:
        """What is known here, and not there: tokens, names (see L{_older}) and marks."""
        tokens = [
            token
            for key, token in self.tokens.items()
            if token_mark(key) not in there.marks
            and token_mark(key) not in self._touched
            and (key not in there.tokens or there.tokens[key].version < token.version)
        ]
        names = [
            known
            for key, known in self.names.items()
            if there.marks.get(name_mark(key), -1) < known.version
            and name_mark(key) not in self._touched
            and (key not in there.names or _older(there.names[key], known, ports))
        ]
        marks = [
            (mark, version)
            for mark, version in self.marks.items()
            if there.marks.get(mark, -1) < version and mark not in self._touched
        ]
        # Of very many the oldest are forgotten, which is no loss.
        return tokens, names, marks if len(there.marks) < MAX_MARKS else []

    def adopt(self, there: Everything, tokens: set[str], names: set[str]) -> None:
        """Know what is there, of these; what was touched since L{reading} is newer here."""
        touched, before = self._touched, self.names
        self.tokens = {
            **{key: there.tokens[key] for key in tokens if key in there.tokens},
            **{key: token for key, token in self.tokens.items() if token_mark(key) in touched},
        }
        self.names = {
            **{key: there.names[key] for key in names if key in there.names},
            **{
                key: known
                for key, known in self.names.items()
                if name_mark(key) in touched or key in self.renewed
            },
        }
        self.marks = {
            **there.marks,
            **{mark: version for mark, version in self.marks.items() if mark in touched},
        }
        for mark, version in list(self.marks.items()):
            if mark in touched:
                self.removed(mark, version)
        for name, known in before.items():
            if name not in self.names or self.names[name].token != known.token:
                self._on_lost(name)
