"""The tunnels of a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.client.config import ClientConfig
from burrow.client.several import tunnel_requests
from burrow.client.tunnels import TunnelRequest
from burrow.errors import ConfigError
from burrow.options import check_keys, options_of
from burrow.protocols.elsewhere import who_has
from burrow.protocols.registry import kinds
from burrow.wording import shown

TABLE_KEYS = {"kind", "upstream", "name"}
"""What each tunnel's table may have; its kind's options are added."""

SETTINGS = frozenset(each.key for each in options_of(ClientConfig))
"""What the top of the file may have beside the tables."""


def check_settings(table: Mapping[str, Any], source: str) -> None:
    """@raise ConfigError: the top of a file has what it may not have."""
    for key in sorted(table):
        if key in TABLE_KEYS or who_has(key):
            raise ConfigError(f"{source}: {key} is of one tunnel: write it into its table, [tunnels.NAME]")
    check_keys(table, SETTINGS | {"tunnels"}, source)


def read_tunnels(table: Mapping[str, Any], source: str) -> dict[str, TunnelRequest]:
    """
    The tunnels of a configuration file's C{[tunnels.NAME]} tables, by NAME.

    The ports of a range are NAME-PORT each, and domains "NAME DOMAIN": see L{tunnel_requests}. C{name = "x"}
    asks for the public name x; without it NAME is asked for; C{name = ""} leaves the choice to the server.

    @raise ConfigError: a table is not one of a tunnel, or two ask for the same.
    """
    requests: dict[str, TunnelRequest] = {}
    names: dict[str, str] = {}
    ports: dict[int, str] = {}
    for label, entry in table.items():
        where = f"{source}: [tunnels.{label}]"
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} is no table: write [tunnels.{label}], and upstream = 3000 under it")
        read = _read_tunnel(label, entry, where)
        for request in read:
            port = request.options.get("port")
            if request.name is not None:
                before = names.setdefault(request.name.lower(), label)
                if before != label:
                    raise ConfigError(
                        f"{where}: [tunnels.{before}] has the name {request.name}; give it another"
                    )
            if port is not None:
                before = ports.setdefault(port, label)
                if before != label:
                    raise ConfigError(f"{where}: [tunnels.{before}] has the port {port}; give it another")
            requests[_label(label, request, len(read))] = request
    return requests


def _label(label: str, request: TunnelRequest, count: int) -> str:
    """What one of several tunnels of a table is called here."""
    if count == 1 or request.name == label:
        return label
    name = request.name or ""
    return f"{label} {name}" if "." in name else f"{label}-{request.upstream.port}"


def _read_tunnel(label: str, entry: dict[str, Any], where: str) -> list[TunnelRequest]:
    for key in sorted(entry):
        if key in SETTINGS:
            raise ConfigError(
                f"{where}: {key} is for all tunnels: write it at the top of the file, before the first table"
            )
    check_keys(entry, TABLE_KEYS | {each.key for kind in kinds().values() for each in kind.options}, where)
    if "upstream" not in entry:
        raise ConfigError(f"{where} has no upstream: write one, as in upstream = 3000")
    upstream = entry["upstream"]
    if isinstance(upstream, bool) or not isinstance(upstream, (str, int)):
        raise ConfigError(
            f'{where}: upstream = {shown(upstream)} is not possible: write a port or "HOST:PORT"'
        )
    for key in ("kind", "name"):
        if not isinstance(entry.get(key, ""), str):
            raise ConfigError(f"{where}: {key} = {shown(entry[key])} is not possible: write a text")
    try:
        name = None if entry.get("name") == "" else entry.get("name", label)
        given = {key: value for key, value in entry.items() if key not in TABLE_KEYS}
        return tunnel_requests(entry.get("kind", "http"), str(upstream), name, given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
