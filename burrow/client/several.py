"""The tunnels that one command or table stands for: one for each port of a range, or for each domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.client import port_ranges
from burrow.client.tunnels import TunnelRequest, find_kind, tunnel_request
from burrow.errors import ConfigError
from burrow.protocols.domain import DOMAIN, MAX_DOMAINS
from burrow.protocols.private import PRIVATE
from burrow.wording import FILE, Written


def tunnel_requests(
    kind_name: str, upstream: str, name: str | None, given: Mapping[str, Any], written: Written = FILE
) -> list[TunnelRequest]:
    """
    See L{tunnel_request}: one for the name, if there is one, and one for each domain; or see
    L{port_ranges.tunnel_requests}.

    @raise ConfigError: see there; or there are too many domains.
    """
    told = given.get(DOMAIN.key)
    if not told or DOMAIN not in find_kind(kind_name, written).options:
        return port_ranges.tunnel_requests(kind_name, upstream, name, given, written)
    domains = DOMAIN.value(told, written.option(DOMAIN.key), written.equals)
    if len(domains) > MAX_DOMAINS:
        raise ConfigError(f"{len(domains)} domains are too many for one tunnel: {MAX_DOMAINS} are possible")
    given = {key: value for key, value in given.items() if key != DOMAIN.key}
    if (private := given.get(PRIVATE.key)) and PRIVATE.value(private, PRIVATE.key):
        raise ConfigError(
            f"{written.option(DOMAIN.key)} is for visitors of a public URL, which a private tunnel has not: "
            "leave one of both out"
        )
    names = dict.fromkeys([*([] if name is None else [name]), *domains])
    return [tunnel_request(kind_name, upstream, each, given, written) for each in names]
