"""
The first message of a TLS handshake, read before TLS begins: which name and which protocols are asked for. So
a certificate can be waited for without a blocking call in a TLS callback. No I/O.

Sources: RFC 8446 sections 4.1.2 (ClientHello) and 5.1 (records), RFC 6066 section 3 (server_name), RFC 7301
section 3.1 (ALPN).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct

MAX_HELLO = 32 * 1024
"""Bytes, records' headers included, at most. Post-quantum key shares make hellos of about 2 KiB."""

MAX_RECORDS = 1024
"""Records that a hello may be split into, at most."""

MAX_NAME = 253
"""Characters of a host name, at most (RFC 1035 section 2.3.4)."""

_MAX_RECORD = 1 << 14
_SERVER_NAME, _ALPN = 0, 16
_EXTENSION = Struct("!HH")
_NAME = re.compile(rb"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_TOO_LONG = "a field of the ClientHello is longer than the message"
_TWICE = "the ClientHello has an extension twice"  # RFC 8446 section 4.2
_IPV4 = re.compile(rb"[0-9]+(?:\.[0-9]+)*\.?")


class NotTLS(Exception):
    """The bytes are not the beginning of a TLS connection, or break its rules."""


class NoName(NotTLS):
    """No host can have the server name (RFC 6066 section 3): it is not in ASCII, too long or malformed."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """
    @ivar name: the server name, lower case, without a final dot; None without one, or for an IP address,
    which is not permitted there (RFC 6066 section 3), but sent. @ivar protocols: what ALPN offers.
    """

    name: str | None
    protocols: tuple[bytes, ...]


class HelloReader:
    """
    Reads the ClientHello at the beginning of a connection, from bytes split in any way. Each byte is parsed
    once, and kept.

    @ivar received: all bytes so far, for the TLS that begins then; bounded by L{MAX_HELLO} and one read.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self._message = bytearray()
        self._position = 0
        self._records = 0

    def feed(self, data: bytes) -> ClientHello | None:
        """
        Take bytes.

        @return: None while more are needed.
        @raise NotTLS: there is no ClientHello.
        """
        self.received += data
        received, message = self.received, self._message
        while True:
            start = self._position
            header = bytes(received[start : start + 6])
            if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
                raise NotTLS("the connection does not begin with a TLS handshake")
            if len(header) < 5:
                break
            size = int.from_bytes(header[3:5], "big")
            if not 0 < size <= _MAX_RECORD:
                raise NotTLS("a record of a handshake has 1 to 16384 bytes")
            if not message and header[5:] not in (b"", b"\x01"):
                raise NotTLS("the handshake does not begin with a ClientHello")
            end = start + 5 + size
            if end > MAX_HELLO:
                raise NotTLS("the ClientHello is too long")
            if end > len(received):
                break
            self._records += 1
            if self._records > MAX_RECORDS:
                raise NotTLS("the ClientHello is in too many records")
            message += received[start + 5 : end]
            self._position = end
            length = self._length()
            if length is not None and len(message) >= 4 + length:
                return _parse(bytes(message[4 : 4 + length]))
        return None

    def _length(self) -> int | None:
        """The length that the message declares; None before its first 4 bytes have come."""
        if len(self._message) < 4:
            return None
        length = int.from_bytes(self._message[1:4], "big")
        if length > MAX_HELLO:
            raise NotTLS("the ClientHello is too long")
        return length


def _parse(hello: bytes) -> ClientHello:
    """One scan, without an object or a call for each field: a third of the time."""
    end = len(hello)
    at = 2 + 32  # version, random
    for size in (1, 2, 1):  # session id, cipher suites, compression methods
        at += size + int.from_bytes(hello[at : at + size], "big")
    # The last of these fields, as all below, must not be longer than what it is in.
    if at > end or (at < end and at + 2 + int.from_bytes(hello[at : at + 2], "big") > end):
        raise NotTLS(_TOO_LONG)
    name: str | None = None
    protocols: tuple[bytes, ...] | None = None
    named = False
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        start = at + 4
        if start > end:
            raise NotTLS(_TOO_LONG)
        kind, size = _EXTENSION.unpack_from(hello, at)
        at = start + size
        if at > end:
            raise NotTLS(_TOO_LONG)
        if kind == _SERVER_NAME:
            if named:
                raise NotTLS(_TWICE)
            named = True
            if at > start:
                name = _server_name(hello[start:at])
        elif kind == _ALPN:
            if protocols is not None:
                raise NotTLS(_TWICE)
            protocols = _protocols(hello[start:at])
    return ClientHello(name, protocols or ())


def _server_name(body: bytes) -> str | None:
    end = 2 + int.from_bytes(body[:2], "big")
    if end > len(body):
        raise NotTLS(_TOO_LONG)
    name: bytes | None = None
    at = 2
    while at < end:
        is_host, start = body[at] == 0, at + 3
        at = start + int.from_bytes(body[at + 1 : start], "big")
        if at > end:
            raise NotTLS(_TOO_LONG)
        if is_host and name is not None:
            raise NotTLS("the ClientHello has two names of one type")
        if is_host:
            name = body[start:at]
    return None if name is None else _host(name)


def _host(value: bytes) -> str | None:
    if b":" in value or _IPV4.fullmatch(value):
        return None
    value = value.removesuffix(b".")
    if len(value) > MAX_NAME or not _NAME.fullmatch(value):
        raise NoName("the server name is none that a host can have")
    return value.decode("ascii").lower()


def _protocols(body: bytes) -> tuple[bytes, ...]:
    end = 2 + int.from_bytes(body[:2], "big")
    if end > len(body):
        raise NotTLS(_TOO_LONG)
    offered: list[bytes] = []
    at = 2
    while at < end:
        start = at + 1
        at = start + body[at]
        if at > end:
            raise NotTLS(_TOO_LONG)
        offered.append(body[start:at])
    if not offered or not all(offered):
        raise NotTLS("a protocol's name has 1 to 255 bytes")
    return tuple(offered)
