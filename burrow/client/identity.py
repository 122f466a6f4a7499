"""The agent's id: random, made once for each user of a machine. The server remembers names by it."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from burrow.errors import ConfigError
from burrow.folders import write_whole

_FILE = "agent-id"
_SHAPE = re.compile(r"[a-z0-9]{16}")


def agent_id(folder: Path) -> str:
    """
    The id kept in C{folder}; made there if there is none.

    @raise ConfigError: it can neither be read nor written.
    """
    path = folder / _FILE
    try:
        if path.exists():
            known = path.read_text(encoding="ascii", errors="replace").strip()
            if _SHAPE.fullmatch(known):
                return known
        made = secrets.token_hex(8) + "\n"
        write_whole(path, made.encode(), mode=0o666, first=not path.exists())
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"the agent's id cannot be kept in {folder}: {error.strerror}; "
            "set XDG_STATE_HOME to a folder that can be written"
        ) from error
