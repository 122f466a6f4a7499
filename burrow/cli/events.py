"""C{burrow events}: what happened on a server in the last day."""

from __future__ import annotations

import argparse
from typing import Any

from burrow.cli.store import which_store, with_store
from burrow.cli.table import show_table
from burrow.server.events import recent
from burrow.store.base import IStore
from burrow.wording import at


def add_events(commands: Any) -> None:
    """C{burrow events}."""
    parser = commands.add_parser(
        "events",
        help="show what happened lately on the server, or all servers of a store",
        description="Show the events of the last day, at most 200 of each server process: agents and tunnels "
        "that came and went, certificates, servers.",
    )
    which_store(parser)
    parser.set_defaults(run=events)


def events(arguments: argparse.Namespace) -> int:
    """C{burrow events}."""

    async def work(store: IStore) -> None:
        rows: list[tuple[str, ...]] = [("WHEN", "NODE", "WHAT", "")]
        rows += [(at(event.when), event.node, event.kind, event.text) for event in await recent(store)]
        show_table(rows)

    return with_store(arguments, work)
