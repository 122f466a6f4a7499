"""C{burrow store}, and what all commands share that read or change a server's store."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

from burrow.addresses import authority
from burrow.cli.parsing import typed
from burrow.cli.run import run
from burrow.client.secret import read_secret
from burrow.clock import WEEK
from burrow.errors import ConfigError
from burrow.options import flags_given
from burrow.server.config import ServerConfig, parse_store
from burrow.server.nodes.records import NODES, Node, from_notes
from burrow.server.reading import server_config
from burrow.server.stores import DATABASE, open_store
from burrow.store.base import IStore, Taken
from burrow.store.names import is_wildcard
from burrow.store.spaces import ACCOUNTS, AUDIT, CERTIFICATES, LIMITS
from burrow.supervisor.claim import servers_here
from burrow.values import STDIN, parse_path
from burrow.wording import count_of

_NAMED = 3
"""State folders that a sentence names, at most."""


def read_config(arguments: argparse.Namespace) -> ServerConfig:
    """
    The server's configuration: from a command's options, the environment and the file of C{--config}.

    @raise ConfigError: a value is not possible, or the file cannot be read.
    """
    file = getattr(arguments, "config", None)
    return server_config(flags_given(arguments, ServerConfig), None if file is None else str(file))


def which_store(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a server's store."""
    parser.add_argument(
        "--state", type=typed(parse_path), metavar="DIR", help="the server's state folder [BURROW_STATE]"
    )
    parser.add_argument("--store", metavar="URL", help="the server's store, if it has another [BURROW_STORE]")
    parser.add_argument(
        "--config", type=typed(parse_path), metavar="FILE", help="the server's configuration file"
    )


def place_of(config: ServerConfig) -> str:
    """Which store that is, for people, without a password."""
    if config.store == "memory":
        return "a server's memory"
    if config.store:
        return "Redis at " + ", ".join(authority(*each) for each in config.store.hosts)
    return str(config.state_dir)


def server_elsewhere(config: ServerConfig) -> str:
    """What to add to a sentence about a store without a server: where servers of this machine have theirs."""
    others = [str(folder) for folder in servers_here() if folder != config.state_dir.resolve()]
    if not others:
        return ""
    if len(others) == 1:
        return f"; a server on this machine has another: --state {others[0]}"
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"; servers on this machine have others: --state {', --state '.join(others[:_NAMED])}{more}"


async def has_server(store: IStore) -> bool:
    """Whether a server runs with a store, or ran until seconds ago. @raise StoreError: it cannot tell."""
    return bool(from_notes(Node, await store.notes(NODES)))


def with_store(
    arguments: argparse.Namespace, work: Callable[[IStore], Awaitable[None]], *, creates: bool = False
) -> int:
    """
    Run C{work(store)} with the server's store.

    @param creates: whether this command makes the store where there is none.
    @return: the exit code.
    @raise ConfigError: there is no such store, or it is in a server's memory.
    """
    config = read_config(arguments)
    if config.store == "memory":
        raise ConfigError("a store in memory is the server's own: no command can look into it")
    if not (creates or config.store or (config.state_dir / DATABASE).exists()):
        raise ConfigError(
            f"no server has its state in {config.state_dir}: there is no {DATABASE}; "
            f"give its --state DIR or --store URL{server_elsewhere(config)}"
        )

    async def main(reactor: Any) -> None:
        store = open_store(reactor, config)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    return run(main, log_level="warn", brief=True)


def add_store(commands: Any) -> None:
    """C{burrow store migrate}."""
    parser = commands.add_parser(
        "store", help="copy what must survive to another store", description="Manage stores."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    migrate = actions.add_parser(
        "migrate",
        help="copy tokens, names and certificates to another store",
        description="Copy all tokens, names and certificates into another store, which keeps what it has. "
        "Stop the server first; a second run copies what is new.",
    )
    migrate.add_argument(
        "target",
        metavar="TARGET",
        help="redis://..., or - to read that from standard input; or, for SQLite, a state folder",
    )
    which_store(migrate)
    migrate.set_defaults(run=store_migrate)


def store_migrate(arguments: argparse.Namespace) -> int:
    """C{burrow store migrate TARGET}."""
    where = read_secret(STDIN, "target") if arguments.target == "-" else arguments.target

    async def work(source: IStore) -> None:
        from twisted.internet import reactor

        if "://" in where:
            config = ServerConfig(store=parse_store(where))
        else:
            config = ServerConfig(state=parse_path(where))
        target = open_store(reactor, config)
        await target.open()
        try:
            counts = await _copy(source, target)
        finally:
            await target.close()
        tokens, names, certificates = map(count_of, counts, ("token", "name", "certificate"))
        print(f"Copied {tokens}, {names} and {certificates}")

    return with_store(arguments, work)


async def _copy(source: IStore, target: IStore) -> tuple[int, int, int]:
    """
    Copy the records that C{target} does not have.

    @return: how many tokens, names and certificates there were to copy.
    @raise ConfigError: a name or port belongs to another token in C{target}.
    """
    tokens = [token for token in await source.tokens() if await target.token(token.id) is None]
    # Labels before their wildcards, which else would make them anew.
    names = sorted(await source.reservations(), key=lambda one: is_wildcard(one.name))
    try:
        for token in tokens:
            await target.add_token(token)
        for reservation in names:
            await target.reserve(reservation)
    except Taken as error:
        raise ConfigError(f"the target has something else already: {error}") from error
    copied = 0
    for space in (CERTIFICATES, ACCOUNTS, AUDIT):
        for key, text in (await source.notes(space)).items():
            copied += await target.swap_note(space, key, None, text) and space == CERTIFICATES
    for key, text in (await source.notes(LIMITS)).items():
        await target.swap_note(LIMITS, key, None, text, WEEK)
    return len(tokens), len(names), copied
