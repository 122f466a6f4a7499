"""C{burrow token}: who may use the server, and how much of it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from burrow.cli.completion import completed_by, token_names
from burrow.cli.run import complain, say
from burrow.cli.store import has_server, place_of, read_config, server_elsewhere, which_store, with_store
from burrow.cli.table import show_table, when
from burrow.errors import ConfigError, UsageError
from burrow.server.audit import audit_command
from burrow.server.config import ServerConfig
from burrow.store.base import ROLES, IStore, Taken, Token
from burrow.store.tokens import make_token, rotated
from burrow.wording import count_of, shown

LIMITS = {
    "names": "names that it may own",
    "ports": "public ports that it may own",
    "tunnels": "tunnels that all its agents together may have open",
    "sessions": "agents that may be connected with it",
}


ROLES_SAY = (
    "what it may do: agent opens tunnels, and sees and closes its own by the admin API; viewer sees all, "
    "changes nothing and opens no tunnel; admin does all"
)


def add_token(commands: Any) -> None:
    """C{burrow token create|list|set|rotate|revoke}."""
    parser = commands.add_parser(
        "token", help="create, list, change or revoke tokens", description="Manage tokens."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a token and print it, once")
    create.add_argument("name", metavar="NAME", help="what to call it: whose it is, or where")
    create.add_argument("--role", choices=ROLES, default="agent", help=f"{ROLES_SAY} (default: agent)")
    add_limits(create)
    create.set_defaults(run=token_create)
    listing = actions.add_parser("list", help="show the tokens: names, roles, last use, limits of their own")
    listing.set_defaults(run=token_list)
    change = actions.add_parser(
        "set", help="change what a token may do, or how much it may have; running servers follow"
    )
    change.add_argument("--role", choices=ROLES, help=ROLES_SAY)
    add_limits(change)
    change.set_defaults(run=token_set)
    rotate = actions.add_parser(
        "rotate", help="give a token another secret and print it, once; its names, ports and limits stay"
    )
    rotate.set_defaults(run=token_rotate)
    revoke = actions.add_parser("revoke", help="make a token worthless; its names stay reserved")
    revoke.set_defaults(run=token_revoke)
    for action in (change, rotate, revoke):
        which = action.add_argument("name", metavar="NAME", help="which")
        completed_by(which, token_names)
    for action in (create, listing, change, rotate, revoke):
        which_store(action)


def add_limits(parser: argparse.ArgumentParser) -> None:
    for what, text in LIMITS.items():
        parser.add_argument(
            f"--{what}",
            type=_limit,
            metavar="N",
            help=f"{text}, or default: what the server's --token-{what} says",
        )


def _limit(text: str) -> int | str:
    """An argparse type: a number from 0, or C{default}."""
    if text == "default":
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not possible: write a whole number, 0 or more, or default"
        )
    return int(text)


def limits_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the flags of limits give, by the token's field; None for the server's default."""
    given = {f"max_{what}": getattr(arguments, what) for what in LIMITS}
    return {
        field: None if limit == "default" else limit for field, limit in given.items() if limit is not None
    }


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is to be changed, by the token's field."""
    role = {} if arguments.role is None else {"role": arguments.role}
    return {**role, **limits_given(arguments)}


def _no_token(name: str) -> ConfigError:
    """The error that no token has a name."""
    return ConfigError(f"there is no token named {name!r}: `burrow token list` shows them")


async def token_named(store: IStore, name: str) -> Token:
    """The token of a name. @raise ConfigError: there is none."""
    for token in await store.tokens():
        if token.name == name:
            return token
    raise _no_token(name)


async def _where_it_is(store: IStore, config: ServerConfig) -> str:
    """Which servers know a new token: a person may have meant another server's store."""
    where = f"the token is in the store of {place_of(config)}"
    if await has_server(store):
        return f"{where}, where a server runs"
    return f"{where}; no server runs with that now{server_elsewhere(config)}"


def token_create(arguments: argparse.Namespace) -> int:
    """C{burrow token create NAME}."""
    text, token = make_token(arguments.name, arguments.role, time.time(), **limits_given(arguments))

    async def work(store: IStore) -> None:
        try:
            await store.add_token(token)
        except Taken as error:
            raise ConfigError(
                f"{error}; choose another name, or give that one a new secret with `burrow token rotate`"
            ) from error
        await audit_command(store, "token.create", arguments.name, f"role={arguments.role}")
        complain(await _where_it_is(store, read_config(arguments)))
        print(text, flush=True)

    return with_store(arguments, work, creates=True)


def token_list(arguments: argparse.Namespace) -> int:
    """C{burrow token list}."""

    async def work(store: IStore) -> None:
        rows: list[tuple[str, ...]] = [("NAME", "ROLE", "CREATED", "LAST USED", "LIMITS")]
        rows += [
            (token.name, token.role, when(token.created), when(token.last_used), _limits(token))
            for token in await store.tokens()
        ]
        show_table(rows)

    return with_store(arguments, work)


def _limits(token: Token) -> str:
    own = {what: getattr(token, f"max_{what}") for what in LIMITS}
    return ", ".join(count_of(limit, what[:-1]) for what, limit in own.items() if limit is not None)


def token_set(arguments: argparse.Namespace) -> int:
    """C{burrow token set NAME}."""
    changes = _changes(arguments)
    if not changes:
        raise UsageError("nothing to set: give --role, --names, --ports, --tunnels or --sessions")

    async def work(store: IStore) -> None:
        if await store.change_token(arguments.name, changes) is None:
            raise _no_token(arguments.name)
        text = ", ".join(f"{field}={value}" for field, value in changes.items())
        await audit_command(store, "token.change", arguments.name, text)
        say(f"Changed {arguments.name}: {text.replace('max_', '').replace('=None', '=default')}")

    return with_store(arguments, work)


def token_rotate(arguments: argparse.Namespace) -> int:
    """C{burrow token rotate NAME}."""

    async def work(store: IStore) -> None:
        token = await token_named(store, arguments.name)
        text, digest = rotated(token)
        if await store.change_token(arguments.name, {"digest": digest}) is None:
            raise _no_token(arguments.name)
        await audit_command(store, "token.rotate", arguments.name)
        print(text, flush=True)

    return with_store(arguments, work)


def token_revoke(arguments: argparse.Namespace) -> int:
    """C{burrow token revoke NAME}."""

    async def work(store: IStore) -> None:
        if not await store.revoke_token(arguments.name):
            raise _no_token(arguments.name)
        await audit_command(store, "token.revoke", arguments.name)
        say(f"Revoked {arguments.name}")

    return with_store(arguments, work)
