"""
What the upstream learns of its visitor: X-Forwarded-For, -Proto, -Host, and Forwarded (RFC 7239).

The edge sets them. What a visitor sent of the kind is dropped, in any spelling that a CGI-like
upstream would read as the same, unless it came from a configured proxy in front, which is believed
and extended.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from burrow.server.edge.head import Headers, RequestHead, end_to_end, tokens, write_head

_FORGEABLE = frozenset(
    (
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-protocol",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-real-ip",
    )
)


def _quoted(value: str) -> str:
    """A Forwarded value; RFC 7239 section 4 wants quotes around what has a colon."""
    return f'"{value}"' if ":" in value else value


class Forwarding:
    """@param trusted: addresses and networks (CIDR) of the proxies in front that are believed."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]

    def _trusts(self, address: str) -> bool:
        if not self._trusted:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)

    def apply(self, headers: Headers, peer: str, scheme: str, authority: bytes) -> tuple[Headers, str, str]:
        """
        The fields for the upstream.

        @param peer: the address that connected to us. @param authority: the Host field's value.
        @return: the fields, the visitor's address and the visitor's scheme, as far as we can believe them.
        """
        trusted = self._trusts(peer)
        rest: Headers = []
        told: dict[bytes, Headers] = {}
        for pair in headers:
            name = pair[0].lower().replace(b"_", b"-")
            if name in _FORGEABLE:
                if trusted:
                    told.setdefault(name, []).append((name, pair[1]))
            else:
                rest.append(pair)
        hops = [hop.decode("latin-1") for hop in tokens(told.get(b"x-forwarded-for", []), b"x-forwarded-for")]
        chain = [*hops, peer]
        # The visitor is the last address that no proxy of ours is.
        visitor = next((hop for hop in reversed(chain) if not self._trusts(hop)), chain[0])
        for value in tokens(told.get(b"x-forwarded-proto", []), b"x-forwarded-proto")[:1]:
            if value in (b"http", b"https", b"ws", b"wss"):
                scheme = {"ws": "http", "wss": "https"}.get(value.decode(), value.decode())
        host = told.get(b"x-forwarded-host", [(b"", authority)])[0][1]
        node = f"[{peer}]" if ":" in peer else peer
        forwarded = f"for={_quoted(node)};proto={scheme}".encode()
        if authority:
            forwarded += b";host=" + _quoted(authority.decode("latin-1")).encode("latin-1")
        before = [value for _, value in told.get(b"forwarded", [])]
        rest += [
            (b"X-Forwarded-For", ", ".join(chain).encode("latin-1")),
            (b"X-Forwarded-Proto", scheme.encode()),
            (b"X-Forwarded-Host", host),
            (b"Forwarded", b", ".join([*before, forwarded])),
        ]
        return rest, visitor, scheme

    def rewrite(self, head: RequestHead, peer: Any, scheme: str) -> tuple[bytes, tuple[str, str]]:
        """
        A request's head, written anew for the upstream.

        @param peer: the address that connected to us. @param scheme: "http" or "https".
        @return: the head's bytes; and the visitor's address, C{host:port}, with its scheme.
        """
        drop = frozenset((b"host",)) if head.version == "1.1" else frozenset((b"host", b"expect"))
        host, port = getattr(peer, "host", None) or "unknown", getattr(peer, "port", 0)
        headers, visitor, scheme = self.apply(end_to_end(head.headers, drop), host, scheme, head.authority)
        headers.insert(0, (b"Host", head.authority))
        if b"trailers" in tokens(head.headers, b"te"):
            headers.append((b"TE", b"trailers"))
        if head.length is None:
            headers.append((b"Transfer-Encoding", b"chunked"))
        if head.upgrade:
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade)]
        address = f"[{visitor}]:{port}" if ":" in visitor else f"{visitor}:{port}"
        return write_head(head.method + b" " + head.target + b" HTTP/1.1", headers), (address, scheme)
