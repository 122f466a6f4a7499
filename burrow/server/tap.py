"""C{twistd burrow-server}: the same service, options and files as C{burrow server}."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from burrow.clock import measure_by_ticks
from burrow.errors import BurrowError
from burrow.options import twistd_options
from burrow.server.config import ServerConfig
from burrow.server.reading import of_tunnels, server_config
from burrow.server.service import BurrowServer
from burrow.twistd import Stoppable, end_by, prepare_process, refuse

Options = twistd_options(ServerConfig, "[options]", of_tunnels)


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
