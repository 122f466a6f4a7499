"""C{burrow share}: makes a link to a tunnel that expires."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any
from urllib.parse import urlsplit

from burrow.cli.completion import completed_by, owned_names
from burrow.cli.parsing import typed
from burrow.cli.remote import OF_SERVER, with_api
from burrow.cli.run import complain, say
from burrow.client.api import Api
from burrow.client.asked import path_of
from burrow.client.config import ClientConfig
from burrow.client.sharing import share_key
from burrow.errors import ConfigError, UsageError
from burrow.folders import state_folder
from burrow.options import add_arguments
from burrow.policy.share import public_half, share_link
from burrow.values import SECONDS
from burrow.wording import at, shown

LONGEST = 366 * 86400


def parse_duration(text: str) -> int:
    """A number of seconds, as C{30m}, C{2h} or C{7d}."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    seconds = int(found[1]) * SECONDS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST:
        raise ValueError("write how long, as in 30m, 2h or 7d, up to a year")
    return seconds


def add_share(commands: Any) -> None:
    """C{burrow share NAME}."""
    parser = commands.add_parser(
        "share",
        help="make a link to a tunnel that lets in whoever has it, until it expires",
        description="Make a link to a tunnel that was opened with --share-links on this machine: whoever has "
        "it may visit, until it expires. The key that signs links is kept on this machine.",
    )
    name = parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the tunnel's name, or its URL, with a path if you like"
    )
    completed_by(name, owned_names)
    parser.add_argument(
        "--for",
        dest="lasts",
        type=typed(parse_duration),
        default=parse_duration("1h"),
        metavar="TIME",
        help="how long it lets in, as in 30m, 2h or 7d (default: 1h)",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--show-key",
        action="store_true",
        help="print the public half of the key, for --share-key of an agent on another machine",
    )
    other.add_argument(
        "--new-key",
        action="store_true",
        help="make another key: once the agents here were restarted, all links made before are dead",
    )
    add_arguments(parser, ClientConfig, only=OF_SERVER)
    parser.set_defaults(run=share)


def share(arguments: argparse.Namespace) -> int:
    """C{burrow share [NAME]}."""
    key = share_key(state_folder(), new=arguments.new_key)
    if arguments.show_key or arguments.new_key:
        if arguments.name:
            raise UsageError("--show-key and --new-key are for all tunnels: leave the name out")
        say(str(public_half(key)))
        if arguments.new_key:
            complain("restart the agents of this machine, so that links of the old key open nothing")
        return 0
    if not arguments.name:
        raise UsageError("which tunnel? Write its name or its URL, as in burrow share blog --for 2h")
    until = time.time() + arguments.lasts

    def link(url: str) -> None:
        say(share_link(key, url, until))
        complain(f"it lets in whoever has it, until {at(until)}, if the tunnel was opened with --share-links")

    if "://" in arguments.name:
        parts = urlsplit(arguments.name)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ConfigError(f"{shown(arguments.name)} is no URL of a tunnel: write the one that it has")
        link(arguments.name)
        return 0

    async def ask(api: Api, reactor: Any) -> None:
        tunnel = await api.ask("GET", path_of("tunnels", arguments.name))
        url = str(tunnel.get("url", ""))
        if "://*." in url:
            raise ConfigError(f"{arguments.name} has many hosts: give the URL of one, as a link is for one")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"the tunnel {arguments.name} has no URL that a browser opens")
        link(url)

    return with_api(arguments, ask)
