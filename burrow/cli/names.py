"""C{burrow names}: who owns which name and port."""

from __future__ import annotations

import argparse
from typing import Any

from burrow.cli.completion import completed_by, owned_names, token_names
from burrow.cli.remote import in_store, show_list, which_server, with_api
from burrow.cli.run import say
from burrow.cli.store import with_store
from burrow.cli.tokens import token_named
from burrow.client.api import Api
from burrow.client.asked import path_of
from burrow.errors import ConfigError
from burrow.server.audit import audit_command
from burrow.server.nodes.records import live_leases
from burrow.server.twins import also, with_twin
from burrow.store.base import IStore, Reservation


def add_names(commands: Any) -> None:
    """C{burrow names list|release|transfer}."""
    parser = commands.add_parser(
        "names",
        help="list, release or transfer names and their ports",
        description="Show who owns which name, or change it: on the server that `burrow login` is for, or by "
        "--state in a server's store.",
    )
    which_server(parser)
    parser.set_defaults(run=names_list)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="show the names: whose they are, their ports, their last use")
    listing.set_defaults(run=names_list)
    release = actions.add_parser(
        "release",
        help="give a name and its port back: whoever asks first may have it",
        description="Give a name and its port back. A tunnel that is open is closed within some seconds, and "
        "its agent told; what runs through it may end. A name and the wildcard name under it, as blog and "
        "*.blog, are released together.",
    )
    release.set_defaults(run=names_release)
    transfer = actions.add_parser(
        "transfer",
        help="make a name and its port another token's",
        description="Make a name and its port another token's, whose agents may open it with --name. A "
        "tunnel that is open is closed within some seconds, and its agent told; what runs through it may "
        "end. A name and the wildcard name under it, as blog and *.blog, are transferred together. "
        "By the API it needs an admin's token.",
    )
    for action in (release, transfer):
        which = action.add_argument("name", metavar="NAME", help="which, as `burrow names list` shows it")
        completed_by(which, owned_names)
        action.add_argument("--force", action="store_true", help="also while its tunnel is open")
    to = transfer.add_argument("owner", metavar="TOKEN", help="the name of the token that is to own it")
    completed_by(to, token_names)
    transfer.set_defaults(run=names_transfer)
    which_server(listing, keep=True)
    which_server(release, keep=True, as_json=False)
    which_server(transfer, keep=True, as_json=False)


def names_list(arguments: argparse.Namespace) -> int:
    """C{burrow names list}."""
    return show_list(arguments, "names")


async def _to_change(store: IStore, arguments: argparse.Namespace) -> Reservation:
    """The record of C{NAME}. @raise ConfigError: there is none, or its tunnel is open without C{--force}."""
    known = await store.reservation(arguments.name)
    if known is None:
        raise ConfigError(f"nobody owns the name {arguments.name!r}: `burrow names list` shows them")
    leases = {} if arguments.force else await live_leases(store)
    for one in await with_twin(store, known):
        if one.name in leases:
            raise ConfigError(
                f"the tunnel {one.name} is open, and would be closed: close it first, or add --force"
            )
    return known


def names_release(arguments: argparse.Namespace) -> int:
    """C{burrow names release NAME}."""
    if not in_store(arguments):

        async def ask(api: Api, reactor: Any) -> None:
            query = {"force": "true" if arguments.force else None}
            await api.ask("DELETE", path_of("names", arguments.name), query)
            say(f"Released {arguments.name}")

        return with_api(arguments, ask)

    async def work(store: IStore) -> None:
        known = await _to_change(store, arguments)
        released = await store.release(known.name, known.token)
        if not released:
            raise ConfigError(f"the name {arguments.name!r} is its owner's no more: see `burrow names list`")
        gone = also(known.name, released)
        await audit_command(store, "name.release", known.name, gone.strip(", ") or "ok")
        say(f"Released {known.name}{gone}")

    return with_store(arguments, work)


def names_transfer(arguments: argparse.Namespace) -> int:
    """C{burrow names transfer NAME TOKEN}."""
    if not in_store(arguments):

        async def ask(api: Api, reactor: Any) -> None:
            query = {"force": "true" if arguments.force else None}
            body = {"owner": arguments.owner}
            await api.ask("PATCH", path_of("names", arguments.name), query, body=body)
            say(f"{arguments.name} is {arguments.owner}'s now")

        return with_api(arguments, ask)

    async def work(store: IStore) -> None:
        token = await token_named(store, arguments.owner)
        before = await store.reservation(arguments.name)
        if before is not None and before.token == token.id:
            say(f"{before.name} is {token.name}'s already")
            return
        known = await _to_change(store, arguments)
        moved = await store.transfer(known.name, token.id, known.token)
        if not moved:
            raise ConfigError(f"the name {arguments.name!r} is its owner's no more: see `burrow names list`")
        with_it = also(known.name, [one.name for one in moved])
        await audit_command(store, "name.transfer", known.name, f"to {token.name}{with_it}")
        say(f"{known.name} is {token.name}'s now{with_it}")

    return with_store(arguments, work)
