"""Where a person's files are: the XDG Base Directory specification, on Windows C{%LOCALAPPDATA%}."""

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
