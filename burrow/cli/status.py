"""C{burrow status}: what a person wants to know first, of a server and of the own tunnels there."""

from __future__ import annotations

import argparse
import json
from typing import Any

import attr

from burrow import __version__
from burrow.cli.columns import Item, since
from burrow.cli.help import is_styled
from burrow.cli.remote import in_store, which_server, with_api
from burrow.cli.run import say
from burrow.cli.store import place_of, read_config, server_elsewhere, with_store
from burrow.cli.table import show_table, took
from burrow.client.api import Api
from burrow.clock import ticks
from burrow.errors import Refused
from burrow.shown import escaped
from burrow.store.base import IStore
from burrow.wording import count_of

SLOW = 0.5
"""Seconds of a round trip from which on it is told as a trouble."""


@attr.frozen
class Status:
    """
    What was learned.

    @ivar who: the API's answer to C{whoami}; None from a store. @ivar round_trip: in seconds.
    @ivar more: further lists, by the word of the API, as far as the token may see them.
    @ivar elsewhere: of a store, see L{server_elsewhere<burrow.cli.store.server_elsewhere>}.
    """

    server: str
    who: Item | None
    round_trip: float | None
    tunnels: list[Item]
    more: dict[str, list[Item]]
    unanswered: list[str]
    elsewhere: str = ""

    def as_json(self) -> Item:
        """One document."""
        return {
            "server": self.server,
            "whoami": self.who,
            "round_trip": self.round_trip,
            "tunnels": self.tunnels,
            **self.more,
            "unanswered": self.unanswered,
            "troubles": [{"trouble": what, "do": todo} for what, todo in troubles(self)],
        }


def troubles(status: Status) -> list[tuple[str, str]]:
    """What is wrong, and what to do about it."""
    found: list[tuple[str, str]] = []
    version = str((status.who or {}).get("version") or __version__)
    if _release(version) != _release(__version__):
        older = _release(version) < _release(__version__)
        todo = "ask its owner to update it" if older else "update it: install the newer release in its place"
        whose = f"the server is of release {version}, this program of {__version__}"
        found.append((whose, todo))
    if status.round_trip is not None and status.round_trip >= SLOW:
        found.append(
            (f"the server is {took(status.round_trip)} away", "look at the line with `burrow doctor`")
        )
    for tunnel in status.tunnels:
        name = tunnel.get("name")
        if tunnel.get("state") == "detached":
            found.append(
                (
                    f"the tunnel {name} has lost its agent; its visitors wait or get 503",
                    "look on the agent's machine whether it runs and has a network; it comes back by itself",
                )
            )
        elif tunnel.get("state") == "away":
            found.append(
                (
                    f"the tunnel {name} is on the node {tunnel.get('node')}, which does not answer",
                    "look at that server's log; its agent goes to another node by itself",
                )
            )
    if status.who is None and not status.more.get("nodes"):
        found.append(
            (
                f"no server runs with {status.server}{status.elsewhere}",
                "start one with `burrow server`, or give the --state DIR of the one that you mean",
            )
        )
    if status.unanswered:
        found.append(
            (
                f"no answer from {', '.join(status.unanswered)}: what only they know is missing here",
                "see `burrow nodes`, and those servers' logs",
            )
        )
    for one in status.more.get("certificates", ()):
        if one.get("state") in ("expired", "failed"):
            reason = f": {one['error']}" if one.get("error") else ""
            found.append(
                (
                    f"the certificate of {one.get('host')} {_CERTIFICATE[one['state']]}{reason}",
                    "run `burrow doctor server` on the server's machine",
                )
            )
    for node in status.more.get("nodes", ()):
        if node.get("draining"):
            found.append((f"the node {node.get('id')} drains", "it can be stopped, or is about to"))
    return found


_CERTIFICATE = {"expired": "has expired", "failed": "could not be renewed"}


def _release(version: str) -> tuple[int, ...]:
    """What comes first of a version, to be compared."""
    numbers = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits[:9]))
    return tuple(numbers[:3])


