"""What an agent is asked to keep open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from burrow.errors import ConfigError
from burrow.options import check_keys
from burrow.protocols.base import Kind
from burrow.protocols.options import read_options, sent_options
from burrow.protocols.registry import broken, kinds
from burrow.protocols.tcp import AsKind
from burrow.values import parse_name
from burrow.wording import did_you_mean, shown


@dataclass(frozen=True)
class TunnelRequest:
    """
    One tunnel to open.

    @ivar kind: an L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>} provider.
    @ivar upstream: what its C{parse_upstream} returned.
    @ivar name: the name wanted; None for the server's choice.
    @ivar options: the values of the kind's options, by key; those that are missing have their defaults.
    """

    kind: Kind
    upstream: Any
    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def sent(self) -> dict[str, Any]:
        """The options that the server is told, as JSON has them."""
        return sent_options(self.kind.options, self.options)


def find_kind(name: str) -> Kind:
    """@raise ConfigError: there is no kind of that name here."""
    kind = kinds().get(name)
    if kind is None:
        raise ConfigError(
            f"there are no tunnels of kind {shown(name)}: this Burrow knows {', '.join(sorted(kinds()))}"
            f"{did_you_mean(name, kinds())}{''.join(f'; {one}' for one in broken())}; where only the "
            f'server has the plugin for them, write kind = "tcp" and as = {shown(name)}'
        )
    return kind


MAX_UPSTREAM, MAX_NAME = 300, 255
"""Characters of an upstream's text, and of a name, at most: servers refuse longer ones."""


def tunnel_request(
    kind_name: str,
    upstream: str,
    name: str | None,
    given: Mapping[str, Any],
    flags: bool = False,
) -> TunnelRequest:
    """
    @param given: options of the kind, by key: texts, or values of TOML.
    @param flags: whether errors name options as on the command line, and not as in files.
    @raise ConfigError: the kind, the upstream, the name or an option is not possible.
    """
    kind = find_kind(kind_name)
    if len(upstream) > MAX_UPSTREAM:
        raise ConfigError(
            f"the upstream {shown(upstream)} is too long: servers take {MAX_UPSTREAM} characters"
        )
    if not upstream.isprintable():
        raise ConfigError(f"{shown(upstream)} has characters that are not for an upstream")
    # The server decides which names are possible. No server takes an empty, a long or an unprintable one.
    if name is not None and not (0 < len(name) <= MAX_NAME and name.isprintable()):
        try:
            parse_name(name)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    known = {each.key for each in kind.options}
    for key in given:
        if key not in known:
            raise ConfigError(
                f"tunnels of kind {kind_name} have no option {key}{did_you_mean(key, known)}: take it away"
            )
    options = read_options(kind.options, given, flags)
    kind.check_options(options)
    parsed = kind.parse_upstream(upstream, options)
    if options.get("as"):
        kind = AsKind(options["as"])
    elif options.get("end-to-end"):
        from burrow.client.endtoend.kind import EndToEndKind, authority_of  # others need no cryptography

        kind = EndToEndKind(authority_of(options))
    return TunnelRequest(kind, parsed, name, options)


_KEYS = {"kind", "upstream", "name"}
"""What each tunnel's table may have; its kind's options are added."""


def read_tunnels(table: Mapping[str, Any], source: str) -> dict[str, TunnelRequest]:
    """
    The tunnels of a configuration file's C{[tunnels.NAME]} tables, by NAME.

    C{name = "x"} asks for the public name x; without it NAME is asked for; C{name = ""} leaves the choice
    to the server.

    @raise ConfigError: a table is not one of a tunnel, or two ask for the same.
    """
    requests: dict[str, TunnelRequest] = {}
    names: dict[str, str] = {}
    ports: dict[int, str] = {}
    for label, entry in table.items():
        where = f"{source}: [tunnels.{label}]"
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} is no table: write [tunnels.{label}], and upstream = 3000 under it")
        request = requests[label] = _read_tunnel(label, entry, where)
        if request.name is not None:
            before = names.setdefault(request.name.lower(), label)
            if before != label:
                raise ConfigError(f"{where}: [tunnels.{before}] has the name {request.name}; give it another")
        port = request.options.get("port")
        if port is not None:
            before = ports.setdefault(port, label)
            if before != label:
                raise ConfigError(f"{where}: [tunnels.{before}] has the port {port}; give it another")
    return requests


def _read_tunnel(label: str, entry: dict[str, Any], where: str) -> TunnelRequest:
    check_keys(entry, _KEYS | {each.key for kind in kinds().values() for each in kind.options}, where)
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
        given = {key: value for key, value in entry.items() if key not in _KEYS}
        return tunnel_request(entry.get("kind", "http"), str(upstream), name, given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
