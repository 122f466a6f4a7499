"""What all commands share that ask a server's admin API, or look into a server's store instead."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from burrow.cli.columns import NOT_STORED, SPARE, rows_of
from burrow.cli.run import complain, run, say
from burrow.cli.store import read_config, which_store, with_store
from burrow.cli.table import show_table
from burrow.client.asked import Listing
from burrow.client.config import ClientConfig
from burrow.client.settings import client_settings, looking_credentials
from burrow.errors import ConfigError
from burrow.options import add_arguments
from burrow.server.stores import DATABASE
from burrow.store.base import IStore

if TYPE_CHECKING:
    from burrow.client.api import Api

OF_SERVER = ("server", "token", "token_file", "insecure", "ca_file")
"""The options of L{ClientConfig} that say which server, and with which token."""

_OF_STORE = ("state", "store", "config")


def which_server(parser: argparse.ArgumentParser, *, keep: bool = False, as_json: bool = True) -> None:
    """
    Add the options that say which server, or whose store.

    @param keep: whether the parser is of an action, such as C{release}: options that stand before it count.
    @param as_json: whether there is C{--json}.
    """
    before = len(parser._actions)
    add_arguments(parser, ClientConfig, only=OF_SERVER)
    which_store(parser)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print the API's objects, for programs")
    if keep:
        for action in parser._actions[before:]:
            action.default = argparse.SUPPRESS


def in_store(arguments: argparse.Namespace) -> bool:
    """
    Whether a command looks into a server's store on this machine, and asks no server.

    @raise ConfigError: both are asked for, or there is neither.
    """
    stores = [name for name in _OF_STORE if getattr(arguments, name, None) is not None]
    servers = [name for name in OF_SERVER if getattr(arguments, name, None)]
    if stores and servers:
        raise ConfigError(
            f"--{servers[0].replace('_', '-')} is for asking a server, --{stores[0]} for looking into its "
            "store here: give one of both"
        )
    if stores or servers:
        return bool(stores)
    if os.environ.get("BURROW_STATE") or os.environ.get("BURROW_STORE"):
        return True
    if client_settings({}, os.environ, None)[0].server:
        return False
    config = read_config(arguments)
    if config.store or (config.state_dir / DATABASE).exists():
        return True
    raise ConfigError(
        "which server? Run `burrow login URL -` once, or give --server URL (or BURROW_SERVER); on the "
        "server's machine give its --state DIR"
    )


def settings(arguments: argparse.Namespace) -> ClientConfig:
    """The server and the token. @raise ConfigError: a value is not possible."""
    flags = {name: getattr(arguments, name, None) for name in OF_SERVER}
    return client_settings(flags, os.environ, None)[0]


def with_api(arguments: argparse.Namespace, work: Callable[[Api, Any], Awaitable[None]]) -> int:
    """
    Run C{work(api, reactor)} with the server's admin API.

    @return: the exit code. @raise ConfigError: it is not said which server, or which token.
    """
    from burrow.client.api import Api  # loads an HTTP client: for who asks

    credentials = looking_credentials(settings(arguments))

    async def main(reactor: Any) -> None:
        api = Api(reactor, credentials)
        await work(api, reactor)
        await api.close()

    return run(main, log_level="error", brief=True)


def running_server_alone(arguments: argparse.Namespace, what: str) -> None:
    """@raise ConfigError: a command is to do in a store what a running server alone can do."""
    if in_store(arguments):
        raise ConfigError(
            f"a running server alone can {what}: ask it with --server URL and an admin's token, and without "
            "--state, --store and --config"
        )


def show(arguments: argparse.Namespace, thing: str, listing: Listing, empty: Sequence[str] = ()) -> None:
    """Print a list, as a table or as JSON. @param empty: headings of columns that a store does not have."""
    if getattr(arguments, "json", False):
        document: dict[str, Any] = {"items": listing.items}
        if listing.unanswered:
            document["unanswered"] = listing.unanswered
        say(json.dumps(document))
        return
    show_table(rows_of(thing, listing.items), SPARE[thing])
    if listing.unanswered:
        complain(f"what the nodes {', '.join(listing.unanswered)} have is missing: they do not answer")
    if listing.more:
        complain("there is more: give a larger --limit")
    if empty and listing.items:
        missing = ", ".join(empty)
        complain(f"the store does not have {missing}: a running server tells them, with --server URL")


def show_list(arguments: argparse.Namespace, thing: str, path: str = "") -> int:
    """A command that lists things, from the API or from the store."""
    if in_store(arguments):
        from burrow.cli.stored import STORED  # loads much of the server: for a look into a store alone

        read = STORED.get(thing)
        if read is None:
            running_server_alone(arguments, f"tell its {thing}, which are not in the store")
            return 0
        from_store = read

        async def look(store: IStore) -> None:
            show(arguments, thing, Listing(await from_store(store), []), NOT_STORED.get(thing, ()))

        return with_store(arguments, look)

    async def ask(api: Api, reactor: Any) -> None:
        show(arguments, thing, await api.list(path or f"/{thing}"))

    return with_api(arguments, ask)
