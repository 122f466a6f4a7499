"""C{burrow logs}: the requests of visitors, as the server tells them."""

from __future__ import annotations

import argparse
import json
from collections import deque
from typing import Any

from burrow.cli.columns import request_line
from burrow.cli.completion import completed_by, open_tunnels
from burrow.cli.events import tell_trouble
from burrow.cli.parsing import typed
from burrow.cli.remote import running_server_alone, which_server, with_api
from burrow.cli.run import complain, say
from burrow.client.api import Api
from burrow.values import parse_count

_REMEMBERED = 5000
"""Requests that are known to be shown already, at most: as many as a node keeps."""


def add_logs(commands: Any) -> None:
    """C{burrow logs}."""
    parser = commands.add_parser(
        "logs",
        help="show the requests that visitors make, or follow them",
        description="Show the latest requests to your tunnels, or with the token of a viewer or admin to "
        "all. A server keeps them from when somebody first asks until ten minutes after somebody last did. "
        "`burrow requests` shows those of this machine's agents, with headers and bodies.",
    )
    name = parser.add_argument("name", nargs="?", metavar="NAME", help="those of this tunnel alone")
    completed_by(name, open_tunnels)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those that come")
    parser.add_argument(
        "--limit", type=typed(parse_count), default=50, metavar="N", help="the last N (default: 50)"
    )
    which_server(parser)
    parser.set_defaults(run=logs)


class _Shown:
    """Shows each request once: when it is over, and what is not HTTP also when it begins."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._known: dict[tuple[str, bool], None] = {}
        self._order: deque[tuple[str, bool]] = deque()

    def tell(self, kind: str, item: dict[str, Any]) -> None:
        if kind != "message":
            tell_trouble(kind, item)
            return
        over = item.get("took") is not None
        key = (str(item.get("id")), over)
        if key in self._known or not (over or self._as_json or not item.get("method")):
            return
        if len(self._order) >= _REMEMBERED:
            self._known.pop(self._order.popleft())
        self._known[key] = None
        self._order.append(key)
        say(json.dumps(item) if self._as_json else request_line(item))


def logs(arguments: argparse.Namespace) -> int:
    """C{burrow logs [NAME]}."""
    running_server_alone(arguments, "tell its visitors' requests, which are not in the store")
    query = {"tunnel": arguments.name}

    async def ask(api: Api, reactor: Any) -> None:
        if not arguments.follow:
            listing = await api.list("/requests", query, arguments.limit)
            if arguments.json:
                say(json.dumps({"items": listing.items}))
                return
            for item in reversed(listing.items):
                say(request_line(item))
            if not listing.items:
                complain("no requests are kept: the server keeps them from now on, for ten minutes")
            return
        shown = _Shown(as_json=arguments.json)

        async def begun() -> str:
            for item in reversed((await api.list("/requests", query, arguments.limit)).items):
                shown.tell("message", item)
            return ""

        await api.follow("/requests", query, shown.tell, complain, begun)

    return with_api(arguments, ask)
