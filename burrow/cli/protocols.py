"""C{burrow protocols}: the kinds of tunnels that this Burrow knows, and plugins that are not used."""

from __future__ import annotations

import argparse
import json
from typing import Any

from burrow.cli.run import complain, say
from burrow.cli.table import show_table
from burrow.protocols.base import Kind
from burrow.protocols.registry import found, package_of


def add_protocols(commands: Any) -> None:
    """The command."""
    parser = commands.add_parser(
        "protocols",
        help="show the kinds of tunnels, and the plugins that they come from",
        description="Show the kinds of tunnels that this Burrow knows. Others come as plugins: install their "
        "packages beside Burrow. A plugin that cannot be used is named on standard error.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, with the options of each")
    parser.set_defaults(run=show)


def show(arguments: argparse.Namespace) -> int:
    """C{burrow protocols}. @return: 1 if a plugin cannot be used."""
    kinds, broken = found().kinds, found().broken
    if arguments.json:
        whole = {
            "protocols": [described(kinds[name]) for name in sorted(kinds)],
            "broken": [{"plugin": one.name, "error": one.why} for one in broken],
        }
        say(json.dumps(whole, indent=2))
    else:
        rows: list[tuple[str, ...]] = [("KIND", "REACHED BY", "PACKAGE", "OPENS", "OPTIONS")]
        for name in sorted(kinds):
            kind = kinds[name]
            flags = " ".join(each.flag for each in kind.options) or "-"
            rows.append((name, kind.reach.value, package_of(kind) or "-", kind.summary, flags))
        show_table(rows, ("OPTIONS", "PACKAGE"))
    if not arguments.json:
        for one in broken:
            complain(str(one))
    return 1 if broken else 0


def described(kind: Kind) -> dict[str, Any]:
    """A kind for programs: its options by JSON schemas."""
    return {
        "name": kind.name,
        "summary": kind.summary,
        "reach": kind.reach.value,
        "scheme": kind.scheme,
        "package": package_of(kind) or None,
        "versions": [kind.oldest, kind.version],
        "options": {each.key: {**each.schema(), "side": each.side.value} for each in kind.options},
    }
