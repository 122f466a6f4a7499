"""C{burrow http}, C{burrow tcp} and every other kind; C{burrow start}."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from burrow.cli.completion import completed_by, configured_tunnels
from burrow.cli.notify import reload_told, tell_systemd
from burrow.cli.parsing import typed
from burrow.cli.run import run
from burrow.cli.screen import Screen, add_output_options
from burrow.client.agent import Agent
from burrow.client.config import ClientConfig
from burrow.client.inspect.service import Inspector, make_inspector
from burrow.client.service import Read, make_agent, read_again
from burrow.client.settings import chosen, client_settings
from burrow.client.several import tunnel_requests
from burrow.client.tunnels import TunnelRequest, find_kind
from burrow.client.tunnels_file import TABLE_KEYS
from burrow.errors import BurrowError, ConfigError
from burrow.hangup import on_hangup, stop_on_hangup
from burrow.options import add_arguments, add_flags, flags_given
from burrow.protocols.base import Kind
from burrow.protocols.elsewhere import no_option, who_has
from burrow.supervisor.systemd import notify
from burrow.values import parse_path
from burrow.wording import COMMAND_LINE


def add_kind(commands: Any, kind: Any) -> None:
    """The command of one kind."""
    parser = commands.add_parser(
        kind.name,
        help=f"open {kind.summary}",
        description=f"Open a tunnel of kind {kind.name}: {kind.summary}.",
    )
    parser.add_argument("upstream", metavar="UPSTREAM", help=kind.upstream_help.replace("%", "%%"))
    parser.add_argument(
        "--name", help="the name to have, as in --name blog (default: one that the server chooses)"
    )
    add_flags(parser, kind.options)
    _common(parser)
    parser.instead = partial(_of_other_kinds, kind)
    parser.set_defaults(run=open_one, kind=kind.name)


def add_start(commands: Any) -> None:
    """C{burrow start}."""
    parser = commands.add_parser(
        "start",
        help="open the tunnels of a configuration file",
        description="Open the tunnels that the configuration file names, through one connection.",
    )
    names = parser.add_argument("names", nargs="*", metavar="NAME", help="which of them (default: all)")
    completed_by(names, configured_tunnels)
    parser.add_argument(
        "--config",
        type=typed(parse_path),
        metavar="FILE",
        help="the file (default: config.toml in the config folder)",
    )
    _common(parser)
    parser.instead = _of_tables
    parser.set_defaults(run=start)


def _of_other_kinds(kind: Kind, flag: str) -> str:
    key = flag.removeprefix("--")
    return no_option(kind, key, COMMAND_LINE) if who_has(key) else ""


def _of_tables(flag: str) -> str:
    key = flag.removeprefix("--")
    if key not in TABLE_KEYS and not who_has(key):
        return ""
    return f"{flag} is of one tunnel: write {key} into its table of the configuration file, [tunnels.NAME]"


def _common(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser, ClientConfig)
    add_output_options(parser)


def _serve(
    arguments: argparse.Namespace,
    config: ClientConfig,
    requests: list[TunnelRequest],
    again: Read | None = None,
) -> int:
    """
    Keep tunnels open.

    @param again: reads their configuration file anew at SIGHUP; without it SIGHUP stops the agent.
    @return: the exit code.
    """
    screen = Screen(as_json=arguments.json, quiet=arguments.quiet)

    async def main(reactor: Any) -> None:
        try:
            agent = make_agent(reactor, config, os.environ, requests)
            screen.watch(agent)
            if again is None:
                stop_on_hangup(reactor)
            else:
                on_hangup(
                    reactor, lambda: reload_told(lambda: read_again(agent, again, config)), also_ignored=True
                )
            tell_systemd(agent)
            await live(agent, make_inspector(agent, config, os.environ), screen.inspector_at)
        except BurrowError as error:
            screen.failed(error)
            raise
        finally:
            notify("STOPPING=1")
            screen.close()

    return run(main, log_level=config.log_level)


async def live(
    agent: Agent, inspector: Inspector | None = None, inspector_at: Callable[[str], None] = lambda url: None
) -> None:
    """
    Run an agent until it ends or this is cancelled; then stop it, which closes its session.

    @param inspector_at: called with the URL of its inspector, if it has one.
    """
    if inspector is not None:
        inspector.startService()
        if inspector.url:
            inspector_at(inspector.url)
    agent.startService()
    try:
        await agent.done
    finally:
        await agent.stopService()
        if inspector is not None:
            await inspector.stop()


def open_one(arguments: argparse.Namespace) -> int:
    """C{burrow KIND UPSTREAM}."""
    config, _ = client_settings(flags_given(arguments, ClientConfig), os.environ, None)
    if arguments.name == "":
        raise ConfigError('--name "" is not possible: write a name, or leave --name away')
    given = {each.key: getattr(arguments, each.name) for each in find_kind(arguments.kind).options}
    requests = tunnel_requests(arguments.kind, arguments.upstream, arguments.name, given, COMMAND_LINE)
    return _serve(arguments, config, requests)


def start(arguments: argparse.Namespace) -> int:
    """C{burrow start [NAME...]}."""

    def read() -> tuple[ClientConfig, list[TunnelRequest]]:
        config, tunnels = client_settings(flags_given(arguments, ClientConfig), os.environ, arguments.config)
        return config, chosen(tunnels, arguments.names)

    config, requests = read()
    return _serve(arguments, config, requests, read)
