"""
Hosts, ports, listen addresses and networks: how they are written, and parsers of what people write.

A parser takes a text and returns the value, or raises a L{ValueError} whose text says what to write instead.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port of a URL that has none, by scheme."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def bracketed(host: str) -> str:
    """A host as URLs have it: an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def authority(host: str, port: int) -> str:
    """C{HOST:PORT}, with an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"


def is_localhost(name: str) -> bool:
    """Whether a name, in lower case, is the loopback's own (RFC 6761 section 6.3)."""
    return name == "localhost" or name.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address, is this machine's own loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return is_localhost(host.lower())


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """
    Where a port listens.

    @ivar host: a name or an address, IPv6 without brackets; empty for all interfaces.
    @ivar port: 0 for one that the system chooses.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return authority(self.host, self.port)


def parse_listen(text: str) -> ListenAddress | Literal["off"]:
    """C{HOST:PORT}, C{:PORT} for all interfaces, C{off} for nowhere."""
    if text == "off":
        return "off"
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise ValueError("write HOST:PORT, [IPv6]:PORT, :PORT for all interfaces, or off")
    return ListenAddress(host, int(port))


def parse_ip(text: str) -> str:
    """An IP address, as it is usually written."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("write an IP address") from None


def parse_server(text: str) -> ListenAddress:
    """C{IP} or C{IP:PORT} of a DNS server."""
    host, colon, port = text.rpartition(":")
    try:
        return ListenAddress(parse_ip(text), 53)
    except ValueError:
        pass
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError("write an IP address, with a port behind it if that is not 53")
    return ListenAddress(parse_ip(host), int(port))


def parse_port(text: str) -> int:
    """A port, from 1."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError("write a port, 1 to 65535")
    return int(text)


def parse_ports(text: str) -> range:
    """C{FIRST-LAST}, or one port."""
    first, _, last = text.partition("-")
    try:
        ports = range(parse_port(first), parse_port(last or first) + 1)
    except ValueError:
        raise ValueError("write FIRST-LAST, both from 1 to 65535") from None
    if not ports:
        raise ValueError(f"the lower port comes first: write {last}-{first}")
    return ports


def parse_network(text: str) -> Network:
    """
    An address or a network in CIDR form. Of IPv4 ones that are mapped into IPv6 (RFC 4291 section 2.5.5.2),
    the IPv4 network.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write an address or a network, as in 10.0.0.0/8") from None
    address = ipaddress.ip_address(text.partition("/")[0])
    if address != network.network_address:
        raise ValueError(f"write {network} for the network, or {address} for the address alone")
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def plain_address(host: str) -> str:
    """
    An address as people write it: an IPv4 one in its own form where a socket for both shows it as
    C{::ffff:192.0.2.1} (RFC 4291 section 2.5.5.2), and none with a zone.
    """
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    return host.partition("%")[0]


def parse_address(host: str) -> Address | None:
    """The address that a text is, an IPv4 one also if it is mapped into IPv6; None for anything else."""
    try:
        address = ipaddress.ip_address(plain_address(host))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_in(host: str, networks: Iterable[Network]) -> bool:
    """Whether a host is an address of one of some networks."""
    address = parse_address(host)
    return address is not None and any(address in network for network in networks)


def customer(host: str) -> str:
    """
    What stands for all addresses of one customer of a provider: an IPv4 address, and of an IPv6 one its /64,
    the least that is given out. A host that is no address stands for itself.
    """
    address = parse_address(host)
    if address is None:
        return plain_address(host)
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
