"""C{burrow login}: checks a token with its server, and keeps both for the commands that need them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from burrow.cli.parsing import typed
from burrow.cli.run import run, say
from burrow.client.config import ClientConfig
from burrow.client.secret import read_secret
from burrow.client.settings import CREDENTIALS_FILE, credentials_of
from burrow.errors import ConfigError, UsageError
from burrow.folders import config_folder, write_whole
from burrow.link.address import ServerAddress
from burrow.link.dial import Dialer
from burrow.values import STDIN, parse_path, parse_secret_path
from burrow.wording import toml


def add_login(commands: Any) -> None:
    """C{burrow login}."""
    parser = commands.add_parser(
        "login",
        help="remember a server and a token",
        description="Check a token with its server and remember both for the commands that need them.",
    )
    parser.add_argument("server", metavar="URL", help="the server, as in https://example.com")
    parser.add_argument(
        "token",
        nargs="?",
        metavar="TOKEN",
        help="the token that the server's owner gave you; - or nothing: read it from standard input, since "
        "others may see a command line",
    )
    parser.add_argument(
        "--token-file", type=typed(parse_secret_path), metavar="FILE", help="read the token from this file"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="use an http:// server that is not on this machine"
    )
    parser.add_argument(
        "--ca-file", type=typed(parse_path), metavar="FILE", help="believe the CAs in this file alone"
    )
    parser.instead = _token_is_an_argument
    parser.set_defaults(run=login)


def _token_is_an_argument(flag: str) -> str:
    return "write the token behind the URL, or - to read it from standard input" if flag == "--token" else ""


def login(arguments: argparse.Namespace) -> int:
    """C{burrow login URL TOKEN}."""
    ServerAddress.parse(arguments.server)  # an error in it is told before a token is asked for
    ca_file = arguments.ca_file.absolute() if arguments.ca_file else None
    if arguments.token_file is not None and arguments.token not in (None, "-"):
        raise UsageError("there is a token and a token file: give one of both")
    token = arguments.token
    if arguments.token_file is not None or token in (None, "-"):
        token = read_secret(arguments.token_file or STDIN, "token")
    config = ClientConfig(
        server=arguments.server, token=token, ca_file=ca_file, insecure=arguments.insecure, no_retry=True
    )

    async def main(reactor: Any) -> None:
        credentials = credentials_of(config, os.environ)
        linked = await Dialer(reactor, credentials).dial()
        await linked.say_goodbye(reactor, "the token was checked")
        path = config_folder() / CREDENTIALS_FILE
        _write_credentials(path, str(credentials.address), config)
        say(f"Logged in to {credentials.address}; the token is in {path}")

    return run(main, log_level=config.log_level, brief=True)


def _write_credentials(path: Path, server: str, config: ClientConfig) -> None:
    lines = [f"server = {toml(server)}", f"token = {toml(config.token)}"]
    if config.ca_file is not None:
        lines.append(f"ca-file = {toml(str(config.ca_file))}")
    if config.insecure:
        lines.append("insecure = true")
    try:
        write_whole(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
