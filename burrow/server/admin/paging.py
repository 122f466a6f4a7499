"""Lists in pages: C{cursor} names the last item of the page before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any

from burrow.server.admin.describe import Item
from burrow.server.admin.problems import invalid


def after(query: dict[str, Any]) -> str:
    """
    The key of the last item of the page before; empty for the first page.

    @raise Problem: the cursor is not one of ours (422).
    """
    cursor: str | None = query.get("cursor")
    if cursor is None:
        return ""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise invalid("cursor", "`cursor` has to be the value of `next` in the page before.") from error


def page(
    items: Iterable[Item],
    query: dict[str, Any],
    key: Callable[[Item], str],
    unanswered: list[str] | None = None,
    *,
    newest: bool = False,
) -> Item:
    """
    A page of the items behind the cursor, sorted by C{key}, which is unique.

    @param unanswered: the ids of nodes that did not answer, if nodes were asked.
    @param newest: the greatest first.
    """
    last, limit = after(query), query["limit"]
    behind = [item for item in items if not last or (key(item) < last if newest else key(item) > last)]
    behind.sort(key=key, reverse=newest)
    answer: Item = {"items": behind[:limit]}
    if len(behind) > limit:
        answer["next"] = base64.urlsafe_b64encode(key(behind[limit - 1]).encode()).decode().rstrip("=")
    if unanswered is not None:
        answer["unanswered"] = unanswered
    return answer
