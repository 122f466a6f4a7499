"""What an agent is asked to keep open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from burrow.config import parse_path
from burrow.errors import ConfigError
from burrow.protocols.base import Kind
from burrow.protocols.registry import kinds
from burrow.protocols.upstream import Upstream, UpstreamTLS


@dataclass(frozen=True)
class TunnelRequest:
    """
    One tunnel to open.

    @ivar kind: an L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>} provider.
    @ivar upstream: what its C{parse_upstream} returned.
    @ivar name: the name wanted; None for the server's choice.
    @ivar options: the kind's options, for the server.
    """

    kind: Kind
    upstream: Any
    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)


def find_kind(name: str) -> Kind:
    """@raise ConfigError: there is no kind of that name here."""
    kind = kinds().get(name)
    if kind is None:
        raise ConfigError(
            f"there are no tunnels of kind {name!r}: this Burrow knows {', '.join(sorted(kinds()))}"
        )
    return kind


def tunnel_request(
    kind_name: str,
    upstream: str,
    name: str | None,
    options: dict[str, Any],
    tls: UpstreamTLS = UpstreamTLS(),  # noqa: B008
) -> TunnelRequest:
    """@raise ConfigError: the kind, the upstream, or what to believe of its certificate is not possible."""
    kind = find_kind(kind_name)
    parsed = kind.parse_upstream(upstream)
    if isinstance(parsed, Upstream):
        parsed = parsed.believing(tls)
    elif tls != UpstreamTLS():
        raise ConfigError(f"tunnels of kind {kind_name!r} have no https:// upstreams")
    return TunnelRequest(kind, parsed, name, options)


_KEYS = {"kind", "upstream", "name", "port", "upstream-ca", "upstream-insecure", "upstream-name"}


def _tls(entry: Mapping[str, Any]) -> UpstreamTLS:
    """@raise ConfigError: a value is of another type than it must be."""
    ca_file, name = entry.get("upstream-ca", ""), entry.get("upstream-name", "")
    insecure = entry.get("upstream-insecure", False)
    if not isinstance(ca_file, str):
        raise ConfigError('upstream-ca is no path: write one, as in upstream-ca = "ca.pem"')
    if not isinstance(name, str):
        raise ConfigError('upstream-name is no name: write one, as in upstream-name = "app.example.com"')
    if not isinstance(insecure, bool):
        raise ConfigError("upstream-insecure is true or false, without quotes")
    return UpstreamTLS(parse_path(ca_file) if ca_file else None, insecure, name)


def read_tunnels(table: Mapping[str, Any], source: str) -> dict[str, TunnelRequest]:
    """
    The tunnels of a configuration file's C{[tunnels.NAME]} tables, by NAME.

    C{name = "x"} asks for the public name x; without it NAME is asked for; C{name = ""} leaves the choice
    to the server.

    @raise ConfigError: a table is not one of a tunnel.
    """
    requests: dict[str, TunnelRequest] = {}
    for label, entry in table.items():
        where = f"[tunnels.{label}] in {source}"
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} is no table")
        unknown = set(entry) - _KEYS
        if unknown:
            raise ConfigError(f"{where} has {', '.join(sorted(unknown))}, which nobody knows")
        if "upstream" not in entry:
            raise ConfigError(f"{where} has no upstream: write one, as in upstream = 3000")
        options = {"port": entry["port"]} if "port" in entry else {}
        wanted = str(entry.get("name", label)) or None
        try:
            requests[label] = tunnel_request(
                str(entry.get("kind", "http")), str(entry["upstream"]), wanted, options, _tls(entry)
            )
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    return requests
