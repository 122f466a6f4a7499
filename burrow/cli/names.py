"""C{burrow names}: who owns which name and port."""

from __future__ import annotations

import argparse
from typing import Any

from burrow.cli.completion import completed_by, owned_names, token_names
from burrow.cli.store import which_store, with_store
from burrow.cli.table import show_table, when
from burrow.cli.tokens import token_named
from burrow.errors import ConfigError
from burrow.server.audit import audit_command
from burrow.server.nodes.records import live_leases
from burrow.store.base import IStore, Reservation


def add_names(commands: Any) -> None:
    """C{burrow names list|release|transfer}."""
    parser = commands.add_parser(
        "names", help="list, release or transfer names and their ports", description="Manage names."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show the names: whose they are, their ports, their last use")
    listing.set_defaults(run=names_list)
    release = actions.add_parser(
        "release",
        help="give a name and its port back: whoever asks first may have it",
        description="Give a name and its port back. A tunnel that is open is closed within some seconds, and "
        "its agent told; what runs through it may end.",
    )
    release.set_defaults(run=names_release)
    transfer = actions.add_parser(
        "transfer",
        help="make a name and its port another token's",
        description="Make a name and its port another token's, whose agents may open it with --name. A "
        "tunnel that is open is closed within some seconds, and its agent told; what runs through it may "
        "end.",
    )
    for action in (release, transfer):
        which = action.add_argument("name", metavar="NAME", help="which, as `burrow names list` shows it")
        completed_by(which, owned_names)
        action.add_argument("--force", action="store_true", help="also while its tunnel is open")
    to = transfer.add_argument("token", metavar="TOKEN", help="the name of the token that is to own it")
    completed_by(to, token_names)
    transfer.set_defaults(run=names_transfer)
    for action in (listing, release, transfer):
        which_store(action)


def names_list(arguments: argparse.Namespace) -> int:
    """C{burrow names list}."""

    async def work(store: IStore) -> None:
        tokens = {token.id: token.name for token in await store.tokens()}
        live = await live_leases(store)
        rows: list[tuple[str, ...]] = [("NAME", "KIND", "PORT", "TOKEN", "LAST USED", "UPSTREAM")]
        for known in await store.reservations():
            owner = tokens.get(known.token, f"{known.token} (revoked)")
            port = "" if known.port is None else str(known.port)
            used = "open" if known.name in live else "" if known.used is None else when(known.used)
            rows.append((known.name, known.kind, port, owner, used, known.upstream))
        show_table(rows)

    return with_store(arguments, work)


async def _to_change(store: IStore, arguments: argparse.Namespace) -> Reservation:
    """The record of C{NAME}. @raise ConfigError: there is none, or its tunnel is open without C{--force}."""
    known = await store.reservation(arguments.name)
    if known is None:
        raise ConfigError(f"nobody owns the name {arguments.name!r}: `burrow names list` shows them")
    if not arguments.force and known.name in await live_leases(store):
        raise ConfigError(f"the tunnel {known.name} is open: add --force to close it")
    return known


def names_release(arguments: argparse.Namespace) -> int:
    """C{burrow names release NAME}."""

    async def work(store: IStore) -> None:
        known = await _to_change(store, arguments)
        await store.release(known.name)
        await audit_command(store, "name.release", known.name)

    return with_store(arguments, work)


def names_transfer(arguments: argparse.Namespace) -> int:
    """C{burrow names transfer NAME TOKEN}."""

    async def work(store: IStore) -> None:
        token = await token_named(store, arguments.token)
        known = await _to_change(store, arguments)
        if known.token == token.id:
            return
        if await store.transfer(known.name, token.id) is None:
            raise ConfigError(f"nobody owns the name {arguments.name!r} any more")
        await audit_command(store, "name.transfer", known.name, f"to {token.name}")

    return with_store(arguments, work)
