"""C{burrow}: the program's entry, and its list of commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from burrow import __version__
from burrow.cli.parsing import Parser
from burrow.cli.run import complain, open_standard_files, stdout_is_broken
from burrow.errors import BurrowError

_EPILOG = """\
exit codes: 0 asked to stop, 2 wrong usage, 69 server not reachable (with --no-retry),
77 refused by the server, 78 wrong configuration
"""


def make_parser() -> Parser:
    """The parser of the whole command line."""
    from burrow.cli import certs, demo, events, login, names, serve, store, tokens, tunnel, up
    from burrow.protocols.registry import kinds

    parser = Parser(
        prog="burrow",
        description="A self-hosted tunnel: one HTTPS URL for what runs on your machine, for ever.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"burrow {__version__}")
    parser.set_defaults(run=lambda parsed: _help(parser, []))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name in sorted(kinds()):
        tunnel.add_kind(commands, kinds()[name])
    tunnel.add_start(commands)
    up.add_up(commands)
    demo.add_demo(commands)
    login.add_login(commands)
    serve.add_server(commands)
    tokens.add_token(commands)
    names.add_names(commands)
    store.add_store(commands)
    certs.add_certs(commands)
    events.add_events(commands)
    helping = commands.add_parser("help", help="show what a command does", description="Show the help.")
    helping.add_argument("words", nargs="*", metavar="COMMAND", help="of which command (default: of all)")
    helping.set_defaults(run=lambda parsed: _help(parser, parsed.words))
    version = commands.add_parser("version", help="show the version", description="Show the version.")
    version.set_defaults(run=_version)
    return parser


def _help(parser: Parser, words: Sequence[str]) -> int:
    """C{burrow help}, and C{burrow} alone."""
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
        parsed = make_parser().read(sys.argv[1:] if arguments is None else arguments)
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
