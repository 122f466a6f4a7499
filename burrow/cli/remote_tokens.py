"""C{burrow tokens}: a server's tokens, from anywhere; C{burrow token} is for the server's machine."""

from __future__ import annotations

import argparse
import json
from typing import Any

from burrow.cli.completion import completed_by, token_names
from burrow.cli.remote import in_store, show_list, which_server, with_api
from burrow.cli.run import say
from burrow.cli.tokens import (
    LIMITS,
    ROLES_SAY,
    add_limits,
    limits_given,
    token_create,
    token_revoke,
    token_set,
)
from burrow.client.api import Api
from burrow.client.asked import path_of
from burrow.errors import Refused
from burrow.store.base import ROLES


def add_tokens(commands: Any) -> None:
    """C{burrow tokens list|create|revoke|role}."""
    parser = commands.add_parser(
        "tokens",
        help="list, create, change or revoke a server's tokens from anywhere",
        description="Manage a server's tokens from anywhere, with an admin's token of it; a viewer's token "
        "lists them. `burrow token` does the same on the server's machine, without a token and without a "
        "running server, and it rotates tokens and changes their limits.",
    )
    which_server(parser)
    parser.set_defaults(run=tokens_list)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="show the tokens: names, roles, last use, limits")
    which_server(listing, keep=True)
    listing.set_defaults(run=tokens_list)
    create = actions.add_parser("create", help="make a token and print it, once")
    create.add_argument("name", metavar="NAME", help="what to call it: whose it is, or where")
    create.add_argument("--role", choices=ROLES, default="agent", help=f"{ROLES_SAY} (default: agent)")
    add_limits(create)
    which_server(create, keep=True)
    create.set_defaults(run=tokens_create)
    role = actions.add_parser("role", help="change what a token may do")
    revoke = actions.add_parser("revoke", help="make a token worthless; its names stay reserved")
    for action in (role, revoke):
        which = action.add_argument("name", metavar="NAME", help="which, as `burrow tokens` shows it")
        completed_by(which, token_names)
    role.add_argument("role", choices=ROLES, metavar="ROLE", help=ROLES_SAY)
    role.set_defaults(run=tokens_role, **dict.fromkeys(LIMITS))
    revoke.set_defaults(run=tokens_revoke)
    for action in (role, revoke):
        which_server(action, keep=True, as_json=False)


def tokens_list(arguments: argparse.Namespace) -> int:
    """C{burrow tokens list}."""
    return show_list(arguments, "tokens")


def tokens_create(arguments: argparse.Namespace) -> int:
    """C{burrow tokens create NAME}."""
    if in_store(arguments):
        return token_create(arguments)

    async def ask(api: Api, reactor: Any) -> None:
        body = {"name": arguments.name, "role": arguments.role, **limits_given(arguments)}
        made = await api.ask("POST", "/tokens", body=body)
        say(json.dumps(made) if arguments.json else str(made["secret"]))

    return with_api(arguments, ask)


async def _id(api: Api, name: str) -> str:
    """The id of the token of a name. @raise Refused: there is none."""
    for token in (await api.list("/tokens")).items:
        if token.get("name") == name:
            return str(token["id"])
    raise Refused(f"there is no token named {name!r}: `burrow tokens` shows them")


def tokens_role(arguments: argparse.Namespace) -> int:
    """C{burrow tokens role NAME ROLE}."""
    if in_store(arguments):
        return token_set(arguments)

    async def ask(api: Api, reactor: Any) -> None:
        path = path_of("tokens", await _id(api, arguments.name))
        await api.ask("PATCH", path, body={"role": arguments.role})
        say(f"The token {arguments.name} has the role {arguments.role}")

    return with_api(arguments, ask)


def tokens_revoke(arguments: argparse.Namespace) -> int:
    """C{burrow tokens revoke NAME}."""
    if in_store(arguments):
        return token_revoke(arguments)

    async def ask(api: Api, reactor: Any) -> None:
        await api.ask("DELETE", path_of("tokens", await _id(api, arguments.name)))
        say(f"Revoked {arguments.name}")

    return with_api(arguments, ask)
