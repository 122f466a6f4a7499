"""C{burrow server}: as parent, as worker, or in one process where sockets cannot be inherited."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from twisted.internet.defer import Deferred

from burrow.cli.parsing import typed
from burrow.cli.run import complain, run, say
from burrow.cli.store import read_config
from burrow.errors import ConfigError
from burrow.hangup import on_hangup
from burrow.options import add_arguments, options_of
from burrow.server.admin import API_PATH
from burrow.server.checking import check_server, without_effect
from burrow.server.config import ServerConfig
from burrow.server.reading import of_tunnels
from burrow.supervisor.pipe import Inherited
from burrow.supervisor.reload import reload_server
from burrow.values import parse_path


def add_server(commands: Any) -> None:
    """C{burrow server [reload]}."""
    parser = commands.add_parser(
        "server",
        help="run a server, or replace a running one's processes",
        description="Run a Burrow server: public URLs for its agents' services. `burrow server reload`, or "
        "SIGHUP, starts new processes, with the code and the configuration of now, and lets the old ones end "
        "when nothing runs on them any more: no request fails and no download is cut.",
    )
    parser.add_argument(
        "action", nargs="?", choices=("reload",), help="replace the processes of the server that runs"
    )
    add_arguments(parser, ServerConfig)
    parser.add_argument(
        "--config",
        type=typed(parse_path),
        metavar="FILE",
        help="a TOML file with these options, without the dashes",
    )
    parser.instead = _of_agents
    parser.set_defaults(run=serve)


def _of_agents(flag: str) -> str:
    from burrow.client.config import ClientConfig

    key = flag.removeprefix("--")
    if key in [each.key for each in options_of(ClientConfig)]:
        return f"{flag} is an option of agents: give it to burrow http, burrow start and the like"
    return of_tunnels(key, flag)


def serve(arguments: argparse.Namespace) -> int:
    """C{burrow server [reload]}."""
    config = read_config(arguments)
    inherited = Inherited.take(os.environ)
    if inherited is None and not arguments.action:
        check_server(config)
        for text in without_effect(config):
            complain(f"warning: {text}")
    if os.name != "posix":
        if config.workers > 1 or arguments.action:
            raise ConfigError(
                "workers and reload need a system with inherited sockets: Linux, macOS or a BSD"
            )
        return _serve_alone(config)
    if arguments.action == "reload":
        reload_server(config.state_dir)
        print("The server's processes are replaced")
        return 0
    if inherited is not None:
        from burrow.supervisor.worker import work

        # A terminal sends Ctrl-C to its process group: only the parent gets it, and tells the workers.
        os.setpgrp()
        return run(
            lambda reactor: work(reactor, config, inherited, _greeting),
            log_level=config.log_level,
            log_format=config.log_format,
            worker=True,
        )
    return _supervise(arguments, config)


def _supervise(arguments: argparse.Namespace, config: ServerConfig) -> int:
    """Run the parent."""
    # Here, as in the other functions: most commands need no server, whose modules take half a second to load.
    from burrow.supervisor.parent import Supervisor

    def read() -> ServerConfig:
        again = read_config(arguments)
        check_server(again)
        return again

    async def main(reactor: Any) -> None:
        command = [sys.executable, "-m", "burrow", *sys.argv[1:]]  # in which an early Ctrl-C is an end
        supervisor = Supervisor(reactor, command, read, say)
        try:
            await supervisor.start()
            on_hangup(reactor, supervisor.reload, also_ignored=True)
            await Deferred()
        finally:
            await supervisor.stop()

    return run(main, log_level=config.log_level, log_format=config.log_format)


def _serve_alone(config: ServerConfig) -> int:
    """Serve in this process, without workers."""
    from burrow.server.service import BurrowServer

    async def main(reactor: Any) -> None:
        server = BurrowServer(reactor, config)
        server.startService()
        try:
            await server.ready
            say("\n".join(_greeting(server)))
            await Deferred()
        finally:
            await server.stopService()

    return run(main, log_level=config.log_level, log_format=config.log_format)


def _greeting(server: Any) -> list[str]:
    """What the first process says. @param server: a L{BurrowServer<burrow.server.service.BurrowServer>}."""
    lines = [f"Burrow serves {server.site.own_url}"]
    if server.admin.url:
        lines.append(f"Its admin API is at {server.admin.url}{API_PATH}/")
    if server.config.tls == "local":
        lines.append(f"Its CA is {server.certificates.ca_file}")
    return lines
