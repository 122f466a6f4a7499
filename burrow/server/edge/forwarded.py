"""
A request's head as the upstream gets it: what is understood of it, and what the edge knows of its visitor.

The edge sets X-Forwarded-For, -Proto, -Host and -Port, Forwarded (RFC 7239) and Via (RFC 9110 section 7.6.3).
What a visitor sent of the kind is dropped, in any spelling that a CGI-like upstream would read as the same.
A configured proxy in front is believed, and extended, in the fields that the configuration names: of the
others nobody knows whether it sets them or passes on what a stranger sent.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from burrow.errors import ConfigError
from burrow.mux.control import plain_address, visitor_address
from burrow.server.edge.fields import (
    Headers,
    canonical,
    for_upstream,
    is_forwarding,
    named_by_connection,
    tokens,
    write_head,
)
from burrow.server.edge.head import RequestHead

TRUSTED_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto")
"""What a trusted proxy is believed in, unless the configuration says otherwise."""

_PORTS = {"http": b"80", "https": b"443"}
_EXTENDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded")
_NODE = rb'(?:[!#$%&\'*+.^_`|~0-9A-Za-z-]+|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")'
_PAIR = rb"[A-Za-z-]+=" + _NODE
_ELEMENT = rb"[ \t]*(?:" + _PAIR + rb"(?:[ \t]*;[ \t]*" + _PAIR + rb")*[ \t]*)?"
_FORWARDED = re.compile(_ELEMENT + rb"(?:," + _ELEMENT + rb")*")
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network; the IPv4 one that is meant if it is mapped into IPv6."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _port(authority: bytes, scheme: str) -> bytes:
    """The port that was asked for."""
    _, colon, port = authority.rpartition(b":")
    return port if colon and port.isdigit() else _PORTS[scheme]


def _quoted(value: str) -> str:
    """A Forwarded value; RFC 7239 section 4 wants quotes around what has a colon."""
    return f'"{value}"' if ":" in value else value


def _without_port(hop: str) -> str:
    """A hop's address, which some proxies write with a port: C{192.0.2.1:80}, C{[2001:db8::1]:80}."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