def lines_of(status: Status, *, styled: bool = False) -> tuple[list[str], list[str]]:
    """The lines before the table of tunnels, and those behind it."""

    def heading(text: str) -> str:
        return f"\x1b[1m{text:<9}\x1b[0m" if styled else f"{text:<9}"

    def mark(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if styled else text

    head = []
    trip = "" if status.round_trip is None else f", round trip {took(status.round_trip)}"
    if status.who is None:
        versions = sorted({str(node.get("version")) for node in status.more.get("nodes", ())})
        runs = f"runs release {', '.join(versions)}" if versions else "no server runs"
        head.append(f"{heading('Server')}{status.server}: {runs}")
    else:
        version, name, role = (escaped(str(status.who.get(key))) for key in ("version", "name", "role"))
        head.append(f"{heading('Server')}{status.server}, release {version}{trip}")
        head.append(f"{heading('Token')}{name} (role {role})")
    if "all_tunnels" in status.more or status.who is None:
        counts = [
            count_of(len(status.more.get("all_tunnels", status.tunnels)), "tunnel"),
            *(
                count_of(len(status.more[thing]), thing[:-1])
                for thing in ("sessions", "names", "tokens", "nodes", "certificates")
                if thing in status.more
            ),
        ]
        head.append(f"{heading('In all')}{', '.join(counts)}")
    whose = "no tunnel of yours is open" if status.who is not None else "no tunnel is open"
    if status.tunnels:
        states = [str(tunnel.get("state")) for tunnel in status.tunnels]
        summed = [f"{states.count(state)} {state}" for state in ("open", "detached", "away")]
        whose = ", ".join(text for text in summed if not text.startswith("0 "))
    head.append(f"{heading('Tunnels')}{whose}")
    found = troubles(status)
    tail = [mark("Nothing is wrong.", "32")] if not found else []
    for what, todo in found:
        tail += [f"{mark('!', '31')} {escaped(what[:1].upper() + what[1:])}", f"  {todo}"]
    if not status.tunnels and status.who is not None and status.who.get("role") != "viewer":
        tail.append("To open a tunnel to port 3000: burrow http 3000")
    return head, tail


def add_status(commands: Any) -> None:
    """C{burrow status}."""
    parser = commands.add_parser(
        "status",
        help="show the server, your token, your tunnels, and what is wrong",
        description="Show the server's release, whose token this is, the own tunnels and their states, the "
        "time to the server and back, and what is wrong with what to do about it. It asks the server that "
        "`burrow login` is for; with --state it looks into a server's store.",
    )
    which_server(parser)
    parser.set_defaults(run=status)


async def ask_status(api: Api) -> Status:
    """Ask a server. @raise BurrowError: see L{Api.ask}."""
    await api.ask("GET", "/whoami")  # connects
    began = ticks()
    who = await api.ask("GET", "/whoami")
    trip = ticks() - began
    listing = await api.list("/tunnels")
    own = [item for item in listing.items if item.get("owner") == who.get("name")]
    more: dict[str, list[Item]] = {}
    unanswered = set(listing.unanswered)
    if who.get("role") != "agent":
        more["all_tunnels"] = listing.items
        for thing in ("sessions", "names", "tokens", "nodes", "certificates"):
            try:
                found = await api.list(f"/{thing}")
            except Refused:  # the role was changed in between
                continue
            more[thing] = found.items
            unanswered.update(found.unanswered)
    return Status(str(api.address), who, trip, own, more, sorted(unanswered))


def _print(arguments: argparse.Namespace, found: Status) -> None:
    if arguments.json:
        say(json.dumps(found.as_json()))
        return
    head, tail = lines_of(found, styled=is_styled())
    for line in head:
        say(line)
    if found.tunnels:
        say("")
        rows: list[tuple[str, ...]] = [("NAME", "STATE", "FOR", "URL", "UPSTREAM", "REQUESTS")]
        for item in found.tunnels:
            cells = [item.get("name"), item.get("state"), since(item), item.get("url")]
            cells += [item.get("upstream"), item.get("requests")]
            rows.append(tuple("" if cell is None else str(cell) for cell in cells))
        show_table(rows, ("REQUESTS", "FOR", "UPSTREAM"))
    say("")
    for line in tail:
        say(line)


def status(arguments: argparse.Namespace) -> int:
    """C{burrow status}."""
    if in_store(arguments):
        from burrow.cli.stored import STORED

        async def look(store: IStore) -> None:
            more = {
                thing: await STORED[thing](store) for thing in ("names", "tokens", "nodes", "certificates")
            }
            tunnels = await STORED["tunnels"](store)
            config = read_config(arguments)
            where = f"the store of {place_of(config)}"
            _print(arguments, Status(where, None, None, tunnels, more, [], server_elsewhere(config)))

        return with_store(arguments, look)

    async def ask(api: Api, reactor: Any) -> None:
        _print(arguments, await ask_status(api))

    return with_api(arguments, ask)
