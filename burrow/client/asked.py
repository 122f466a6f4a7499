"""Where a server's admin API is, and what a whole list of it is: without what asks for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import attr

API = "/_burrow/api/v1"


@attr.frozen
class Listing:
    """
    A whole list.

    @ivar unanswered: the ids of nodes that did not answer. @ivar more: whether there are more items.
    """

    items: list[dict[str, Any]]
    unanswered: list[str]
    more: bool = False


def path_of(*parts: str) -> str:
    """The path of a thing: C{path_of("names", "blog")}."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)
