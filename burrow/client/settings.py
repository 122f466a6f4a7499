"""An agent's settings: from flags, the environment, and the files in a person's configuration folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burrow.client.config import ClientConfig
from burrow.client.identity import agent_id
from burrow.client.secret import read_secret
from burrow.errors import ConfigError
from burrow.folders import config_folder, state_folder
from burrow.link.address import Credentials, ServerAddress
from burrow.options import load, options_of, read_toml
from burrow.wording import shown

if TYPE_CHECKING:
    from burrow.client.tunnels import TunnelRequest

CONFIG_FILE = "config.toml"
"""A person's settings: server, token, ca-file, and [tunnels.NAME] tables."""

CREDENTIALS_FILE = "credentials.toml"
"""What C{burrow login} wrote: server, token, ca-file. Readable by its owner alone."""


def client_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str], config_file: Path | None
) -> tuple[ClientConfig, dict[str, TunnelRequest]]:
    """
    The agent's configuration, from flags, environment and files, and the tunnels of the configuration file.

    @param config_file: None for L{CONFIG_FILE} in the configuration folder, which need not exist.
    @raise ConfigError: a value is wrong, a file cannot be read, or a token and a token file are given in one
        place.
    """
    table: dict[str, Any] = {}
    of_login: dict[str, Any] = {}
    credentials = config_folder(environ) / CREDENTIALS_FILE
    if credentials.exists():
        of_login = read_toml(credentials)
        load(ClientConfig, {}, {}, of_login, str(credentials))  # so that an error in it names this file
        table.update(of_login)
    path = config_file or config_folder(environ) / CONFIG_FILE
    if config_file is not None or path.exists():
        table.update(read_toml(path))
    tunnels = table.pop("tunnels", {})
    if not isinstance(tunnels, dict):
        raise ConfigError(f"{path}: tunnels = {shown(tunnels)} is not possible: write [tunnels.NAME] tables")
    if not table.keys() <= {option.key for option in options_of(ClientConfig)}:
        from burrow.client.tunnels_file import check_settings  # loads the kinds of tunnels

        check_settings(table, str(path))
    config = load(ClientConfig, flags, environ, table, str(path))
    variables = {key: environ.get(f"BURROW_{key.upper()}") for key in ("token", "token_file")}
    of_file = {key: value for key, value in table.items() if of_login.get(key) != value}
    for given, where in ((flags, "the command line"), (variables, "the environment"), (of_file, str(path))):
        has_token, has_file = (
            bool(given.get(key) or given.get(key.replace("_", "-"))) for key in ("token", "token_file")
        )
        if has_token and has_file:
            raise ConfigError(f"{where} has a token and a token file: give one of both")
        if has_token or has_file:
            break
    else:
        has_file = "token-file" in table and "token" not in table
    if has_file and config.token_file is not None:
        config = replace(config, token=read_secret(config.token_file, "token"))
    if not tunnels:
        return config, {}
    from burrow.client.tunnels_file import read_tunnels  # loads the kinds of tunnels

    return config, read_tunnels(tunnels, str(path))


def chosen(tunnels: dict[str, TunnelRequest], names: Sequence[str]) -> list[TunnelRequest]:
    """
    The tunnels of these names, or all if there are none.

    @raise ConfigError: there is no such tunnel.
    """
    unknown = [name for name in names if name not in tunnels]
    if unknown:
        known = ", ".join(tunnels) or "none"
        raise ConfigError(f"the configuration file has no tunnel {', '.join(unknown)}; it has {known}")
    return [tunnels[name] for name in names or tunnels]


def credentials_of(config: ClientConfig, environ: Mapping[str, str]) -> Credentials:
    """@raise ConfigError: there is no server or no token, or the server's URL is none."""
    return replace(looking_credentials(config), agent=agent_id(state_folder(environ)))


def looking_credentials(config: ClientConfig) -> Credentials:
    """The credentials of who only looks: no agent. @raise ConfigError: see L{credentials_of}."""
    if not config.server:
        raise ConfigError("which server? Run `burrow login URL -` once, or give --server (or BURROW_SERVER)")
    address = ServerAddress.parse(config.server)
    if not config.token:
        raise ConfigError(
            "which token? Run `burrow login URL -` once, or give --token-file (or BURROW_TOKEN)"
        )
    if not address.private and not config.insecure:
        raise ConfigError(
            f"whoever is between here and {address} could read the token: use https://, or add --insecure"
        )
    return Credentials(address, config.token, "", config.ca_file)
