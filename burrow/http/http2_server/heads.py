"""
The heads of one connection: those that come, decoded and understood, and those that go, encoded.

A client sends the same head again and again, in the same bytes once its table (RFC 7541 section 2.3.2) has
the fields. The same bytes have the same fields as long as the table is the same, and leave it the same if
they did: so what they mean is remembered, until a head changes the table.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

from hpack.exceptions import HPACKError, OversizedHeaderListError

from burrow.http.headers import Fields
from burrow.http.hpack import MAX_ENCODER_TABLE, Http2Decoder, Http2Encoder
from burrow.http.http2_server.frames import Code, Fault
from burrow.http.remembered import Memory, Remembered

Mean = Callable[[Fields, bool], tuple[Any, bool]]
"""
Says what a request's fields mean.

@param 1: the fields. @param 2: whether no body follows. @return: anything, and whether the same fields mean
    just that the next time, too.
"""

_FIELD = 256
"""Bytes of memory that a field of a head takes beside its bytes, about."""

_ENDED, _OPEN = b"\1", b"\0"


class Written(NamedTuple):
    """
    A head's block, as it may go again.

    @ivar changes: of the table (L{Table<burrow.http.hpack.Table>}), as it was.
    @ivar start: all but the value of the last field. @ivar length: of that.
    """

    changes: int
    start: bytes
    length: int


class Heads:
    """
    @param longest: bytes of a head, as it comes and as it is counted (RFC 9113 section 6.5.2). @param mean:
        see L{Mean}. @param memory: where heads are remembered.
    """

    def __init__(self, longest: int, mean: Mean, memory: Memory) -> None:
        self._decoder = Http2Decoder(longest)
        self._encoder = Http2Encoder()
        self._mean = mean
        self._remembered: Remembered[Any] = Remembered(memory)
        self._known = self._remembered.known

    # -- those that come ----------------------------------------------------------------------------------

    def read(self, block: bytes, ended: bool) -> Any:
        """What a request's head means. C{ended}: whether no body follows. @raise Fault: it is no head."""
        key = (_ENDED if ended else _OPEN) + block
        known = self._known.get(key)
        if known is not None:
            return known
        table = self._decoder.header_table
        before = table.changes
        fields = self.decode(block)
        meaning, lasts = self._mean(fields, ended)
        if lasts and table.changes == before:
            size = _FIELD * len(fields) + sum(map(len, chain.from_iterable(fields)))
            self._remembered.came(key, meaning, size)
        return meaning

    def decode(self, block: bytes) -> Fields:
        """The fields of a head that is no request's. @raise Fault: it is none."""
        table = self._decoder.header_table
        before = table.changes
        try:
            fields: Fields = self._decoder.decode(block, True)
        except OversizedHeaderListError as error:
            raise Fault(Code.ENHANCE_YOUR_CALM, f"a head is too long: {error}") from error
        except HPACKError as error:
            raise Fault(
                Code.COMPRESSION_ERROR, f"a head is not compressed as it should be: {error}"
            ) from error
        finally:
            if table.changes != before:
                self._remembered.forget()
        return fields

    def forget(self) -> None:
        """Forget all heads; the connection is over."""
        self._remembered.forget()

    # -- those that go ------------------------------------------------------------------------------------

    def write(self, fields: Fields) -> bytes:
        """A head's block. It must be sent: the peer's table changes by it."""
        return self._encoder.encode(fields)

    def write_again(
        self, fields: Fields, name: bytes = b"", value: bytes = b""
    ) -> tuple[bytes, Written | None]:
        """
        As L{write}, for a head that may go again, with another value of its last field.

        @param fields: the others. @param name: of the last one; empty if there is none. @param value: of it,
            now. @return: the block, and how to have it again; None if that is not known yet.
        """
        encoder = self._encoder
        table = encoder.header_table
        before = None if table.resized else table.changes
        block = encoder.encode(fields)
        if name:
            start = encoder.start(name, len(value))
            if start is None:
                return block + encoder.encode([(name, value)]), None
            block += start
        lasts = table.changes == before
        return block + value, Written(table.changes, block, len(value)) if lasts else None

    def again(self, written: Written, value: bytes) -> bytes | None:
        """A block once more, with another value of its last field; None if it would be another one."""
        changes, start, length = written
        if changes != self._encoder.header_table.changes or length != len(value):
            return None
        return start + value

    def resize(self, sizes: list[int]) -> None:
        """The peer says how large the table may be that heads are written with, perhaps several times."""
        for size in sizes:
            self._encoder.header_table_size = min(size, MAX_ENCODER_TABLE)
        self._encoder.join_changes()
