"""
Several ports by one command or table: C{burrow tcp 5000-5010 --port 20000-20010} is eleven tunnels, each of
one port, since a name has one port at the server. Which of them is open does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.addresses import parse_ports
from burrow.client.tunnels import TunnelRequest, find_kind, several_ports, tunnel_request
from burrow.errors import ConfigError
from burrow.protocols.kind import PORT
from burrow.wording import FILE, Written, count_of, shown

MAX_PORTS = 100
"""Ports of one range, at most."""


def tunnel_requests(
    kind_name: str, upstream: str, name: str | None, given: Mapping[str, Any], written: Written = FILE
) -> list[TunnelRequest]:
    """
    See L{tunnel_request}: one for each port of an upstream that is a range.

    A name that is given is followed by the upstream's port, as in C{ftp-5000}; else the server chooses all.

    @raise ConfigError: see L{tunnel_request}; or the two ranges do not go together.
    """
    option = written.option(PORT.key)
    wanted = given.get(PORT.key)
    several = several_ports(find_kind(kind_name, written), upstream, given)
    if several is None:
        return [tunnel_request(kind_name, upstream, name, given, written)]
    if several.services is None:
        raise ConfigError(
            f"{option} {wanted} is several ports: give as many of the service's, as in "
            f"burrow {kind_name} {wanted} {PORT.flag} {wanted}"
        )
    services = _ports(several.services, "the upstream")
    publics: list[int | None] = [None] * len(services)
    if wanted is not None:
        publics = list(_ports(str(wanted), option))
        if len(publics) != len(services):
            raise ConfigError(
                f"{option} {wanted} has {count_of(len(publics), 'port')} and {shown(upstream)} has "
                f"{len(services)}: write as many, or leave the public ones to the server"
            )
    return [
        tunnel_request(
            kind_name,
            f"{several.host}{service}",
            None if name is None else f"{name}-{service}",
            {**given, PORT.key: public},
            written,
        )
        for service, public in zip(services, publics, strict=True)
    ]


def _ports(text: str, what: str) -> range:
    try:
        ports = parse_ports(text)
    except ValueError as error:
        raise ConfigError(f"{what} {text} is not possible: {error}") from error
    if len(ports) > MAX_PORTS:
        raise ConfigError(f"{what} {text} has {len(ports)} ports: {MAX_PORTS} are possible")
    return ports
