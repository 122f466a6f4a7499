"""C{burrow server} and C{burrow token}."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred

from burrow.cli.run import run
from burrow.config import ServerConfig, add_arguments, parse_path
from burrow.errors import ConfigError
from burrow.server.service import BurrowServer, open_store
from burrow.server.tap import server_config
from burrow.store.base import ROLES, Taken
from burrow.store.tokens import make_token


def add_server(commands: Any) -> None:
    """C{burrow server}."""
    parser = commands.add_parser(
        "server",
        help="run a server",
        description="Run a Burrow server: public URLs for its agents' services.",
    )
    add_arguments(parser, ServerConfig)
    parser.add_argument("--config", metavar="FILE", help="a TOML file with these options, without the dashes")
    parser.set_defaults(run=serve)


def _config(arguments: argparse.Namespace) -> ServerConfig:
    names = ServerConfig.__dataclass_fields__
    flags = {name: value for name, value in vars(arguments).items() if name in names}
    return server_config(flags, getattr(arguments, "config", None))


def serve(arguments: argparse.Namespace) -> int:
    """C{burrow server}."""
    config = _config(arguments)

    async def main(reactor: Any) -> None:
        server = BurrowServer(reactor, config)
        server.startService()
        try:
            await server.ready
            print(f"Burrow serves {server.own_url}", flush=True)
            if config.tls == "local":
                print(f"Its CA is {server.certificates.ca_file}", flush=True)
            await Deferred()
        finally:
            await server.stopService()

    return run(main, log_level=config.log_level)


def add_token(commands: Any) -> None:
    """C{burrow token create|list|revoke}."""
    parser = commands.add_parser("token", help="create, list or revoke tokens", description="Manage tokens.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a token and print it, once")
    create.add_argument("name", metavar="NAME", help="what to call it: whose it is, or where")
    create.add_argument("--role", choices=ROLES, default="agent", help="what it may do (default: agent)")
    create.set_defaults(run=token_create)
    listing = actions.add_parser("list", help="show the tokens: names, roles, last use")
    listing.set_defaults(run=token_list)
    revoke = actions.add_parser("revoke", help="make a token worthless; its names stay reserved")
    revoke.add_argument("name", metavar="NAME", help="which")
    revoke.set_defaults(run=token_revoke)
    for action in (create, listing, revoke):
        _which_store(action)


def _which_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=parse_path, metavar="DIR", help="the server's state folder [BURROW_STATE]"
    )
    parser.add_argument("--store", metavar="URL", help="the server's store, if it has another [BURROW_STORE]")
    parser.add_argument("--config", metavar="FILE", help="the server's configuration file")


def add_store(commands: Any) -> None:
    """C{burrow store migrate}."""
    parser = commands.add_parser(
        "store", help="copy what must survive to another store", description="Manage stores."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    migrate = actions.add_parser(
        "migrate",
        help="copy tokens and names to another store",
        description="Copy all tokens and reservations into another store, which keeps what it has. "
        "Stop the server first; a second run copies what is new.",
    )
    migrate.add_argument("target", metavar="TARGET", help="redis://... or, for SQLite, a state folder")
    _which_store(migrate)
    migrate.set_defaults(run=store_migrate)


def _with_store(arguments: argparse.Namespace, work: Any) -> int:
    config = _config(arguments)

    async def main(reactor: Any) -> None:
        store = open_store(reactor, config, serving=False)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    return run(main, log_level="warn")


def token_create(arguments: argparse.Namespace) -> int:
    """C{burrow token create NAME}."""
    text, token = make_token(arguments.name, arguments.role, time.time())

    async def work(store: Any) -> None:
        try:
            await store.add_token(token)
        except Taken as error:
            raise ConfigError(f"{error}; revoke it, or choose another name") from error
        print(text, flush=True)

    return _with_store(arguments, work)


def token_list(arguments: argparse.Namespace) -> int:
    """C{burrow token list}."""

    async def work(store: Any) -> None:
        rows = [("NAME", "ROLE", "CREATED", "LAST USED")]
        rows += [
            (token.name, token.role, _when(token.created), _when(token.last_used))
            for token in await store.tokens()
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    return _with_store(arguments, work)


def store_migrate(arguments: argparse.Namespace) -> int:
    """C{burrow store migrate TARGET}."""

    async def work(source: Any) -> None:
        from twisted.internet import reactor

        is_url = "://" in arguments.target
        state = None if is_url else parse_path(arguments.target)
        config = ServerConfig(state=state, store=arguments.target if is_url else "")
        target = open_store(reactor, config, serving=False)
        await target.open()
        try:
            counts = await _copy(source, target)
        finally:
            await target.close()
        print(f"Copied {counts[0]} tokens and {counts[1]} names")

    return _with_store(arguments, work)


async def _copy(source: Any, target: Any) -> tuple[int, int]:
    """Copy what C{target} has not. @raise ConfigError: it has the same name or port for another token."""
    tokens = [token for token in await source.tokens() if await target.token(token.id) is None]
    names = await source.reservations()
    try:
        for token in tokens:
            await target.add_token(token)
        for reservation in names:
            await target.reserve(reservation)
    except Taken as error:
        raise ConfigError(f"the target has something else already: {error}") from error
    return len(tokens), len(names)


def _when(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def token_revoke(arguments: argparse.Namespace) -> int:
    """C{burrow token revoke NAME}."""

    async def work(store: Any) -> None:
        if not await store.revoke_token(arguments.name):
            raise ConfigError(f"there is no token named {arguments.name!r}: `burrow token list` shows them")

    return _with_store(arguments, work)
