"""Reads secrets from files or standard input: every user of a machine can read its command lines."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from burrow.errors import ConfigError
from burrow.values import STDIN

_MOST = 64 * 1024
_of_stdin: dict[str, str] = {}
"""
The secrets that were read from standard input, by C{what}. It can be read only once, and the agent reads its
configuration again at SIGHUP.
"""


def read_secret(path: Path, what: str) -> str:
    """
    The one word in a file, or on a line of standard input; asked for where that is a terminal.

    @param what: what it is, for people. @raise ConfigError: there is none, or it cannot be read.
    """
    where = "standard input" if path == STDIN else str(path)
    try:
        if path == STDIN:
            text = getpass.getpass(f"{what}: ") if sys.stdin.isatty() else sys.stdin.readline(_MOST)
        else:
            with path.open(encoding="utf-8") as file:
                text = file.read(_MOST)
    except EOFError:
        text = ""
    except OSError as error:
        raise ConfigError(f"cannot read the {what} from {where}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{where} is no text: write the {what} alone there") from error
    words = text.split()
    if path == STDIN and not words and what in _of_stdin:
        return _of_stdin[what]
    if len(words) != 1:
        problem = "is empty" if not words else "has more than one word"
        raise ConfigError(f"{where} {problem}: write the {what} alone there")
    if path == STDIN:
        _of_stdin[what] = words[0]
    return words[0]
