"""C{twistd burrow-server}: the same service, options and files as C{burrow server}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService

from burrow.clock import measure_by_ticks
from burrow.errors import BurrowError, ConfigError
from burrow.options import check_keys, load, read_toml, twistd_options
from burrow.server.config import ServerConfig
from burrow.server.service import BurrowServer
from burrow.twistd import Stoppable, end_by, prepare_process, refuse

Options = twistd_options(ServerConfig, "[options]")


def server_config(flags: dict[str, Any], config_file: str | None) -> ServerConfig:
    """Read the configuration from flags, environment and file. @raise ConfigError: it is not valid."""
    table: dict[str, Any] = {}
    if config_file:
        table = read_toml(Path(config_file))
        if isinstance(table.get("server"), dict):
            check_keys(table, ("server",), config_file)
            table, config_file = table["server"], f"{config_file}: [server]"
    config = load(ServerConfig, flags, os.environ, table, config_file or "")
    if config.state_dir.exists() and not config.state_dir.is_dir():
        raise ConfigError(f"the state folder {config.state_dir} is no folder: give another --state DIR")
    return config


def makeService(options: Any) -> IService:
    """Called by twistd: makes the service."""
    from twisted.internet import reactor

    measure_by_ticks(reactor)
    prepare_process()
    try:
        server = BurrowServer(reactor, server_config(options.flags_given(), options["config"]))
    except BurrowError as error:
        raise refuse(error) from error
    server.ready.addErrback(lambda reason: end_by(reactor, reason))
    return Stoppable(reactor, server)
