"""C{burrow config check}: whether a configuration is possible, and where each of its values comes from."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from burrow.cli.parsing import typed
from burrow.cli.run import complain
from burrow.cli.store import read_config
from burrow.cli.table import show_table
from burrow.client.config import ClientConfig
from burrow.client.settings import CONFIG_FILE, CREDENTIALS_FILE, client_settings
from burrow.client.tunnels import TunnelRequest
from burrow.folders import config_folder
from burrow.options import Origin, add_arguments, flags_given, given_by, options_of, read_toml
from burrow.protocols.tables import told
from burrow.server.checking import check_server, without_effect
from burrow.server.config import ServerConfig
from burrow.values import parse_path

_FILE = "the file (default: config.toml in the config folder)"


def add_config(commands: Any) -> None:
    """C{burrow config check agent|server}."""
    parser = commands.add_parser(
        "config",
        help="check a configuration, and show where each value comes from",
        description="Check the configuration of this machine's agent or server: the command line, the "
        "environment and the files together, as `burrow start` or `burrow server` would read them. Nothing "
        "is opened or changed.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="check it; an error has exit code 78")
    roles = check.add_subparsers(required=True, metavar="ROLE")
    agent = roles.add_parser("agent", help="what `burrow start` would do")
    add_arguments(agent, ClientConfig)
    agent.add_argument("--config", type=typed(parse_path), metavar="FILE", help=_FILE)
    agent.set_defaults(run=_check_agent)
    server = roles.add_parser("server", help="what `burrow server` would do")
    add_arguments(server, ServerConfig)
    server.add_argument("--config", type=typed(parse_path), metavar="FILE", help="the server's file")
    server.set_defaults(run=_check_server)
    for role in (agent, server):
        role.add_argument("--all", action="store_true", help="show also what is as it is by default")
        role.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _check_agent(arguments: argparse.Namespace) -> int:
    """C{burrow config check agent}."""
    flags = flags_given(arguments, ClientConfig)
    config, tunnels = client_settings(flags, os.environ, arguments.config)
    files = [config_folder() / CREDENTIALS_FILE, arguments.config or config_folder() / CONFIG_FILE]
    return _show(arguments, config, flags, [file for file in files if file.exists()], tunnels)


def _check_server(arguments: argparse.Namespace) -> int:
    """C{burrow config check server}."""
    config = read_config(arguments)
    check_server(config)
    for text in without_effect(config):
        complain(f"warning: {text}")
    files = [] if arguments.config is None else [arguments.config]
    return _show(arguments, config, flags_given(arguments, ServerConfig), files, {})


def _show(
    arguments: argparse.Namespace,
    config: Any,
    flags: Mapping[str, Any],
    files: Iterable[Path],
    tunnels: Mapping[str, TunnelRequest],
) -> int:
    """
    Show the options with their values and origins.

    @param files: those that were read, the one that counts most last.
    """
    tables = {}
    for file in files:
        table = read_toml(file)
        # A server's options may be in a table of their own.
        tables[file] = table["server"] if isinstance(table.get("server"), dict) else table
    found = []
    for option in options_of(type(config)):
        origin = Origin.DEFAULT
        where = ""
        for file, table in tables.items():
            if given_by(option, {}, {}, table) is Origin.FILE:
                origin, where = Origin.FILE, str(file)
        stronger = given_by(option, flags, os.environ, {})
        if stronger is not Origin.DEFAULT:
            origin = stronger
            where = option.flag if origin is Origin.FLAG else option.variable
        if origin is Origin.DEFAULT and not arguments.all:
            continue
        value = getattr(config, option.name)
        text = "(not shown)" if option.secret and value else _text(value)
        found.append({"option": option.key, "value": text, "from": where or "default"})
    opened = [
        {"tunnel": label, "kind": each.kind.name, "name": each.name or "", "upstream": str(each.upstream)}
        for label, each in tunnels.items()
    ]
    policy = [
        {"tunnel": label, "policy": text, "does": does}
        for label, each in tunnels.items()
        for text, does in told(each.options)
    ]
    if arguments.json:
        print(json.dumps({"options": found, "tunnels": opened, "policy": policy}))
        return 0
    if found:
        show_table([("OPTION", "VALUE", "FROM"), *(tuple(row.values()) for row in found)])
    if opened:
        print()
        show_table([("TUNNEL", "KIND", "NAME", "UPSTREAM"), *(tuple(row.values()) for row in opened)])
    if policy:
        print()
        show_table([("TUNNEL", "WHAT THE SERVER DOES"), *((row["tunnel"], row["does"]) for row in policy)])
    print("The configuration is possible" + ("" if found or opened else ", and all is as it is by default"))
    return 0


def _text(value: Any) -> str:
    """An option's value, as a person would write it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, range):
        return f"{value.start}-{value.stop - 1}"
    return "" if value is None else str(value)
