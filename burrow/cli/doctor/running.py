"""The configuration of the server that runs, as far as Linux tells of its process (proc(5))."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from burrow.cli.parsing import typed
from burrow.errors import ConfigError
from burrow.options import add_arguments, flags_given
from burrow.server.config import ServerConfig
from burrow.server.reading import server_config
from burrow.supervisor.claim import server_state
from burrow.values import parse_path


class _Quiet(argparse.ArgumentParser):
    """A parser that does not end the program."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """See L{argparse.ArgumentParser.error}."""
        raise ConfigError(message)


def running_config(
    asked: ServerConfig, arguments: argparse.Namespace, proc: Path = Path("/proc")
) -> tuple[ServerConfig, int] | None:
    """
    The configuration of the server that runs with C{asked}'s state folder, with what a command line gave
    instead of its own, and its process id; None if no server runs there, or its options cannot be known.

    @raise ConfigError: what was given does not go with it.
    """
    try:
        pid = server_state(asked.state_dir)["pid"]
        words = _texts(proc / str(pid) / "cmdline")
        environ = dict(text.split("=", 1) for text in _texts(proc / str(pid) / "environ") if "=" in text)
        folder = Path(os.readlink(proc / str(pid) / "cwd"))
        parser = _Quiet(allow_abbrev=False, add_help=False)
        add_arguments(parser, ServerConfig)
        parser.add_argument("--config", type=typed(parse_path))
        parsed, _ = parser.parse_known_args(words[words.index("server") + 1 :])
    except (ConfigError, OSError, ValueError):
        return None
    flags = {**flags_given(parsed, ServerConfig), "state": asked.state_dir}
    flags = {name: folder / value if isinstance(value, Path) else value for name, value in flags.items()}
    given = flags_given(arguments, ServerConfig)
    flags.update({name: value for name, value in given.items() if value not in (None, False, [])})
    file = arguments.config or (folder / parsed.config if parsed.config else None)
    return server_config(flags, None if file is None else str(file), environ), pid


def _texts(file: Path) -> list[str]:
    """The texts of a file of proc(5), each of which ends with a zero byte."""
    return file.read_bytes().decode("utf-8", "replace").split("\0")
