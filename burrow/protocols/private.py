"""
Private tunnels: no public host and no public port. Their visitors are other agents of the server.

The options are for every kind that declares them, as L{TunnelKind<burrow.protocols.kind.TunnelKind>} does.
The server goes by them: see L{burrow.server.private}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.errors import ConfigError
from burrow.protocols.base import Kind, Reach
from burrow.protocols.options import KindOption, kind_option
from burrow.values import parse_token_name

MAX_ALLOWED = 100
"""Names of tokens that one tunnel allows, at most: they are in its lease, which all nodes read."""

PRIVATE = kind_option(
    "private", "have no public URL: visitors come by `burrow connect NAME` on other machines", False
)
ALLOW_TOKEN = kind_option(
    "allow-token",
    "with --private: let the token of this name connect, too; may be given more than once (default: this "
    "agent's own token alone)",
    parse=parse_token_name,
    metavar="NAME",
    many=True,
)
PRIVACY: tuple[KindOption, ...] = (PRIVATE, ALLOW_TOKEN)
"""What a kind declares whose tunnels can be private."""

_PREFIX = "private-"


def check_privacy(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: the options do not go together."""
    if not options.get(PRIVATE.key):
        if options.get(ALLOW_TOKEN.key):
            raise ConfigError("--allow-token says who may use a private tunnel: add --private")
        return
    if options.get("port") is not None:
        raise ConfigError("a private tunnel has no public port: leave --port away, or --private")
    if len(options.get(ALLOW_TOKEN.key, ())) > MAX_ALLOWED:
        raise ConfigError(f"--allow-token is possible {MAX_ALLOWED} times: let several agents share a token")


def reach_of(kind: Kind, options: Mapping[str, Any]) -> Reach:
    """Where visitors reach a tunnel of a kind with these options."""
    reach: Reach = kind.reach
    return Reach.NOWHERE if PRIVATE in kind.options and options.get(PRIVATE.key) else reach


def kept_kind(kind: Kind, reach: Reach) -> str:
    """
    What reservations and leases call a tunnel's kind: a private one's has a prefix. So a node of an older
    release, which knows no such kind, does not serve it in public; and the same upstream has one name that
    the server chose for the public, and another for its private tunnel.
    """
    return f"{_PREFIX}{kind.name}" if reach is Reach.NOWHERE else str(kind.name)


def public_kind(kept: str) -> str | None:
    """The kind of a private tunnel, out of what L{kept_kind} returned; None for a public one."""
    return kept.removeprefix(_PREFIX) if kept.startswith(_PREFIX) else None
