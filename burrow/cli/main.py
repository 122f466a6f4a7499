"""C{burrow}: the program's entry, and its list of commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from burrow import __version__
from burrow.cli import (
    certs,
    completion,
    demo,
    events,
    lists,
    login,
    logs,
    names,
    protocols,
    remote_tokens,
    requests,
    running,
    serve,
    share,
    status,
    store,
    tokens,
    tunnel,
    up,
)
from burrow.cli.config import add_config
from burrow.cli.connect import add_connect
from burrow.cli.doctor.command import add_doctor
from burrow.cli.help import is_styled, start_screen
from burrow.cli.man import write_pages
from burrow.cli.parsing import Parser, typed
from burrow.cli.run import complain, open_standard_files, stdout_is_broken
from burrow.cli.services.command import add_service
from burrow.errors import BurrowError
from burrow.protocols.registry import kinds
from burrow.values import parse_path
from burrow.wording import count_of


class _Start(Parser):
    """The parser of the whole command line, whose help is the screen of L{burrow.cli.help}."""

    def format_help(self) -> str:
        """See L{argparse.ArgumentParser}."""
        commands = next(each for each in self._actions if isinstance(each, argparse._SubParsersAction))
        return start_screen(commands, sorted(kinds()), styled=is_styled())


def make_parser() -> Parser:
    """The parser of the whole command line."""
    parser = _Start(prog="burrow")
    parser.add_argument("--version", action="version", version=f"burrow {__version__}")
    parser.set_defaults(run=lambda parsed: _help(parser, []))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)
    for name in sorted(kinds()):
        tunnel.add_kind(commands, kinds()[name])
    tunnel.add_start(commands)
    running.add_run(commands)
    add_connect(commands)
    share.add_share(commands)
    up.add_up(commands)
    demo.add_demo(commands)
    requests.add_requests(commands)
    requests.add_replay(commands)
    login.add_login(commands)
    serve.add_server(commands)
    status.add_status(commands)
    lists.add_tunnels(commands)
    logs.add_logs(commands)
    lists.add_sessions(commands)
    remote_tokens.add_tokens(commands)
    lists.add_nodes(commands)
    tokens.add_token(commands)
    names.add_names(commands)
    store.add_store(commands)
    protocols.add_protocols(commands)
    certs.add_certs(commands)
    events.add_events(commands)
    events.add_audit(commands)
    add_config(commands)
    add_doctor(commands)
    add_service(commands)
    completion.add_completion(commands)
    helping = commands.add_parser("help", help="show what a command does", description="Show the help.")
    words = helping.add_argument(
        "words", nargs="*", metavar="COMMAND", help="of which command (default: of all)"
    )
    completion.completed_by(words, lambda parsed: list(commands.choices))
    helping.add_argument(
        "--man",
        type=typed(parse_path),
        metavar="DIR",
        help="write manual pages into this folder, as in ~/.local/share/man/man1",
    )
    helping.set_defaults(run=lambda parsed: _help(parser, parsed.words, parsed.man))
    version = commands.add_parser("version", help="show the version", description="Show the version.")
    version.set_defaults(run=_version)
    return parser


def _help(parser: Parser, words: Sequence[str], pages: Path | None = None) -> int:
    """C{burrow help}, and C{burrow} alone."""
    if pages is not None:
        print(f"Wrote {count_of(len(write_pages(parser, pages)), 'page')} into {pages}")
        return 0
    try:
        found = parser.command(words)
    except argparse.ArgumentError as error:
        parser.error(error.message)
    found.print_help()
    return 0


def _version(parsed: argparse.Namespace) -> int:
    """C{burrow version}."""
    print(f"burrow {__version__}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    open_standard_files()
    try:
        parser = make_parser()
        completion.answer_shell(parser)
        parsed = parser.read(sys.argv[1:] if arguments is None else arguments)
        code: int = parsed.run(parsed)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BurrowError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        if not stdout_is_broken():
            raise
        complain(f"cannot write to standard output: {error.strerror}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
