"""C{burrow}: the program's entry, and its list of commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from burrow import __version__
from burrow.cli import completion
from burrow.cli.help import is_styled, start_screen
from burrow.cli.parsing import Parser, typed
from burrow.cli.run import complain, open_standard_files, stdout_is_broken
from burrow.errors import BurrowError
from burrow.values import parse_path
from burrow.wording import count_of

_COMMANDS = {
    "start": "tunnel.add_start",
    "run": "running.add_run",
    "connect": "connect.add_connect",
    "share": "share.add_share",
    "up": "up.add_up",
    "demo": "demo.add_demo",
    "requests": "requests.add_requests",
    "replay": "requests.add_replay",
    "login": "login.add_login",
    "server": "serve.add_server",
    "status": "status.add_status",
    "tunnels": "lists.add_tunnels",
    "logs": "logs.add_logs",
    "sessions": "lists.add_sessions",
    "tokens": "remote_tokens.add_tokens",
    "nodes": "lists.add_nodes",
    "token": "tokens.add_token",
    "names": "names.add_names",
    "store": "store.add_store",
    "protocols": "protocols.add_protocols",
    "certs": "certs.add_certs",
    "events": "events.add_events",
    "audit": "events.add_audit",
    "config": "config.add_config",
    "doctor": "doctor.command.add_doctor",
    "service": "services.command.add_service",
    "completion": "completion.add_completion",
}
"""The function of this package that adds a command: only that of the one that is used is loaded."""


class _Start(Parser):
    """The parser of the whole command line, whose help is the screen of L{burrow.cli.help}."""

    @property
    def commands(self) -> argparse._SubParsersAction[argparse.ArgumentParser]:
        """The commands."""
        return next(each for each in self._actions if isinstance(each, argparse._SubParsersAction))

    def format_help(self) -> str:
        """See L{argparse.ArgumentParser}."""
        from burrow.protocols.registry import kinds

        return start_screen(self.commands, sorted(kinds()), styled=is_styled())

    def _unknown(self, arguments: Sequence[str], word: str) -> NoReturn:
        """See L{Parser}: other commands may have that option."""
        if len(self.commands.choices) > 1:
            super()._unknown(arguments, word)
        make_parser()._unknown(arguments, word)


def make_parser(command: str = "") -> Parser:
    """The parser of the whole command line, or of one command alone, if there is one of that name."""
    parser = _Start(prog="burrow")
    parser.add_argument("--version", action="version", version=f"burrow {__version__}")
    parser.set_defaults(run=lambda parsed: _help(parser, []))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)
    if command in _COMMANDS:
        _add(commands, command)
    elif command in ("version", "--version"):
        _add_version(commands)
    else:
        if command:
            _add_kinds(commands, command)
        if not commands.choices:
            _add_all(commands, parser)
    return parser


def _add_version(commands: Any) -> None:
    version = commands.add_parser("version", help="show the version", description="Show the version.")
    version.set_defaults(run=_version)


def _add_kinds(commands: Any, name: str = "") -> None:
    """The commands of all kinds of tunnels, or of one, if it is one."""
    from burrow.protocols.registry import kinds

    for each in sorted(kinds()):
        if name in ("", each):
            _function("tunnel.add_kind")(commands, kinds()[each])


def _add_all(commands: Any, parser: Parser) -> None:
    _add_kinds(commands)
    for name in _COMMANDS:
        _add(commands, name)
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
    _add_version(commands)


def _function(where: str) -> Callable[..., Any]:
    module, _, name = where.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(f"burrow.cli.{module}"), name)
    return found


def _add(commands: Any, name: str) -> None:
    _function(_COMMANDS[name])(commands)


def _help(parser: Parser, words: Sequence[str], pages: Path | None = None) -> int:
    """C{burrow help}, and C{burrow} alone."""
    if pages is not None:
        from burrow.cli.man import write_pages

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
        if completion.is_asked():
            completion.answer_shell(make_parser())
        words = list(sys.argv[1:] if arguments is None else arguments)
        parsed = make_parser(words[0] if words else "").read(words)
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
