"""C{burrow server} and C{burrow store}, and what all commands need that look into a server's store."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import time
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from burrow.cli.claim import server_state
from burrow.cli.parsing import typed
from burrow.cli.run import complain, run, say
from burrow.cli.supervise import (
    ALIVE_FD,
    INHERITED,
    KEEPER_FD,
    READY_FD,
    READY_TIMEOUT,
    Supervisor,
    command_line,
    on_hangup,
)
from burrow.client.secret import read_secret
from burrow.errors import ConfigError, ServerUnreachable
from burrow.options import add_arguments
from burrow.server.checking import check_server, without_effect
from burrow.server.config import ServerConfig
from burrow.server.listening import TcpSockets
from burrow.server.service import BurrowServer
from burrow.server.stores import DATABASE, open_store
from burrow.server.tap import server_config
from burrow.shown import escaped
from burrow.store.base import Taken
from burrow.store.spaces import ACCOUNTS, CERTIFICATES, LIMITS, WEEK
from burrow.values import STDIN, parse_path
from burrow.wording import count_of


def add_server(commands: Any) -> None:
    """C{burrow server [reload]}."""
    parser = commands.add_parser(
        "server",
        help="run a server, or replace a running one's processes",
        description="Run a Burrow server: public URLs for its agents' services. `burrow server reload`, or "
        "SIGHUP, starts new processes, with the code and the configuration of now, and lets the old ones end "
        "when nothing runs on them any more: no request fails and no download is cut.",
    )
    parser.add_argument(
        "action", nargs="?", choices=("reload",), help="replace the processes of the server that runs"
    )
    add_arguments(parser, ServerConfig)
    parser.add_argument(
        "--config",
        type=typed(parse_path),
        metavar="FILE",
        help="a TOML file with these options, without the dashes",
    )
    parser.set_defaults(run=serve)


def _config(arguments: argparse.Namespace) -> ServerConfig:
    names = ServerConfig.__dataclass_fields__
    flags = {name: value for name, value in vars(arguments).items() if name in names}
    file = getattr(arguments, "config", None)
    return server_config(flags, None if file is None else str(file))


def serve(arguments: argparse.Namespace) -> int:
    """C{burrow server}."""
    config = _config(arguments)
    if INHERITED not in os.environ and not arguments.action:
        check_server(config)
        for text in without_effect(config):
            complain(f"warning: {text}")
    if os.name != "posix":
        if config.workers > 1 or arguments.action:
            raise ConfigError(
                "workers and reload need a system with inherited sockets: Linux, macOS or a BSD"
            )
        return _serve_here(config)
    if arguments.action == "reload":
        return _reload(config)
    if INHERITED in os.environ:
        return _work(config, json.loads(os.environ.pop(INHERITED)))

    def read() -> ServerConfig:
        again = _config(arguments)
        check_server(again)
        return again

    async def main(reactor: Any) -> None:
        supervisor = Supervisor(reactor, command_line(), read, say)
        try:
            await supervisor.start()
            on_hangup(reactor, supervisor.reload)
            await Deferred()
        finally:
            await supervisor.stop()

    return run(main, log_level=config.log_level)


def _greeting(server: BurrowServer) -> list[str]:
    lines = [f"Burrow serves {server.site.own_url}"]
    if server.config.tls == "local":
        lines.append(f"Its CA is {server.certificates.ca_file}")
    return lines


def _serve_here(config: ServerConfig) -> int:
    """Serve in this process, where there are no workers."""

    async def main(reactor: Any) -> None:
        server = BurrowServer(reactor, config)
        server.startService()
        try:
            await server.ready
            say("\n".join(_greeting(server)))
            await Deferred()
        finally:
            await server.stopService()

    return run(main, log_level=config.log_level)


class _Parent(Protocol):
    """
    The pipes to the process that stays.

    @ivar needed: whether we end when it is gone; not any more when we end by ourselves.
    """

    needed = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone: so are we, as it would be if it served itself."""
        if self.needed:
            os._exit(1)


