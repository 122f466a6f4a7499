"""
What changed in a store since it was asked last, so that whoever follows it does work that grows with what
changes and not with what is kept.

A store counts its changes; its log remembers which note, token or reservation changed at which count, each
once, and only the last L{MAX_LOGGED}. Who was away for longer is told everything.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import attr

MAX_LOGGED = 20_000
"""Changes that a store remembers."""

TOKENS, NAMES = "tokens", "reservations"
"""What stands for a space in the log where it is not a note that changed, but a token or a reservation."""


@attr.frozen
class Note:
    """A note to keep: see L{IStore.put_note<burrow.store.base.IStore.put_note>}. @ivar ttl: seconds."""

    space: str
    key: str
    text: str = attr.field(repr=False)
    ttl: float


@attr.frozen
class Changes:
    """
    What changed since a version, or, if that is not known any more, everything.

    @ivar version: what to ask with next time; it has no other meaning.
    @ivar whole: the notes are all that there are, and any token or reservation may have changed.
    @ivar notes: texts by key, for each space that was asked for; None for a note that is not there any more.
    @ivar tokens: the ids of tokens that were added, changed or revoked.
    @ivar names: the names of reservations that were made, changed or released.
    @ivar renewed: whether the L{Note} that was to be kept was there before.
    """

    version: str
    whole: bool
    notes: dict[str, dict[str, str | None]]
    tokens: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    renewed: bool = False


def by_space(changed: Iterable[tuple[str, str]], spaces: Iterable[str]) -> dict[str, list[str]]:
    """The keys that changed, of these spaces, tokens and reservations; what changed elsewhere is left out."""
    found: dict[str, list[str]] = {space: [] for space in (*spaces, TOKENS, NAMES)}
    for space, key in changed:
        if space in found:
            found[space].append(key)
    return found


def reaches_back(since: str, version: str) -> bool:
    """Whether what changed since one version comprises what changed since another of the same log."""
    epoch, _, count = since.partition(":")
    other, _, known = version.partition(":")
    return epoch == other and count.isdecimal() and known.isdecimal() and int(count) <= int(known)


class ChangeLog:
    """The log of a store that is one process's own."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(8)
        self._count = 0
        self._from = 0
        self._logged: dict[tuple[str, str], int] = {}

    @property
    def version(self) -> str:
        """What names the present state."""
        return f"{self._epoch}:{self._count}"

    def add(self, space: str, key: str) -> None:
        """Something changed."""
        self._count += 1
        self._logged.pop((space, key), None)
        self._logged[space, key] = self._count
        if len(self._logged) > MAX_LOGGED:
            oldest = next(iter(self._logged))
            self._from = self._logged.pop(oldest)

    def since(self, version: str) -> list[tuple[str, str]] | None:
        """The spaces and keys that changed since a version; None if that is not known."""
        epoch, _, count = version.partition(":")
        if epoch != self._epoch or not count.isdecimal() or not self._from <= int(count) <= self._count:
            return None
        changed = []
        for logged in reversed(self._logged):
            if self._logged[logged] <= int(count):
                break
            changed.append(logged)
        return changed
