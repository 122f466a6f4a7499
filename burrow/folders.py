"""
Where a person's files are (the XDG Base Directory specification, on Windows C{%LOCALAPPDATA%}), and how they
are written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of a person's settings."""
    return _folder("XDG_CONFIG_HOME", ".config", environ)


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of what a program keeps from one start to the next."""
    return _folder("XDG_STATE_HOME", ".local/state", environ)


def _folder(variable: str, unix: str, environ: Mapping[str, str]) -> Path:
    if environ.get(variable):
        return Path(environ[variable]) / "burrow"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "burrow"
    return Path.home() / unix / "burrow"


def write_whole(path: Path, data: bytes, *, mode: int = 0o600, first: bool = False) -> None:
    """
    Write a file, whose folder is made: others see it whole, or what was there before.

    @param mode: its permissions, as far as the umask allows. @param first: whether of several that write at
        once what came first stays; the caller has to read then what that is.
    @raise OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(data)
    if not first:
        os.replace(new, path)
        return
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except (OSError, AttributeError):  # no links on this file system
        os.replace(new, path)
    new.unlink(missing_ok=True)
