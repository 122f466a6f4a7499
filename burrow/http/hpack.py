"""
The compression of HTTP/2's heads (RFC 7541), as both ends here need it: hpack's, in time that grows no faster
than a head does. No I/O.
"""

from __future__ import annotations

from typing import Any

from hpack import Decoder, Encoder, HPACKDecodingError, InvalidTableSizeError, NeverIndexedHeaderTuple
from hpack.exceptions import OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

MAX_CODED = 1024
"""Bytes of a field that Huffman's code is used for, at most: it may make four times as much of them."""

MAX_ENCODER_TABLE = 4096
"""Bytes of the table that heads are written with, whatever the peer allows: HPACK's default."""

MAX_TABLE_UPDATES = 2
"""Changes of the table's size that a head may begin with (RFC 7541 section 4.2)."""

_COUNTS = 32
"""Bytes that a field counts for, beside its name and value (RFC 9113 section 6.5.2)."""

_LONGEST_NUMBER = 5
"""Bytes of a number behind its first."""

_INDEXED = [bytes([0x80 | index]) for index in range(127)]
"""Of each index, the form of a field that is in the table (RFC 7541 section 6.1), where it is one byte."""

_BITS = [
    format(code, f"0{length}b") for code, length in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
]
"""Of each byte, and of the end, the code (RFC 7541 appendix B) in digits."""


class Huffman:
    """Huffman's code, in time that grows as the data: of hpack's, which shifts a number, as its square."""

    def encode(self, data: bytes) -> bytes:
        """The code of C{data}, filled up with ones (RFC 7541 section 5.2)."""
        if not data:
            return b""
        bits = "".join([_BITS[byte] for byte in data])
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")


class Table(HeaderTable):
    """
    hpack's table of fields.

    @ivar changes: a number that grows whenever it may have changed. While it is the same, so is what any
        bytes of a head mean, and how any fields are written that leave it the same.
    """

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        """See L{HeaderTable}."""
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        """See L{HeaderTable}."""
        return super().maxsize

    @maxsize.setter
    def maxsize(self, size: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, size)  # type: ignore[attr-defined]


class Http2Encoder(Encoder):
    """
    hpack's encoder, of which four things differ. An answer's head takes 3 us of CPU, and took 14.

    - A value that is not the one that its name last had goes without being put into the table (RFC 7541
      section 6.2.2), and without Huffman's code, unless the name is one of HPACK's own: it will be another
      one the next time, as a request's id. It would push out of the table what does not change, and the
      longer the table, the longer is each search in it.
    - L{Huffman} makes the code, and makes none of more than L{MAX_CODED} bytes. hpack takes 20 ms for a
      field of 16 KiB, and 6 s for one of 250 KiB.
    - Nothing is logged, and nothing is made anew of what is in the table.
    """

    header_table: Table

    def __init__(self) -> None:
        super().__init__()
        self.header_table = Table()
        self.huffman_coder = Huffman()  # type: ignore[assignment]

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """See L{Encoder}. @param headers: pairs of bytes, as h2 passes them."""
        table = self.header_table
        block = []
        if table.resized:
            block.append(self._encode_table_size_change())
            table.resized = False
        for header in headers:
            name, value = header
            if type(header) is NeverIndexedHeaderTuple:
                block.append(self.add((name, value), True, huffman))
                continue
            index, _, known = table.search(name, value) or (0, name, None)
            if known is not None:
                block.append(_INDEXED[index] if index < 127 else self._encode_indexed(index))
            elif index > HeaderTable.STATIC_TABLE_LENGTH:
                block += (bytes(encode_integer(index, 4)), bytes(encode_integer(len(value), 7)), value)
            else:
                block.append(self.add((name, value), False, huffman))
        return b"".join(block)

    def join_changes(self) -> None:
        """
        The peer has said how large the table may be. The next head tells the smallest size since the last
        one, and the present one (RFC 7541 section 4.2). hpack keeps all of them, and forgets to tell any if
        the last change is none.
        """
        changes = self.table_size_changes
        if changes:
            changes[:] = [min(changes), changes[-1]]
            self.header_table.resized = True

    def start(self, name: bytes, length: int) -> bytes | None:
        """
        What is before the value of a field that goes without being put into the table, and without Huffman's
        code: of C{length} bytes, and of a name that is in the table. None if it is not.
        """
        found = self.header_table.search(name, b"")
        return None if found is None else bytes(encode_integer(found[0], 4) + encode_integer(length, 7))

    def add(self, to_add: tuple[bytes, bytes], sensitive: bool, huffman: bool = False) -> bytes:
        """See L{Encoder}."""
        coded = huffman and len(to_add[0]) + len(to_add[1]) <= MAX_CODED
        return super().add(to_add, sensitive, coded)


