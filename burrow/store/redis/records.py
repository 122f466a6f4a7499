"""The JSON of tokens and reservations in Redis, and the keys of the hashes that have them."""

from __future__ import annotations

import json
from typing import Any, TypeVar, get_args, get_type_hints

import attr
from twisted.logger import Logger

from burrow.store.base import Reservation, Taken, Token, record
from burrow.store.redis.guard import PREFIX

TOKEN_KEYS = [PREFIX + "tokens", PREFIX + "token-names"]
RESERVATION_KEYS = [PREFIX + "reservations", PREFIX + "ports", PREFIX + "remembered"]

_R = TypeVar("_R", Token, Reservation)
_KINDS: dict[type, Any] = {float: (int, float)}
_FIELDS = {
    kind: {field: tuple(get_args(hint)) or (hint,) for field, hint in get_type_hints(kind).items()}
    for kind in (Token, Reservation)
}


def _record(kind: type[_R], text: str) -> _R:
    """@raise ValueError: the text is no such record; TypeError, KeyError, AttributeError likewise."""
    fields = dict(json.loads(text))
    if kind is Token:
        fields["digest"] = bytes.fromhex(fields["digest"])
    read = record(kind, fields)
    for field, hints in _FIELDS[kind].items():
        value = getattr(read, field)
        if not any(isinstance(value, _KINDS.get(hint, hint)) for hint in hints):
            raise ValueError(f"{field} is {type(value).__name__}")
    return read


class Unreadable(Taken):
    """A name's record is there and cannot be read: so its owner is not known, and the name is not free."""


def to_text(one: Token | Reservation) -> str:
    """A record as it is kept: a JSON object of its fields, the digest in hexadecimal."""
    fields = attr.asdict(one)
    if isinstance(one, Token):
        fields["digest"] = one.digest.hex()
    return json.dumps(fields)


def note_key(space: str) -> str:
    """The key of the hash that has a space's notes."""
    return f"{PREFIX}notes:{space}"


class RecordReader:
    """Reads records, and logs each that cannot be read once: somebody else may have written it."""

    log = Logger()

    def __init__(self) -> None:
        self._unreadable: set[tuple[str, str]] = set()

    def read(self, kind: type[_R], key: str, text: str) -> _R | None:
        """A record, or None for one that cannot be read: the log says once how to remove it."""
        hash_key = (TOKEN_KEYS if kind is Token else RESERVATION_KEYS)[0]
        try:
            read = _record(kind, text)
            if key == (read.id if isinstance(read, Token) else read.name):
                self._unreadable.discard((hash_key, key))
                return read
            problem = "it is another's"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if (hash_key, key) not in self._unreadable:
            self._unreadable.add((hash_key, key))
            self.log.error(
                "the record of {key} in Redis cannot be read, and is left out: {problem}; remove it with "
                "HDEL {hash} {key}",
                key=key,
                hash=hash_key,
                problem=problem,
            )
        return None

    def read_all(self, kind: type[_R], found: list[str]) -> dict[str, _R]:
        """What can be read of a hash, of its keys and texts in turns."""
        pairs = zip(found[::2], found[1::2], strict=True)
        # The key that is empty is the guard's.
        return {key: read for key, text in pairs if key and (read := self.read(kind, key, text)) is not None}
