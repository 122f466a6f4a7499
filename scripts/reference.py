"""Writes docs/cli.md from the parsers themselves. tests/cli/test_reference.py compares."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from burrow.cli.main import make_parser

DOCS = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """\
# The command line

Written by `scripts/reference.py` from the code; do not edit.

Every option can also be set by the environment variable in brackets, or in a TOML file under its
name without the dashes. A flag overrides the environment, the environment overrides the file.
`twistd burrow-server` and `twistd burrow-client` take the options of `burrow server` and `burrow start`.

Agents read `credentials.toml`, which `burrow login` writes, and then `config.toml`, both in the config folder
(`$XDG_CONFIG_HOME/burrow`, else `~/.config/burrow`; on Windows `%LOCALAPPDATA%\\burrow`). An example:

```toml
server = "https://example.com"

[tunnels.blog]          # burrow start blog
upstream = 3000

[tunnels.db]
kind = "tcp"
upstream = "localhost:5432"
port = 20417            # the public port to have

[tunnels.any]
name = ""               # the server chooses one, always the same
upstream = 8000

[tunnels.secure]
upstream = "https://app.internal:8443"
upstream-ca = "ca.pem"  # or upstream-insecure = true; upstream-name = "the name in its certificate"

[tunnels.socket]
upstream = "unix:/run/app.sock"
```

`burrow start` reads the file again at SIGHUP: it opens new tunnels, closes those that are no longer there,
replaces those that changed, and leaves the others alone. If the file is wrong, nothing changes. SIGHUP, as
from a closed terminal, ends the other commands after a good-bye to the server.

An upstream over https must show a valid certificate; on the loopback any certificate is accepted, unless
`--upstream-ca` is given.

With `--json` each line on standard output is one JSON object. When a tunnel is open, the line is

    {"event": "ready", "kind": "http", "name": "blog", "url": "https://blog.example.com", "upstream": ...}

Others are `connected`, `disconnected`, `refused` and `notice` with a `message`, and `error` with `error` (a
class: NameTaken, NotAllowed, BadOption...) and `message` before the command ends.

| exit code | meaning |
| --- | --- |
| 0 | asked to stop |
| 2 | wrong usage: an unknown command or option, an argument too few or too many |
| 69 | the server cannot be reached (only with `--no-retry`, and for `burrow login`) |
| 77 | the server refused |
| 78 | wrong configuration: a value that is not possible, on the command line, in the environment or in a \
file; or something that this machine does not have, such as a free port |
"""


def subparsers(parser):
    """The commands of a parser, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def section(name, parser, level):
    """One command's part."""
    lines = [f"\n{'#' * level} burrow {name}\n", f"{parser.description or ''}".strip()]
    rows = []
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        flags = (
            ", ".join(f"`{flag}`" for flag in action.option_strings)
            or f"`{action.metavar or '|'.join(action.choices)}`"
        )
        wants = (
            ""
            if action.nargs == 0 or not action.option_strings
            else f" {action.metavar or action.dest.upper()}"
        )
        if action.choices and action.option_strings and not action.metavar:
            wants = " {" + ",".join(map(str, action.choices)) + "}"
        text = (action.help or "").replace("%%", "%").replace("|", "\\|")
        rows.append(f"| {flags}{wants} | {text} |")
    if rows:
        lines += ["\n| | |", "| --- | --- |", *rows]
    text = "\n".join(line for line in lines if line)
    for child, child_parser in subparsers(parser).items():
        child_parser.description = child_parser.description or ""
        text += "\n" + section(f"{name} {child}", child_parser, level + 1)
    return text


def reference():
    """The whole page."""
    commands = subparsers(make_parser())
    return HEAD + "\n".join(section(name, parser, 2) for name, parser in commands.items()) + "\n"


if __name__ == "__main__":
    DOCS.write_text(reference(), encoding="utf-8")
