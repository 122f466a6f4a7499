"""The store in the memory of one process: for tests, and for servers that are to keep nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import attr
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from burrow.limits import UNLIMITED, Limits
from burrow.store.base import TOKEN_USED_STEP, IStore, OverQuota, Reservation, Taken, Token
from burrow.store.changes import NAMES, TOKENS, ChangeLog, Changes, Note, by_space
from burrow.store.reserving import (
    freed,
    kept_under,
    renewed,
    taken,
    transferred,
    twin_asked,
    with_twin,
)

_TIDY_EVERY = 10.0


@implementer(IStore)
class MemoryStore:
    """
    Keeps everything in dictionaries, bounded by who may write: the holders of tokens.

    @param now: tells the time, in seconds.
    """

    whole = True

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._notes: dict[tuple[str, str], tuple[str, float | None]] = {}
        self._tidied = float("-inf")
        self._tokens: dict[str, Token] = {}
        self._reservations: dict[str, Reservation] = {}
        self._log = ChangeLog()

    def open(self) -> Deferred[None]:
        """Nothing to do."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Nothing to do."""
        return succeed(None)

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""
        if any(other.name == token.name for other in self._tokens.values()):
            return fail(Taken(f"there is a token named {token.name!r} already"))
        self._keep_token(token)
        return succeed(None)

    def _keep_token(self, token: Token) -> None:
        self._tokens[token.id] = token
        self._log.add(TOKENS, token.id)

    def _keep(self, name: str, reservation: Reservation | None) -> None:
        if reservation is None:
            del self._reservations[name]
        else:
            self._reservations[name] = reservation
        self._log.add(NAMES, name)

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""
        return succeed(self._tokens.get(token_id))

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return succeed(sorted(self._tokens.values(), key=lambda token: token.name))

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        for token in self._tokens.values():
            if token.name == name:
                del self._tokens[token.id]
                self._log.add(TOKENS, token.id)
                return succeed(True)
        return succeed(False)

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}."""
        known = self._tokens.get(token_id)
        if known is None:
            return succeed(None)
        if known.last_used is None or not known.last_used <= when < known.last_used + TOKEN_USED_STEP:
            self._tokens[token_id] = attr.evolve(known, last_used=when)
        return succeed(None)

    def find_tokens(self, ids: Iterable[str]) -> Deferred[dict[str, Token]]:
        """See L{IStore}."""
        return succeed({key: self._tokens[key] for key in ids if key in self._tokens})

    def change_token(self, name: str, changes: dict[str, Any]) -> Deferred[Token | None]:
        """See L{IStore}."""
        for token in self._tokens.values():
            if token.name == name:
                changed = attr.evolve(token, **changes, version=token.version + 1)
                self._keep_token(changed)
                return succeed(changed)
        return succeed(None)

    def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Deferred[Reservation]:
        """See L{IStore}."""
        known = self._reservations.get(reservation.name)
        if known is not None and known.token != reservation.token:
            return fail(taken(reservation.name, reservation.name))
        other = self._reservations.get(twin_asked(known, reservation) or "")
        if other is not None and other.token != reservation.token:
            return fail(taken(reservation.name, other.name))
        parent = kept_under(reservation, other)
        port = reservation.port
        if port is not None:
            for own in self._reservations.values():
                if own.port == port and own.name != reservation.name:
                    return fail(Taken(f"port {port} belongs to the name {own.name!r}"))
        owned = [own for own in self._reservations.values() if own.token == reservation.token]
        new = (known is None) + (parent is not None and other is None)
        if new and limits.names is not None and len(owned) + new > limits.names:
            return fail(OverQuota("names", limits.names))
        more = port is not None and (known is None or known.port is None)
        ports = sum(own.port is not None for own in owned)
        if more and limits.ports is not None and ports >= limits.ports:
            return fail(OverQuota("ports", limits.ports))
        if known is not None:
            reservation = renewed(known, reservation)
        if parent is not None and parent != other:
            self._keep(parent.name, parent)
        if reservation != known:
            self._keep(reservation.name, reservation)
        return succeed(reservation)

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return succeed(self._reservations.get(name))

    def find_reservations(self, names: Iterable[str]) -> Deferred[dict[str, Reservation | None]]:
        """See L{IStore}."""
        return succeed({name: self._reservations.get(name) for name in names})

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        wanted = (token_id, agent, kind, upstream)
        for known in self._reservations.values():
            if known.assigned and (known.token, known.agent, known.kind, known.upstream) == wanted:
                return succeed(known)
        return succeed(None)

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        return succeed(sorted(self._reservations.values(), key=lambda known: known.name))

    def free_ports(self, ports: Iterable[int]) -> Deferred[list[int]]:
        """See L{IStore}."""
        taken = {known.port for known in self._reservations.values()}
        return succeed([port for port in ports if port not in taken])

    def release(self, name: str, token_id: str | None = None) -> Deferred[list[str]]:
        """See L{IStore}."""
        names = [one.name for one in with_twin(self._reservations.get, name, token_id)]
        for one in names:
            self._keep(one, None)
        return succeed(names)

    def transfer(self, name: str, token_id: str, owner: str | None = None) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        moved = [transferred(known, token_id) for known in with_twin(self._reservations.get, name, owner)]
        for one in moved:
            self._keep(one.name, one)
        return succeed(moved)

    def names_used(self, names: Iterable[str], when: float) -> Deferred[None]:
        """See L{IStore}."""
        for name in names:
            if name in self._reservations:
                self._reservations[name] = attr.evolve(self._reservations[name], used=when)
        return succeed(None)

    def free_unused(self, before: float, now: float) -> Deferred[list[str]]:
        """See L{IStore}."""
        changed = []
        for name, known in sorted(self._reservations.items()):
            left = freed(known, before)
            if known.used is None:
                self._reservations[name] = attr.evolve(known, used=now)
            elif left is not known:
                self._keep(name, left)
                changed.append(name)
        return succeed(changed)

    def _note(self, space: str, key: str) -> str | None:
        text, until = self._notes.get((space, key), (None, None))
        if until is not None and until <= self._now():
            self._remove(space, key)
            return None
        return text

    def _remove(self, space: str, key: str) -> None:
        del self._notes[space, key]
        self._log.add(space, key)

    def note(self, space: str, key: str) -> Deferred[str | None]:
        """See L{IStore}."""
        return succeed(self._note(space, key))

    def find_notes(self, space: str, keys: Iterable[str]) -> Deferred[dict[str, str | None]]:
        """See L{IStore}."""
        return succeed({key: self._note(space, key) for key in keys})

    def notes(self, space: str) -> Deferred[dict[str, str]]:
        """See L{IStore}."""
        keys = [key for known, key in self._notes if known == space]
        return succeed({key: text for key in keys if (text := self._note(space, key)) is not None})

    def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """See L{IStore}."""
        now = self._now()
        if not self._tidied <= now < self._tidied + _TIDY_EVERY:
            self._tidied = now
            for kept in list(self._notes):
                self._note(*kept)
        if self._note(space, key) != text:
            self._log.add(space, key)
        self._notes[space, key] = text, None if ttl is None else now + ttl
        return succeed(None)

    def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """See L{IStore}."""
        if self._note(space, key) != old:
            return succeed(False)
        if new is not None:
            self.put_note(space, key, new, ttl)
        elif old is not None:
            self._remove(space, key)
        return succeed(True)

    def changes(self, spaces: Collection[str], since: str, note: Note | None = None) -> Deferred[Changes]:
        """See L{IStore}."""
        renewed = note is not None and self._note(note.space, note.key) is not None
        if note is not None:
            self.put_note(note.space, note.key, note.text, note.ttl)
        changed = self._log.since(since)
        keys = by_space(self._notes if changed is None else changed, spaces)
        notes = {space: {key: self._note(space, key) for key in keys[space]} for space in spaces}
        tokens, names = (frozenset(keys[space]) for space in (TOKENS, NAMES))
        version = self._log.version  # now: what was found to be over is in the log, and was told
        return succeed(Changes(version, changed is None, notes, tokens, names, renewed))

    def follow(self, changed: Callable[[], None]) -> None:
        """See L{IStore}. Nobody is called."""
