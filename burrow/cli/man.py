"""Manual pages (man(7)), made of the same parsers as C{--help}: of the program, and of each command."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from burrow import __version__
from burrow.cli.help import EXIT_CODES, TASKS, WISHES
from burrow.errors import ConfigError
from burrow.wording import shown

_FILES = (
    ("config.toml", "an agent's settings and tunnels, in $XDG_CONFIG_HOME/burrow, else ~/.config/burrow"),
    ("credentials.toml", "what burrow login wrote, in the same folder"),
)


def write_pages(parser: argparse.ArgumentParser, folder: Path) -> list[Path]:
    """
    Write all pages into a folder, which is made if it is not there.

    @raise ConfigError: they cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages(parser).items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise ConfigError(f"cannot write the manual pages into {folder}: {error.strerror}") from error
    return written


def pages(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The pages, by the names of their files."""
    commands = _subparsers(parser)
    assert commands is not None
    helps = {each.dest: each.help or "" for each in commands._get_subactions()}
    found = {"burrow.1": _program(commands.choices, helps)}
    for name, command in commands.choices.items():
        found[f"burrow-{name}.1"] = _command(name, command, helps.get(name, ""))
    return found


def _subparsers(
    parser: argparse.ArgumentParser,
) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    return next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)


# -- the markup ---------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """Plain text; what stands between back quotes is bold, as something to type."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(f"\\fB{_escaped(part)}\\fR" if n % 2 else _escaped(part) for n, part in enumerate(parts))


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)


def _line(text: str) -> str:
    """Text that is a line of its own: nothing in it is taken for a request."""
    marked = _text(" ".join(text.split()))
    return f"\\&{marked}" if marked[:1] in (".", "'") else marked


def _head(name: str, text: str) -> list[str]:
    # https://reproducible-builds.org/specs/source-date-epoch/
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch and not (epoch.isascii() and epoch.isdigit() and len(epoch) < 12):
        raise ConfigError(f"SOURCE_DATE_EPOCH {shown(epoch)} is not possible: write seconds since 1970")
    when = int(epoch or time.time())
    date = time.strftime("%Y-%m-%d", time.gmtime(when))
    title = _escaped(name.upper())
    head = f'.TH "{title}" "1" "{date}" "burrow {_escaped(__version__)}" "Burrow"'
    return [head, ".SH NAME", f"{_escaped(name)} \\- {_line(text)}"]


def _item(term: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_escaped(term)}\\fR", _line(text or "see the description")]


# -- the pages ----------------------------------------------------------------------------------------------


def _program(commands: dict[str, argparse.ArgumentParser], helps: dict[str, str]) -> str:
    lines = _head("burrow", "one HTTPS URL for what runs on your machine, and it never changes")
    lines += [".SH SYNOPSIS", "\\fBburrow\\fR \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"]
    lines += [".SH DESCRIPTION", _line("What to type for the usual wishes:")]
    for wish, typed in WISHES:
        lines += _item(typed, wish)
    tasks = dict(TASKS)
    known = {name for names in tasks.values() for name in names}
    first = next(iter(tasks))
    tasks[first] = (*(name for name in commands if name not in known), *tasks[first])
    lines += [".SH COMMANDS"]
    for task, names in tasks.items():
        lines += [f'.SS "{_escaped(task)}"']
        for name in names:
            lines += _item(f"burrow {name}", helps.get(name, ""))
    lines += [".SH OPTIONS", *_item("--version", "show the version"), *_item("-h, --help", "show the help")]
    return _end(lines, [f"burrow-{name}" for name in commands])


def _command(name: str, parser: argparse.ArgumentParser, text: str) -> str:
    lines = _head(f"burrow-{name}", text)
    lines += [".SH SYNOPSIS", *_usage(parser), ".SH DESCRIPTION", _line(parser.description or text)]
    options = _arguments(parser)
    if options:
        lines += [".SH OPTIONS", *options]
    lines += _actions(parser, f"burrow {name}")
    return _end(lines, ["burrow"])


def _actions(parser: argparse.ArgumentParser, words: str, heading: str = ".SH ACTIONS") -> list[str]:
    actions = _subparsers(parser)
    if actions is None:
        return []
    lines = [heading] if heading else []
    helps = {each.dest: each.help or "" for each in actions._get_subactions()}
    for name, action in actions.choices.items():
        lines += [f'.SS "{_escaped(f"{words} {name}")}"']
        lines += [_line(action.description or helps.get(name, "")), ".PP", *_usage(action)]
        lines += _arguments(action)
        lines += _actions(action, f"{words} {name}", "")
    return lines


def _usage(parser: argparse.ArgumentParser) -> list[str]:
    usage = parser.format_usage().removeprefix("usage: ")
    return [_line(usage)]


def _arguments(parser: argparse.ArgumentParser) -> list[str]:
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        lines += _item(term_of(action), (action.help or "").replace("%%", "%"))
    return lines


def term_of(action: argparse.Action) -> str:
    """An option with its value, or an argument."""
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
    value = str(action.metavar or choices or action.dest.upper())
    if not action.option_strings:
        return value
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {value}"


def _end(lines: list[str], also: Sequence[str]) -> str:
    lines += [".SH FILES"]
    for name, text in _FILES:
        lines += _item(name, text)
    lines += [".SH EXIT STATUS"]
    for each in " ".join(EXIT_CODES.split()).split(", "):
        code, _, text = each.partition(" ")
        lines += _item(code, text)
    seen = [f"\\fB{_escaped(name)}\\fR(1)" for name in sorted(also)]
    lines += [".SH SEE ALSO", *(f"{one}," for one in seen[:-1]), *seen[-1:]]
    return "\n".join(lines) + "\n"
