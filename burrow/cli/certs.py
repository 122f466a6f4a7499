"""C{burrow certs}: a server's certificates, and the errors of their renewals."""

from __future__ import annotations

import argparse
from typing import Any

from burrow.cli.remote import show_list, which_server


def add_certs(commands: Any) -> None:
    """C{burrow certs}."""
    parser = commands.add_parser(
        "certs",
        help="show the server's certificates, until when they are valid, and what failed",
        description="Show a server's certificates: from whom, until when, from when on they are renewed, and "
        "why the last renewal failed, if it did. It asks the server that `burrow login` is for, with the "
        "token of a viewer or admin; with --state it looks into a server's store, which has those of --tls "
        "acme.",
    )
    which_server(parser)
    parser.set_defaults(run=certs)


def certs(arguments: argparse.Namespace) -> int:
    """C{burrow certs}."""
    return show_list(arguments, "certificates")
