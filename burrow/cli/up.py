"""C{burrow up}: tunnels on this machine alone, without a server elsewhere."""

from __future__ import annotations

import argparse
import os
from typing import Any

from burrow.cli.run import run
from burrow.cli.screen import Screen, add_output_options
from burrow.cli.together import Together, add_local_options, local_config
from burrow.cli.tunnel import live
from burrow.client.config import ClientConfig
from burrow.client.inspect.service import make_inspector
from burrow.client.tunnels import tunnel_request
from burrow.errors import BurrowError, ConfigError, UsageError
from burrow.hangup import stop_on_hangup
from burrow.options import add_arguments, flags_given, load

_INSPECTOR = ("inspect", "no_inspect", "inspect_memory")
"""The agent's options that are of use here."""


def add_up(commands: Any) -> None:
    """C{burrow up}."""
    parser = commands.add_parser(
        "up",
        help="open tunnels without a server elsewhere",
        description="Run a server and an agent in one process, on this machine alone, under *.localhost.",
    )
    parser.add_argument(
        "upstreams", nargs="+", metavar="UPSTREAM", help="what to open: PORT, HOST:PORT, a URL or unix:/PATH"
    )
    parser.add_argument("--name", help="the name to have, with one UPSTREAM (default: one that is chosen)")
    add_output_options(parser)
    add_arguments(parser, ClientConfig, _INSPECTOR)
    add_local_options(parser)
    parser.set_defaults(run=up)


def up(arguments: argparse.Namespace) -> int:
    """C{burrow up UPSTREAM...}."""
    config = local_config(arguments)
    of_agent = load(ClientConfig, flags_given(arguments, ClientConfig), os.environ, only=_INSPECTOR)
    if arguments.name == "":
        raise ConfigError('--name "" is not possible: write a name, or leave --name away')
    if arguments.name and len(arguments.upstreams) > 1:
        raise UsageError("--name is for one upstream, and there are more")
    requests = [tunnel_request("http", upstream, arguments.name, {}) for upstream in arguments.upstreams]
    screen = Screen(as_json=arguments.json, quiet=arguments.quiet)

    async def main(reactor: Any) -> None:
        stop_on_hangup(reactor)
        together = Together(reactor, config)
        try:
            await together.start()
            agent = await together.agent(requests)
            screen.watch(agent)
            screen.tell(f"Browsers believe these URLs once they trust {together.server.certificates.ca_file}")
            await live(agent, make_inspector(agent, of_agent, os.environ), screen.inspector_at)
        except BurrowError as error:
            screen.failed(error)
            raise
        finally:
            screen.close()
            await together.stop()

    return run(main, log_level=config.log_level)
