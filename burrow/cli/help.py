"""The screen of C{burrow help}: what to type for the usual wishes, then the commands by task."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable

WISHES = [
    ("see it work, without a server", "burrow demo"),
    ("a URL for a web app on port 3000", "burrow http 3000"),
    ("the same, under your own name", "burrow http 3000 --name blog"),
    ("a port for a database or SSH", "burrow tcp 5432"),
    ("keep the server and the token", "burrow login https://example.com"),
    ("many tunnels, from a file", "burrow start"),
    ("start a program with its URL", "burrow run -- uvicorn app:app"),
    ("HTTPS names on this machine alone", "burrow up 3000"),
    ("run a server of your own", "burrow server --domain me.dev --tls acme"),
    ("let somebody use your server", "burrow token create ann"),
    ("a new version, nobody cut off", "burrow server reload"),
    ("your tunnels, and what is wrong", "burrow status"),
    ("visitors' requests, live", "burrow logs -f"),
    ("what may be wrong", "burrow doctor"),
]
"""What people come for, and what to type for it."""

TASKS = {
    "Open tunnels": ("start", "connect", "share", "run", "up", "demo", "login"),
    "See what flows": ("status", "tunnels", "logs", "requests", "replay", "sessions", "events", "audit"),
    "Run a server": ("server", "token", "tokens", "names", "nodes", "certs", "store"),
    "This program": ("help", "protocols", "doctor", "service", "config", "completion", "version"),
}
"""The commands by task. Kinds of tunnels, which plugins add to, stand first among those that open tunnels."""

EXIT_CODES = """\
0 asked to stop, 2 wrong usage, 69 server not reachable (with --no-retry),
77 refused by the server, 78 wrong configuration"""


def start_screen(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], kinds: Iterable[str], *, styled: bool
) -> str:
    """
    The screen's text.

    @param kinds: the names of the commands that are kinds of tunnels.
    @param styled: whether headings are bold, by the escape sequences of terminals.
    """
    helps = {each.dest: each.help or "" for each in commands._get_subactions()}
    width = max(60, min(shutil.get_terminal_size().columns, 100))

    def heading(text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if styled else text

    lines = ["Burrow: one HTTPS URL for what runs on your machine, and it never changes.", ""]
    lines += [heading("What to type for")]
    lines += [f"  {wish:<33} {command}" for wish, command in WISHES]
    for task, names in TASKS.items():
        lines += ["", heading(task)]
        if task == "Open tunnels":
            names = (*kinds, *names)
        for name in names:
            first, *rest = textwrap.wrap(helps[name], width - 14)
            lines += [f"  {name:<11} {first}", *(f"{'':14}{line}" for line in rest)]
    lines += ["", heading("Exit codes"), textwrap.indent(EXIT_CODES, "  "), ""]
    lines += ["`burrow COMMAND --help` shows a command's options.", ""]
    return "\n".join(lines)


def is_styled() -> bool:
    """Whether standard output is a terminal that shows bold text, and the user wants it (no-color.org)."""
    stream = sys.stdout
    if stream is None or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
