"""Which visitors a tunnel's port is for, by their addresses: the options --allow and --deny."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.addresses import Network, parse_address, parse_network
from burrow.errors import ConfigError
from burrow.protocols.options import kind_option

MAX_NETWORKS = 100
"""Networks of one tunnel, at most, of --allow and --deny together: each visitor is compared with all."""

ALLOW = kind_option(
    "allow",
    "an address or network whose visitors may connect, as in 192.0.2.0/24; may be repeated (default: all)",
    parse=parse_network,
    metavar="CIDR",
    many=True,
)
DENY = kind_option(
    "deny",
    "an address or network whose visitors may not connect, even if --allow has it; may be repeated",
    parse=parse_network,
    metavar="CIDR",
    many=True,
)


class Admission:
    """
    Decides by address.

    @param options: the values of a kind's options, by key.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._allow: tuple[Network, ...] = options.get("allow", ())
        self._deny: tuple[Network, ...] = options.get("deny", ())

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """@raise ConfigError: the two options do not go together."""
        allow, deny = options.get("allow", ()), options.get("deny", ())
        if len(allow) + len(deny) > MAX_NETWORKS:
            raise ConfigError(
                f"--allow and --deny have {len(allow) + len(deny)} networks: {MAX_NETWORKS} are possible; "
                "write larger networks"
            )
        for network in allow:
            for denied in deny:
                if network.version == denied.version and network.subnet_of(denied):
                    raise ConfigError(
                        f"--deny {denied} refuses all of --allow {network}: leave one of them out"
                    )

    def admits(self, host: str) -> bool:
        """
        Whether a visitor may connect.

        @param host: its address, of IPv4 perhaps mapped into IPv6 (RFC 4291 section 2.5.5.2).
        """
        if not self._allow and not self._deny:
            return True
        address = parse_address(host)
        if address is None:  # nothing says that it may
            return not self._allow
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)
