"""
The compression of HTTP/2's heads (RFC 7541), as both ends here need it: hpack's, in time that grows no faster
than a head does. No I/O.
"""

from __future__ import annotations

from typing import Any

from hpack import Decoder, Encoder, HeaderTuple, HPACKDecodingError, NeverIndexedHeaderTuple
from hpack.exceptions import OversizedHeaderListError
from hpack.hpack import decode_integer, encode_integer
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

MAX_CODED = 1024
"""Bytes of a field that Huffman's code is used for, at most: it may make four times as much of them."""

MAX_TABLE_UPDATES = 2
"""Changes of the table's size that a head may begin with (RFC 7541 section 4.2)."""

_COPIED = 4096
"""Bytes of a head that the decoder may copy for each field of it."""

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

    def __init__(self) -> None:
        super().__init__()
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

    def add(self, to_add: tuple[bytes, bytes], sensitive: bool, huffman: bool = False) -> bytes:
        """See L{Encoder}."""
        coded = huffman and len(to_add[0]) + len(to_add[1]) <= MAX_CODED
        return super().add(to_add, sensitive, coded)


class Http2Decoder(Decoder):
    """
    hpack's decoder, of which three things differ.

    - A head that is longer, as it comes, than it may be decoded is refused before it is decoded. A field
      never takes more than it counts for, but by a code that makes it longer.
    - It begins with L{MAX_TABLE_UPDATES} changes of the table's size at most: of one byte each there could be
      a million.
    - hpack copies for each field all that is left of the head: of a longer head, it is given one field alone.
    """

    _updates = 0

    def decode(self, data: bytes, raw: bool = False) -> Any:
        """See L{Decoder}."""
        if len(data) > self.max_header_list_size:
            raise OversizedHeaderListError(f"a head is longer than {self.max_header_list_size} bytes")
        self._updates = 0
        return super().decode(data, raw)

    def _update_encoding_context(self, data: Any) -> int:
        self._updates += 1
        if self._updates > MAX_TABLE_UPDATES:
            raise HPACKDecodingError(f"more than {MAX_TABLE_UPDATES} changes of the table's size")
        return super()._update_encoding_context(data)

    def _decode_literal(self, data: Any, should_index: bool) -> tuple[HeaderTuple, int]:
        return super()._decode_literal(
            _field(data, should_index) if len(data) > _COPIED else data, should_index
        )


def _field(data: Any, indexes: bool) -> Any:
    """The first field of a head, a literal one (RFC 7541 section 6.2), or as much of it as there is."""
    index, end = decode_integer(data, 6 if indexes else 4)
    for _ in range(1 if index else 2):  # without an index, the name comes before the value
        length, size = decode_integer(data[end:], 7)
        end += size + length
    return data[:end]
