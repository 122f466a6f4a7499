"""C{burrow events}: what happened on a server in the last day, and what happens; who changed what."""

from __future__ import annotations

import argparse
import json
from typing import Any

from burrow.cli.columns import event_line
from burrow.cli.parsing import typed
from burrow.cli.remote import in_store, running_server_alone, show, which_server, with_api
from burrow.cli.run import complain, say
from burrow.cli.store import with_store
from burrow.client.api import Api
from burrow.client.asked import Listing
from burrow.store.base import IStore
from burrow.values import parse_count


def add_events(commands: Any) -> None:
    """C{burrow events}."""
    parser = commands.add_parser(
        "events",
        help="show what happened lately on the server, or follow it",
        description="Show the events of the last day, at most 200 of each server process: agents and tunnels "
        "that came and went, certificates, servers. It asks the server that `burrow login` is for, with the "
        "token of a viewer or admin; with --state it looks into a server's store.",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those that come")
    parser.add_argument(
        "--limit", type=typed(parse_count), metavar="N", help="the last N (default: all, with -f the last 10)"
    )
    which_server(parser)
    parser.set_defaults(run=events)


def add_audit(commands: Any) -> None:
    """C{burrow audit}."""
    parser = commands.add_parser(
        "audit",
        help="show who changed what on the server",
        description="Show the changes of the last 90 days, by the API, the dashboard or a command on the "
        "server: who, what, from where, and what came of it; the newest last. It asks the server that "
        "`burrow login` is for, with the token of a viewer or admin; with --state it looks into a "
        "server's store.",
    )
    parser.add_argument("--limit", type=typed(parse_count), metavar="N", help="the last N (default: all)")
    which_server(parser)
    parser.set_defaults(run=audit)


def audit(arguments: argparse.Namespace) -> int:
    """C{burrow audit}."""

    def show_all(listing: Listing) -> None:
        items = listing.items if arguments.json else listing.items[::-1]
        show(arguments, "audit", Listing(items, listing.unanswered))

    if in_store(arguments):
        from burrow.cli.stored import STORED

        async def look(store: IStore) -> None:
            show_all(Listing((await STORED["audit"](store))[: arguments.limit], []))

        return with_store(arguments, look)

    async def ask(api: Api, reactor: Any) -> None:
        show_all(await api.list("/audit", most=arguments.limit))

    return with_api(arguments, ask)


def events(arguments: argparse.Namespace) -> int:
    """C{burrow events}."""
    most = arguments.limit

    def show_all(listing: Listing) -> None:
        """The table has the newest last, JSON what the API has."""
        items = listing.items if arguments.json else listing.items[::-1]
        show(arguments, "events", Listing(items, listing.unanswered))

    if in_store(arguments):
        if arguments.follow:
            running_server_alone(arguments, "tell what happens")
        from burrow.cli.stored import STORED

        async def look(store: IStore) -> None:
            show_all(Listing((await STORED["events"](store))[:most], []))

        return with_store(arguments, look)

    async def ask(api: Api, reactor: Any) -> None:
        if not arguments.follow:
            show_all(await api.list("/events", most=most))
            return
        told: set[str] = set()
        first = True

        def tell(kind: str, item: dict[str, Any]) -> None:
            if kind == "message" and item.get("id") not in told:
                say(json.dumps(item) if arguments.json else event_line(item))
            elif kind != "message":
                tell_trouble(kind, item)

        async def begun() -> str:
            nonlocal first
            if not first:  # the server goes on where it was
                return ""
            first = False
            items = (await api.list("/events", most=10 if most is None else most)).items
            for item in items[::-1]:
                tell("message", item)
                told.add(str(item.get("id")))
            return str(items[0].get("id")) if items else ""

        await api.follow("/events", None, tell, complain, begun)

    return with_api(arguments, ask)


def tell_trouble(kind: str, told: dict[str, Any]) -> None:
    """What a live answer says of itself."""
    if kind == "gap":
        complain(f"{told.get('dropped')} are left out: more came than can be sent")
    elif kind == "unanswered":
        nodes = ", ".join(map(str, told.get("nodes") or ()))
        complain(f"what happens on {nodes} is missing: no answer" if nodes else "all nodes answer again")
