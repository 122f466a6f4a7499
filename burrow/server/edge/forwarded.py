"""
A request's head as the upstream gets it: what is understood of it, and what the edge knows of its visitor.

The edge sets X-Forwarded-For, -Proto, -Host and -Port, Forwarded (RFC 7239) and Via (RFC 9110 section 7.6.3).
What a visitor sent of the kind is dropped, in any spelling that a CGI-like upstream would read as the same.
A configured proxy in front is believed, and extended, in the fields that the configuration names. The others
are dropped: the proxy may set them, or pass on what a visitor sent. X-Request-Id is the last field.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from burrow.addresses import DEFAULT_PORTS, Network, is_in, plain_address
from burrow.errors import ConfigError
from burrow.http.fields import canonical, for_upstream, is_forwarding, write_head
from burrow.http.headers import Fields, Headers, tokens
from burrow.http.request_head import RequestHead
from burrow.mux.control import visitor_address
from burrow.policy.base import Visit, changed, may_be_changed
from burrow.server.config import TRUSTED_HEADERS
from burrow.traffic.request_id import REQUEST_ID, sane

_PORTS = {scheme: b"%d" % port for scheme, port in DEFAULT_PORTS.items()}
_EXTENDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded")
_NODE = rb'(?:[!#$%&\'*+.^_`|~0-9A-Za-z-]+|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")'
_PAIR = rb"[A-Za-z-]+=" + _NODE
_ELEMENT = rb"[ \t]*(?:" + _PAIR + rb"(?:[ \t]*;[ \t]*" + _PAIR + rb")*[ \t]*)?"
_FORWARDED = re.compile(_ELEMENT + rb"(?:," + _ELEMENT + rb")*")
_PUBLIC = (
    b"x-forwarded-proto",
    b"x-forwarded-scheme",
    b"x-forwarded-ssl",
    b"x-forwarded-host",
    b"x-forwarded-port",
)
_PARTS = re.compile(rb"(,)|(" + _PAIR + rb")")
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


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
    Whom the edge believes, and what it calls itself.

    @param trusted: the networks of the proxies in front that are believed.
    @param believed: names of the fields that they are believed in.
    @param pseudonym: what this server calls itself in Via: the same on all its nodes, no other server's.
    @raise ConfigError: a name is none of a field that proxies set.
    """

    def __init__(
        self,
        trusted: Iterable[Network] = (),
        believed: Iterable[str] = TRUSTED_HEADERS,
        pseudonym: str = "burrow",
    ) -> None:
        self.pseudonym = pseudonym
        self._trusted = list(trusted)
        self._believed = frozenset(canonical(name.encode()) for name in believed)
        for name in self._believed:
            if not is_forwarding(name):
                raise ConfigError(
                    f"--trusted-header {name.decode('latin-1')} is no field that proxies set, as "
                    "X-Forwarded-Host, Forwarded or X-Real-IP are: it is passed on anyway, or never"
                )

    def trusts(self, address: str) -> bool:
        """Whether an address is one of a proxy in front."""
        return bool(self._trusted) and is_in(address, self._trusted)

    def told(self, headers: Headers) -> dict[bytes, Fields]:
        """The fields that a trusted proxy is believed in, by name."""
        return {name: headers.named(name) for name in headers if name in self._believed}

    def looped(self, headers: Headers) -> bool:
        """Whether a request passed this server before (RFC 9110 section 7.6.3)."""
        own = self.pseudonym.lower().encode()
        return any(own in via.split() for via in headers.tokens(b"via"))

    def visitor(self, chain: list[str]) -> str:
        """
        The last address of a chain of hops that no proxy of ours is.

        What a proxy of ours says of the hop before it is believed if it is an address; a word like "unknown"
        ends what is known.
        """
        visitor = chain[-1]
        for hop in reversed(chain[:-1]):
            if not self.trusts(visitor):
                break
            try:
                address = ipaddress.ip_address(_without_port(hop))
            except ValueError:
                break
            visitor = str(getattr(address, "ipv4_mapped", None) or address)
        return visitor


class Added(NamedTuple):
    """
    What the edge adds to a request.

    @ivar fields: for the upstream. @ivar visitor: the visitor's address, as far as it can be believed.
    @ivar scheme: the visitor's, likewise.
    """

    fields: Fields
    visitor: str
    scheme: str


class Rewritten(NamedTuple):
    """
    A request's head, written anew for the upstream.

    @ivar start: its bytes, up to the value of X-Request-Id, its last field, which is written with two line
        ends behind it.
    @ivar address: the visitor's address, C{host:port}, and scheme.
    @ivar request_id: the id that it came with; empty if it needs one.
    """

    start: bytes
    address: tuple[str, str]
    request_id: bytes


