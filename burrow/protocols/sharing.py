"""
Names that several agents of one token share: the options, for every kind that declares them.

The server goes by them: see L{burrow.server.sharing}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from burrow.errors import ConfigError
from burrow.protocols.options import KindOption, kind_option

_PATH = re.compile(r"/[!-~]*")
_MAX_PATH = 1000


def _parse_path(text: str) -> str:
    if len(text) > _MAX_PATH or not _PATH.fullmatch(text):
        raise ValueError("write a path that begins with /, as in /healthz, without blanks")
    return text


SHARE = kind_option(
    "share",
    "share the name with the other agents of this token that say so, too: each request goes to the one that "
    "has the fewest under way; give --name",
    False,
)
STICKY = kind_option(
    "sticky", "with --share: lead a visitor to the same agent each time, by the cookie burrow-agent", False
)
HEALTH_PATH = kind_option(
    "health-path",
    "with --share: ask each agent's service for this path every 5 s, and send visitors to those that answer "
    "2xx or 3xx",
    "",
    parse=_parse_path,
    metavar="/PATH",
)
SHARING: tuple[KindOption, ...] = (SHARE, STICKY, HEALTH_PATH)
"""What a kind declares whose requests the edge reads."""


def is_shared(options: Mapping[str, Any]) -> bool:
    """Whether the options of a tunnel, by key, say that its name is shared."""
    return bool(options.get(SHARE.key))


def check_sharing(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: the options do not go together."""
    if not is_shared(options):
        for each in (STICKY, HEALTH_PATH):
            if options.get(each.key):
                raise ConfigError(f"{each.flag} is for a name that agents share: add --share")
        return
    if options.get("private") and options.get(STICKY.key):
        raise ConfigError(
            "--sticky is a cookie of the public URL, which a private tunnel has not: leave it out"
        )