class Http2Decoder(Decoder):
    """
    hpack's decoder, of which four things differ.

    - A head that is longer, as it comes, than it may be decoded is refused before it is decoded. A field
      never takes more than it counts for, but by a code that makes it longer.
    - It begins with L{MAX_TABLE_UPDATES} changes of the table's size at most: of one byte each there could be
      a million.
    - hpack copies for each field all that is left of the head. Here a field is all that is copied.
    - Fields are tuples, and nothing is logged: a browser's head takes half the time.
    """

    header_table: Table

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self.header_table = Table()

    def decode(self, data: bytes, raw: bool = True) -> Any:
        """
        The fields of a head, as pairs of bytes, whatever C{raw} is.

        @raise HPACKError: it is none. The table may have changed, and is of no more use.
        """
        if len(data) > self.max_header_list_size:
            raise OversizedHeaderListError(f"a head is longer than {self.max_header_list_size} bytes")
        try:
            return self._decode(data if isinstance(data, bytes) else bytes(data))
        except IndexError as error:
            raise HPACKDecodingError("a head is cut off") from error

    def _decode(self, data: bytes) -> list[tuple[bytes, bytes]]:
        table, fields = self.header_table, []
        at, size, room = self._decode_sizes(data), len(data), self.max_header_list_size
        while at < size:
            form = data[at]
            if form & 0x80:  # RFC 7541 section 6.1
                index, at = (form & 0x7F, at + 1) if form < 0xFF else _integer(data, at, 0x7F)
                field = table.get_by_index(index)
            elif form & 0xE0 == 0x20:
                raise HPACKDecodingError("the table's size changes behind a field (RFC 7541 section 4.2)")
            else:  # section 6.2
                index, at = _integer(data, at, 0x3F if form & 0x40 else 0x0F)
                if index:
                    name = table.get_by_index(index)[0]
                else:
                    name, at = _text(data, at)
                value, at = _text(data, at)
                field = name, value
                if form & 0x40:
                    table.add(name, value)
            fields.append(field)
            room -= _COUNTS + len(field[0]) + len(field[1])
            if room < 0:
                raise OversizedHeaderListError(f"a head counts more than {self.max_header_list_size} bytes")
        return fields

    def _decode_sizes(self, data: bytes) -> int:
        """Change the table's size, if a head says so (RFC 7541 section 6.3). @return: where fields begin."""
        at = updates = 0
        while at < len(data) and data[at] & 0xE0 == 0x20:
            updates += 1
            if updates > MAX_TABLE_UPDATES:
                raise HPACKDecodingError(f"more than {MAX_TABLE_UPDATES} changes of the table's size")
            size, at = _integer(data, at, 0x1F)
            if size > self.max_allowed_table_size:
                raise InvalidTableSizeError("a table is larger than allowed")
            self.header_table_size = size
        return at


def _integer(data: bytes, at: int, most: int) -> tuple[int, int]:
    """A number (RFC 7541 section 5.1), of which C{most} is the first byte's part, and where it ends."""
    number = data[at] & most
    at += 1
    if number < most:
        return number, at
    for shift in range(0, 7 * _LONGEST_NUMBER, 7):
        byte = data[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise HPACKDecodingError("a number has too many bytes")


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """A name or value (RFC 7541 section 5.2), and where it ends."""
    coded = data[at] & 0x80
    length, at = _integer(data, at, 0x7F)
    end = at + length
    if end > len(data):
        raise HPACKDecodingError("a head is cut off")
    text = data[at:end]
    return decode_huffman(text) if coded else text, end
