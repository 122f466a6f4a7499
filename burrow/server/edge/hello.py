"""
The first message of a TLS handshake, read before TLS is: which name is asked for, by which protocols.

Sources: RFC 8446 section 4.1.2 (ClientHello), RFC 6066 section 3 (server_name), RFC 7301 section 3.1
(ALPN). No I/O. So a certificate can be waited for without a blocking call in a TLS callback.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_HELLO = 32 * 1024
"""Bytes, at most. Post-quantum key shares make hellos of about 2 KiB."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16


class NotTLS(Exception):
    """The bytes are not the beginning of a TLS connection."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """@ivar name: the server name, lower case, or None. @ivar protocols: what ALPN offers."""

    name: str | None
    protocols: tuple[bytes, ...]


class _Reader:
    """Reads numbers and length-prefixed fields; short input is L{NotTLS}."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise NotTLS("a field of the ClientHello is longer than the message")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def field(self, size: int) -> bytes:
        """A field behind a length of C{size} bytes."""
        return self.take(self.number(size))

    @property
    def more(self) -> bool:
        return self._position < len(self._data)


def read_client_hello(data: bytes) -> ClientHello | None:
    """
    Read the ClientHello at the beginning of a connection.

    @return: None while more bytes are needed.
    @raise NotTLS: there is none.
    """
    message = b""
    position = 0
    while position + 5 <= len(data):
        if data[position] != _HANDSHAKE or data[position + 1] != 3:
            raise NotTLS("the connection does not begin with a TLS handshake")
        end = position + 5 + int.from_bytes(data[position + 3 : position + 5], "big")
        message += data[position + 5 : end]
        if message and message[0] != _CLIENT_HELLO:
            raise NotTLS("the handshake does not begin with a ClientHello")
        if len(message) >= 4:
            size = int.from_bytes(message[1:4], "big")
            if size > MAX_HELLO:
                raise NotTLS("the ClientHello is too long")
            if len(message) >= 4 + size:
                return _parse(message[4 : 4 + size])
        if end > len(data):
            break
        position = end
    if data[:1] not in (b"", b"\x16") or len(data) > MAX_HELLO:
        raise NotTLS("the connection does not begin with a TLS handshake")
    return None


def _parse(hello: bytes) -> ClientHello:
    reader = _Reader(hello)
    reader.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session id, cipher suites, compression methods
        reader.field(size)
    name: str | None = None
    protocols: list[bytes] = []
    extensions = _Reader(reader.field(2) if reader.more else b"")
    while extensions.more:
        kind, body = extensions.number(2), _Reader(extensions.field(2))
        if kind == _SERVER_NAME and body.more:
            names = _Reader(body.field(2))
            while names.more:
                is_host, value = names.number(1) == 0, names.field(2)
                if is_host:
                    name = value.decode("ascii", "replace").lower().rstrip(".")
        elif kind == _ALPN and body.more:
            offered = _Reader(body.field(2))
            while offered.more:
                protocols.append(offered.field(1))
    return ClientHello(name, tuple(protocols))
