"""C{burrow tunnels}, C{burrow sessions} and C{burrow nodes}: what a server has now."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from burrow.cli.completion import completed_by, open_tunnels
from burrow.cli.remote import running_server_alone, show_list, which_server, with_api
from burrow.cli.run import say
from burrow.client.api import Api
from burrow.client.asked import path_of


def add_tunnels(commands: Any) -> None:
    """C{burrow tunnels list|close}."""
    actions = _add(
        commands,
        "tunnels",
        "show the tunnels that are open, or close one",
        "Show the tunnels that are open: your own, or with the token of a viewer or admin all.",
    )
    close = actions.add_parser(
        "close",
        help="close a tunnel",
        description="Close a tunnel. Its agent is told, and does not open it again by itself. The name stays "
        "its owner's. What runs through it goes on to its end.",
    )
    which = close.add_argument("name", metavar="NAME", help="which, as `burrow tunnels` shows it")
    completed_by(which, open_tunnels)
    which_server(close, keep=True, as_json=False)
    close.set_defaults(run=tunnels_close)


def add_sessions(commands: Any) -> None:
    """C{burrow sessions list|end}."""
    actions = _add(
        commands,
        "sessions",
        "show the agents that are connected, or end a session",
        "Show the agents' sessions: your own, or with the token of a viewer or admin all.",
    )
    end = actions.add_parser(
        "end",
        help="end an agent's session",
        description="End a session. What runs through it is cut. Its agent connects again, with a new "
        "session, unless its token was revoked.",
    )
    end.add_argument("id", metavar="ID", help="which, as `burrow sessions` shows it")
    which_server(end, keep=True, as_json=False)
    end.set_defaults(run=sessions_end)


def add_nodes(commands: Any) -> None:
    """C{burrow nodes list|drain}."""
    actions = _add(
        commands,
        "nodes",
        "show the server's processes, or drain one",
        "Show the server's processes, on all machines. It needs the token of a viewer or admin.",
    )
    drain = actions.add_parser(
        "drain",
        help="send a node's agents and visitors to the others, so that it can be stopped",
        description="Send a node's agents and visitors to the others. It takes no more connections, and "
        "stays until it is stopped; there is no way back. It needs an admin's token.",
    )
    drain.add_argument("id", metavar="ID", help="which, as `burrow nodes` shows it")
    which_server(drain, keep=True, as_json=False)
    drain.set_defaults(run=nodes_drain)


def _add(commands: Any, thing: str, text: str, description: str) -> Any:
    parser = commands.add_parser(
        thing,
        help=text,
        description=f"{description} It asks the server that `burrow login` is for, or looks with --state "
        "into a server's store.",
    )
    which_server(parser)
    parser.set_defaults(run=partial(show_list, thing=thing))
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="show them, as without ACTION")
    which_server(listing, keep=True)
    listing.set_defaults(run=partial(show_list, thing=thing))
    return actions


def tunnels_close(arguments: argparse.Namespace) -> int:
    """C{burrow tunnels close NAME}."""
    path = path_of("tunnels", arguments.name)
    return _change(arguments, "DELETE", path, "close a tunnel", f"Closed {arguments.name}")


def sessions_end(arguments: argparse.Namespace) -> int:
    """C{burrow sessions end ID}."""
    path = path_of("sessions", arguments.id)
    return _change(arguments, "DELETE", path, "end a session", f"Ended the session {arguments.id}")


def nodes_drain(arguments: argparse.Namespace) -> int:
    """C{burrow nodes drain ID}."""
    path = path_of("nodes", arguments.id, "drain")
    done = f"The node {arguments.id} sends its agents and visitors to the others: it can be stopped"
    return _change(arguments, "POST", path, "drain a node", done)


def _change(arguments: argparse.Namespace, method: str, path: str, what: str, done: str) -> int:
    running_server_alone(arguments, what)

    async def ask(api: Api, reactor: Any) -> None:
        await api.ask(method, path)
        say(done)

    return with_api(arguments, ask)
