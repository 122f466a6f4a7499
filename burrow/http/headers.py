"""The header fields of one message: in their order and spelling, and by name. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable

Fields = list[tuple[bytes, bytes]]
"""Names and values of fields in order, the names as they are spelled."""


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """The comma-separated parts of a field's values, in lower case."""
    return [token for value in values for part in value.lower().split(b",") if (token := part.strip())]


class Headers(dict[bytes, list[bytes]]):
    """
    A message's fields: a dict of each name, in lower case, and the values of its fields in order.

    A name is lowered once, when its field is added. All names that are looked up must be in lower case. This
    is how RFC 9110 section 5.1 compares names; L{burrow.http.fields} has the more careless comparison
    that some readers behind the edge make.

    @ivar fields: all fields in order, with their names as they came.
    """

    __slots__ = ("_size", "fields")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.fields: Fields = []
        self._size = 0
        for name, value in fields:
            self.add(name, value)

    def add(self, name: bytes, value: bytes) -> None:
        """Add a field behind the others. Blanks behind its value are no part of it."""
        value = value.rstrip(b" \t")
        self.fields.append((name, value))
        key = name.lower()
        if key in self:
            self[key].append(value)
        else:
            self[key] = [value]

    @property
    def size(self) -> int:
        """Bytes of all names and values. Counted when it is asked for first: few ask, and heads are kept."""
        if not self._size:
            self._size = sum(len(name) + len(value) for name, value in self.fields)
        return self._size

    def value(self, name: bytes) -> bytes:
        """The value of the first field of a name; empty if there is none."""
        values = self.get(name)
        return values[0] if values else b""

    def tokens(self, name: bytes) -> list[bytes]:
        """The comma-separated parts of all fields of a name, in lower case."""
        return tokens(self.get(name, ()))

    def named(self, name: bytes) -> Fields:
        """The fields of a name, as they came."""
        return [pair for pair in self.fields if pair[0].lower() == name] if name in self else []

    def without(self, names: Collection[bytes]) -> Fields:
        """The fields that have none of these names, as they came."""
        return [pair for pair in self.fields if pair[0].lower() not in names]
