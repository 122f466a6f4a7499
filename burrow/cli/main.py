"""C{burrow}: the program's entry, and its list of commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from burrow import __version__
from burrow.cli.run import complain
from burrow.errors import BurrowError

_EPILOG = """\
exit codes: 0 asked to stop, 2 wrong usage, 69 server not reachable (with --no-retry),
77 refused by the server, 78 wrong configuration
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    from burrow.cli import look, serve, tunnel, up
    from burrow.protocols.registry import kinds

    parser = argparse.ArgumentParser(
        prog="burrow",
        description="A self-hosted tunnel: one HTTPS URL for what runs on your machine, for ever.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"burrow {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name in sorted(kinds()):
        tunnel.add_kind(commands, kinds()[name])
    tunnel.add_start(commands)
    up.add_up(commands)
    up.add_demo(commands)
    tunnel.add_login(commands)
    serve.add_server(commands)
    serve.add_token(commands)
    serve.add_store(commands)
    look.add_certs(commands)
    look.add_events(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parsed = make_parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except BurrowError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