class Hop:
    """
    The way from a peer to the edge: one connection, on which all requests get the same fields unless the peer
    is a trusted proxy.

    @param peer: the address that connected. @param scheme: "http" or "https".
    """

    def __init__(self, forwarding: Forwarding, peer: Any, scheme: str) -> None:
        self._forwarding = forwarding
        self._host = plain_address(getattr(peer, "host", None) or "unknown")
        self._port: int = getattr(peer, "port", 0)
        self._scheme = scheme
        self._trusted = forwarding.trusts(self._host)
        self._authority: bytes | None = None
        self._added = Added([], "", "")
        self._address = ("", "")

    def rewrite(self, head: RequestHead, visit: Visit | None = None) -> Rewritten:
        """
        Write a request's head anew for the upstream.

        @param visit: what the tunnel's policy changed of it.
        """
        headers = head.headers
        if self._trusted or head.authority != self._authority:
            self._authority = head.authority
            self._added = self.added(headers, head.authority)
            self._address = visitor_address(self._added.visitor, self._port), self._added.scheme
        passing = for_upstream(headers)
        if head.version == "1.0" and b"expect" in headers:
            passing = [pair for pair in passing if pair[0].lower() != b"expect"]
        if head.max_forwards is not None:
            left = b"%d" % max(head.max_forwards - 1, 0)
            passing = [(name, left if name.lower() == b"max-forwards" else value) for name, value in passing]
        host, target, said = head.authority, head.target, self._added.fields
        if visit is not None:
            host, target = visit.host, visit.target
            said = said if visit.forwards else of_visitor_alone(said)
            passing = changed(passing, visit.on_request, may_be_changed) + visit.identity
        fields = [(b"Host", host), *passing, *said]
        fields.append((b"Via", f"{head.version} {self._forwarding.pseudonym}".encode()))
        # What frames the body is written from what was understood, with the name as it was spelled.
        if head.length is None:
            fields += [(name, b"chunked") for name, _ in headers.named(b"transfer-encoding")]
        elif b"content-length" in headers:
            fields += [(name, b"%d" % head.length) for name, _ in headers.named(b"content-length")]
        if head.upgrade:
            fields += [(b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade)]
        elif b"te" in headers and b"trailers" in headers.tokens(b"te"):
            fields += [(b"Connection", b"TE"), (b"TE", b"trailers")]
        fields.append((REQUEST_ID, b""))
        data = write_head(b"%b %b HTTP/1.1" % (head.method, target), fields)
        return Rewritten(data[: -len(b"\r\n\r\n")], self._address, sane(headers.get(b"x-request-id", [])))

    def added(self, headers: Headers, authority: bytes) -> Added:
        """
        What the edge says of the visitor.

        @param headers: those that came. @param authority: the Host field's value.
        """
        told = self._forwarding.told(headers) if self._trusted else {}
        chain, host, port, forwarded, scheme = [self._host], authority, b"", [], self._scheme
        fields: Fields = []
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
                fields += others
        forwarded.append(_element(self._host, scheme, authority))
        fields += [
            (b"X-Forwarded-For", ", ".join(chain).encode("latin-1")),
            (b"X-Forwarded-Proto", scheme.encode()),
            (b"X-Forwarded-Host", host),
            (b"X-Forwarded-Port", port or _port(authority, scheme)),
            (b"Forwarded", b", ".join(forwarded)),
        ]
        return Added(fields, self._forwarding.visitor(chain), scheme)


def of_visitor_alone(fields: Fields) -> Fields:
    """
    What the edge adds, without what tells the public host and the scheme: C{Forwarded} keeps its C{for}, and
    X-Forwarded-For stays, since a visitor must not pass for somebody at the upstream's own machine.
    """
    kept: Fields = []
    for name, value in fields:
        key = canonical(name)
        if key == b"forwarded":
            value = _without_public(value)
        if key not in _PUBLIC:
            kept.append((name, value))
    return kept


def _without_public(forwarded: bytes) -> bytes:
    """A value of Forwarded without the parameters C{host} and C{proto} of its elements."""
    elements: list[list[bytes]] = [[]]
    for comma, pair in _PARTS.findall(forwarded):
        if comma:
            elements.append([])
        elif pair.partition(b"=")[0].lower() not in (b"host", b"proto"):
            elements[-1].append(pair)
    return b", ".join(b";".join(pairs) for pairs in elements if pairs)


def _element(peer: str, scheme: str, authority: bytes) -> bytes:
    """What Forwarded says of the last hop."""
    node = f"[{peer}]" if ":" in peer else peer
    element = f"for={_quoted(node)};proto={scheme}".encode()
    if authority:
        element += b";host=" + _quoted(authority.decode("latin-1")).encode("latin-1")
    return element
