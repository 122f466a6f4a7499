"""The agent's id: random, made once for each user of a machine. The server remembers names by it."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from burrow.errors import ConfigError

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
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f"{_FILE}.{os.getpid()}")
        temporary.write_text(secrets.token_hex(8) + "\n", encoding="ascii")
        if path.exists():
            os.replace(temporary, path)
        else:
            try:
                os.link(temporary, path)  # of two that start at once, one id wins
            except (OSError, AttributeError):
                os.replace(temporary, path)
        temporary.unlink(missing_ok=True)
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"the agent's id cannot be kept in {folder}: {error.strerror}; "
            "set XDG_STATE_HOME to a folder that can be written"
        ) from error
