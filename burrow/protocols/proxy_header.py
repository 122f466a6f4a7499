"""
The header of the PROXY protocol, versions 1 and 2, which tells an upstream who its visitor is. No I/O.

Source: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. Only what a sender needs is here.
"""

from __future__ import annotations

import ipaddress
from struct import pack
from urllib.parse import urlsplit

VERSIONS = ("v1", "v2")

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""How a header of version 2 begins: no line of text does."""

_PROXY = 0x21  # version 2, command PROXY
_FAMILIES = {4: (b"TCP4", 0x11), 6: (b"TCP6", 0x21)}
"""The family and SOCK_STREAM, by the address's version: in a word, and in a byte."""


def proxy_header(version: str, visitor: str, port: int) -> bytes:
    """
    The header that goes before a visitor's first byte.

    The destination has the tunnel's public port. By which of its addresses the server was reached is not
    known to the agent: the unspecified one stands for it.

    @param version: one of L{VERSIONS}. @param visitor: C{host:port}, IPv6 hosts in brackets; if it is none,
        the header says that the visitor is unknown.
    @param port: the tunnel's public port; 0 if it has none.
    """
    try:
        parts = urlsplit(f"//{visitor}")
        source, source_port = ipaddress.ip_address(parts.hostname or ""), parts.port or 0
    except ValueError:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else SIGNATURE + pack("!BBH", _PROXY, 0, 0)
    word, family = _FAMILIES[source.version]
    here = ipaddress.ip_address("0.0.0.0" if source.version == 4 else "::")
    if version == "v1":
        return b"PROXY %b %b %b %d %d\r\n" % (
            word,
            str(source).encode(),
            str(here).encode(),
            source_port,
            port,
        )
    addresses = source.packed + here.packed + pack("!HH", source_port, port)
    return SIGNATURE + pack("!BBH", _PROXY, family, len(addresses)) + addresses