def _work(config: ServerConfig, inherited: dict[str, Any]) -> int:
    """Serve as one of several processes: see L{burrow.cli.supervise}."""
    # A terminal's Ctrl-C is for the process that stays, which tells us.
    os.setpgrp()

    async def main(reactor: Any) -> None:
        parent = _Parent()
        cast(Any, StandardIO)(parent, stdin=ALIVE_FD, stdout=READY_FD, reactor=reactor)
        try:
            await _serve_until_drained(reactor, config, inherited, cast(Any, parent.transport))
        finally:
            parent.needed = False

    return run(main, log_level=config.log_level, worker=True)


async def _serve_until_drained(
    reactor: Any, config: ServerConfig, inherited: dict[str, Any], ready: Any
) -> None:
    server = BurrowServer(
        reactor,
        config,
        inherited=inherited["ports"],
        tcp_sockets=TcpSockets(reactor, inherited["tcp"], socket.socket(fileno=KEEPER_FD)),
        group=inherited["group"],
    )
    server.startService()
    drain: Deferred[None] = Deferred()
    try:
        await server.ready
        on_hangup(reactor, lambda: None if drain.called else drain.callback(None))
        ready.write(json.dumps({"ready": True, "say": _greeting(server)}).encode() + b"\n")
        await drain
        await server.drain(config.drain)
    finally:
        await server.stopService()


def _reload(config: ServerConfig) -> int:
    """C{burrow server reload}: ask for it, and wait until it is done."""
    before = server_state(config.state_dir)
    os.kill(before["pid"], signal.SIGHUP)
    deadline = time.monotonic() + READY_TIMEOUT + 10
    while time.monotonic() < deadline:
        now = server_state(config.state_dir)
        if now["failed"] > before["failed"]:
            raise ConfigError("nothing was replaced, the server goes on as it was: its log says why")
        if now["reloaded"] > before["reloaded"]:
            print("The server's processes are replaced")
            return 0
        time.sleep(0.05)
    raise ServerUnreachable("the server did not say that it was replaced: look at its log")


def which_store(parser: argparse.ArgumentParser) -> None:
    """The options of a command that looks into a server's store."""
    parser.add_argument(
        "--state", type=typed(parse_path), metavar="DIR", help="the server's state folder [BURROW_STATE]"
    )
    parser.add_argument("--store", metavar="URL", help="the server's store, if it has another [BURROW_STORE]")
    parser.add_argument(
        "--config", type=typed(parse_path), metavar="FILE", help="the server's configuration file"
    )


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


def with_store(arguments: argparse.Namespace, work: Any, *, creates: bool = False) -> int:
    """
    Run C{work(store)} with the server's store.

    @param creates: whether the store may be made by this command.
    @return: the exit code.
    @raise ConfigError: there is no such store.
    """
    config = _config(arguments)
    if config.store == "memory":
        raise ConfigError("a store in memory is the server's own: no command can look into it")
    if not (creates or config.store or (config.state_dir / DATABASE).exists()):
        raise ConfigError(
            f"no server has its state in {config.state_dir}: there is no {DATABASE}; "
            "give its --state DIR or --store URL"
        )

    async def main(reactor: Any) -> None:
        store = open_store(reactor, config)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    return run(main, log_level="warn", brief=True)


def show_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    rows = [tuple(map(escaped, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def store_migrate(arguments: argparse.Namespace) -> int:
    """C{burrow store migrate TARGET}."""
    where = read_secret(STDIN, "target") if arguments.target == "-" else arguments.target

    async def work(source: Any) -> None:
        from twisted.internet import reactor

        is_url = "://" in where
        state = None if is_url else parse_path(where)
        config = ServerConfig(state=state, store=where if is_url else "")
        target = open_store(reactor, config)
        await target.open()
        try:
            counts = await _copy(source, target)
        finally:
            await target.close()
        tokens, names, certificates = map(count_of, counts, ("token", "name", "certificate"))
        print(f"Copied {tokens}, {names} and {certificates}")

    return with_store(arguments, work)


async def _copy(source: Any, target: Any) -> tuple[int, int, int]:
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
    copied = 0
    for space in (CERTIFICATES, ACCOUNTS):
        for key, text in (await source.notes(space)).items():
            copied += await target.swap_note(space, key, None, text) and space == CERTIFICATES
    for key, text in (await source.notes(LIMITS)).items():
        await target.swap_note(LIMITS, key, None, text, WEEK)
    return len(tokens), len(names), copied
