"""Reads a server's configuration, without the server: commands that only need the one start sooner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burrow.errors import ConfigError
from burrow.options import check_keys, load, options_of, read_toml
from burrow.server.config import ServerConfig


def of_tunnels(key: str, spelled: str) -> str:
    """
    The sentence that refuses an option which is one of tunnels, and not of the server; empty for others.

    @param spelled: as it was given.
    """
    from burrow.protocols.elsewhere import who_has  # loads the kinds of tunnels

    kinds = who_has(key)
    if not kinds:
        return ""
    kind = "http" if "http" in kinds else kinds[0]
    return (
        f"{spelled} is an option of tunnels, which the agent opens: give it to that, as in "
        f"burrow {kind} UPSTREAM --{key}, or in [tunnels.NAME] of the agent's file"
    )


def server_config(
    flags: Mapping[str, Any], config_file: str | None, environ: Mapping[str, str] = os.environ
) -> ServerConfig:
    """Read the configuration from flags, environment and file. @raise ConfigError: it is not valid."""
    table: dict[str, Any] = {}
    if config_file:
        table = read_toml(Path(config_file))
        if isinstance(table.get("server"), dict):
            check_keys(table, ("server",), config_file)
            table, config_file = table["server"], f"{config_file}: [server]"
    known = {each.key for each in options_of(ServerConfig)}
    for key in sorted(table.keys() - known):
        if sentence := of_tunnels(key, key):
            raise ConfigError(f"{config_file}: {sentence}")
    config = load(ServerConfig, flags, environ, table, config_file or "")
    if config.state_dir.exists() and not config.state_dir.is_dir():
        raise ConfigError(f"the state folder {config.state_dir} is no folder: give another --state DIR")
    return config
