"""C{twistd burrow-server}: the same service, options and files as C{burrow server}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from burrow.clock import measure_by_ticks
from burrow.config import ServerConfig, load, read_toml, twistd_options
from burrow.errors import BurrowError
from burrow.server.service import BurrowServer

Options = twistd_options(ServerConfig, "[options]")


def server_config(flags: dict[str, Any], config_file: str | None) -> ServerConfig:
    """Flags, environment and file, put together. @raise ConfigError: they do not fit."""
    table: dict[str, Any] = {}
    if config_file:
        table = read_toml(Path(config_file))
        table = table.get("server", table)
    return load(ServerConfig, flags, os.environ, table, config_file or "")


def makeService(options: Any) -> IService:
    """What twistd calls."""
    from twisted.internet import reactor

    measure_by_ticks(reactor)
    try:
        server = BurrowServer(reactor, server_config(options.flags_given(), options["config"]))
    except BurrowError as error:
        raise usage.UsageError(str(error)) from error

    def failed(reason: Failure) -> None:
        Logger().critical("{error}", error=reason.getErrorMessage())
        reactor.stop()

    server.ready.addErrback(failed)
    return server