class Forwarding:
    """
    @param trusted: addresses and networks (CIDR) of the proxies in front that are believed.
    @param believed: names of the fields that they are believed in.
    @param pseudonym: what this server calls itself in Via: the same on all its nodes, no other server's.
    @raise ConfigError: a name is none of a field that proxies set.
    """

    def __init__(
        self,
        trusted: Iterable[str] = (),
        believed: Iterable[str] = TRUSTED_HEADERS,
        pseudonym: str = "burrow",
    ) -> None:
        self.pseudonym = pseudonym
        self._trusted = [network_of(network) for network in trusted]
        self._believed = frozenset(canonical(name.encode()) for name in believed)
        for name in self._believed:
            if not is_forwarding(name):
                raise ConfigError(
                    f"--trusted-header {name.decode('latin-1')} is no field that proxies set, as "
                    "X-Forwarded-Host, Forwarded or X-Real-IP are: it is passed on anyway, or never"
                )

    def _trusts(self, address: str) -> bool:
        if not self._trusted:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)

    def _visitor(self, chain: list[str]) -> str:
        """
        The last address of a chain of hops that no proxy of ours is.

        What a proxy of ours says of the hop before it is believed if it is an address; a word like "unknown"
        ends what is known.
        """
        visitor = chain[-1]
        for hop in reversed(chain[:-1]):
            if not self._trusts(visitor):
                break
            try:
                address = ipaddress.ip_address(_without_port(hop))
            except ValueError:
                break
            visitor = str(getattr(address, "ipv4_mapped", None) or address)
        return visitor

    def apply(self, headers: Headers, peer: str, scheme: str, authority: bytes) -> tuple[Headers, str, str]:
        """
        The fields for the upstream, without Host and framing.

        @param peer: the address that connected to us. @param authority: the Host field's value.
        @return: the fields, the visitor's address and the visitor's scheme, as far as we can believe them.
        """
        rest = for_upstream(headers)
        told = self._told(headers) if self._trusts(peer) else {}
        chain, host, port, forwarded = [peer], authority, b"", []
        if told:
            values = {name: [value for _, value in told.pop(name, ())] for name in _EXTENDED}
            chain = [hop.decode("latin-1") for hop in tokens(values[b"x-forwarded-for"])] + chain
            for value in tokens(values[b"x-forwarded-proto"])[:1]:
                if value in (b"http", b"https", b"ws", b"wss"):
                    scheme = {"ws": "http", "wss": "https"}.get(value.decode(), value.decode())
            host = next(filter(_AUTHORITY.fullmatch, values[b"x-forwarded-host"][:1]), authority)
            port = next(filter(bytes.isdigit, values[b"x-forwarded-port"][:1]), b"")
            forwarded = [value for value in values[b"forwarded"] if _FORWARDED.fullmatch(value)]
            for others in told.values():
                rest += others
        forwarded.append(self._element(peer, scheme, authority))
        rest += [
            (b"X-Forwarded-For", ", ".join(chain).encode("latin-1")),
            (b"X-Forwarded-Proto", scheme.encode()),
            (b"X-Forwarded-Host", host),
            (b"X-Forwarded-Port", port or _port(authority, scheme)),
            (b"Forwarded", b", ".join(forwarded)),
        ]
        return rest, self._visitor(chain), scheme

    def _told(self, headers: Headers) -> dict[bytes, Headers]:
        """The fields that a trusted proxy is believed in, by name."""
        told: dict[bytes, Headers] = {}
        for pair in headers:
            name = pair[0].lower()
            if name in self._believed:
                told.setdefault(name, []).append(pair)
        return told

    @staticmethod
    def _element(peer: str, scheme: str, authority: bytes) -> bytes:
        """What Forwarded says of the last hop."""
        node = f"[{peer}]" if ":" in peer else peer
        element = f"for={_quoted(node)};proto={scheme}".encode()
        if authority:
            element += b";host=" + _quoted(authority.decode("latin-1")).encode("latin-1")
        return element

    def looped(self, head: RequestHead) -> bool:
        """Whether the request passed this server before (RFC 9110 section 7.6.3)."""
        vias = head.values.get(b"via")
        if vias is None:
            return False
        own = self.pseudonym.lower().encode()
        return any(own in via.split() for via in tokens(vias))

    def rewrite(self, head: RequestHead, peer: Any, scheme: str) -> tuple[bytes, tuple[str, str]]:
        """
        A request's head, written anew for the upstream.

        @param peer: the address that connected to us. @param scheme: "http" or "https".
        @return: the head's bytes; and the visitor's address, C{host:port}, with its scheme.
        """
        host, port = plain_address(getattr(peer, "host", None) or "unknown"), getattr(peer, "port", 0)
        fields = head.headers
        named = named_by_connection(head.values)
        if named:
            fields = [pair for pair in fields if pair[0].lower() not in named]
        if head.version == "1.0" and b"expect" in head.values:
            fields = [pair for pair in fields if pair[0].lower() != b"expect"]
        if head.max_forwards is not None:
            left = b"%d" % max(head.max_forwards - 1, 0)
            fields = [(name, left if name.lower() == b"max-forwards" else value) for name, value in fields]
        fields, visitor, scheme = self.apply(fields, host, scheme, head.authority)
        headers = [(b"Host", head.authority)]
        headers += fields
        headers.append((b"Via", f"{head.version} {self.pseudonym}".encode()))
        headers += _framing(head)
        if head.upgrade:
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade)]
        elif b"te" in head.values and b"trailers" in tokens(head.values[b"te"]):
            headers += [(b"Connection", b"TE"), (b"TE", b"trailers")]
        first_line = head.method + b" " + head.target + b" HTTP/1.1"
        return write_head(first_line, headers), (visitor_address(visitor, port), scheme)


def _framing(head: RequestHead) -> Headers:
    """What frames the body: from what was understood, with the name as it was spelled."""
    if head.length is None:
        name, value = b"transfer-encoding", b"chunked"
    else:
        name, value = b"content-length", b"%d" % head.length
    if name not in head.values:
        return []
    return [(key, value) for key, _ in head.headers if key.lower() == name]
