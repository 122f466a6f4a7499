"""
Datagrams on a stream: each is its length in two bytes, most significant first, and its bytes. No I/O.
"""

from __future__ import annotations

MAX_DATAGRAM = 65_507
"""Bytes of a datagram's payload, at most: what fits into an IPv4 packet (RFC 768, RFC 791)."""

_LENGTH = 2


def framed(datagram: bytes) -> bytes:
    """A datagram's bytes on a stream. @raise ValueError: it is too long."""
    if len(datagram) > MAX_DATAGRAM:
        raise ValueError(f"a datagram has {MAX_DATAGRAM} bytes at most, not {len(datagram)}")
    return len(datagram).to_bytes(_LENGTH, "big") + datagram


class DatagramReader:
    """Finds the datagrams in a stream. It keeps what is not whole yet: one datagram, at most."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """
        More bytes of the stream.

        @return: the datagrams that are whole now.
        @raise ValueError: a length says more than L{MAX_DATAGRAM}: what follows cannot be read.
        """
        self._data += data
        found, start = [], 0
        while len(self._data) - start >= _LENGTH:
            length = int.from_bytes(self._data[start : start + _LENGTH], "big")
            if length > MAX_DATAGRAM:
                raise ValueError(f"a datagram has {MAX_DATAGRAM} bytes at most, not {length}")
            end = start + _LENGTH + length
            if len(self._data) < end:
                break
            found.append(bytes(self._data[start + _LENGTH : end]))
            start = end
        del self._data[:start]
        return found
