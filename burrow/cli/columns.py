"""What tables show of each thing of the admin API (docs/admin-api.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from burrow.cli.table import iso_at, lasted, parse_iso, size_of, took
from burrow.shown import escaped
from burrow.wording import count_of

Item = dict[str, Any]
Columns = list[tuple[str, Callable[[Item], object]]]
"""Headings, and what stands under each; None is an empty cell."""


def _get(field: str) -> Callable[[Item], object]:
    return lambda item: item.get(field)


def _time(field: str, none: str = "") -> Callable[[Item], object]:
    return lambda item: none if item.get(field) is None else iso_at(item[field])


def since(item: Item) -> str:
    """How long ago its C{since} is."""
    try:
        return lasted(time.time() - parse_iso(str(item["since"])))
    except (KeyError, ValueError, OverflowError):
        return ""


def _where(item: Item) -> str:
    """A tunnel's URL, or its kind and port while its node does not answer."""
    port = f" port {item['port']}" if item.get("port") else ""
    return str(item.get("url") or f"({item.get('kind')}{port})")


def _seconds(item: Item) -> object:
    value = item.get("round_trip")
    return took(value) if isinstance(value, (int, float)) else None


def _tunnels(item: Item) -> object:
    found = item.get("tunnels")
    return ", ".join(map(str, found)) if isinstance(found, list) else found


def _node_state(item: Item) -> str:
    if not item.get("answers", True):
        return "silent"
    return "draining" if item.get("draining") else "serves"


_LIMITS = {"max_names": "name", "max_ports": "port", "max_tunnels": "tunnel", "max_sessions": "session"}


def _limits(item: Item) -> str:
    own = [(item.get(field), thing) for field, thing in _LIMITS.items()]
    return ", ".join(count_of(limit, thing) for limit, thing in own if isinstance(limit, int))


COLUMNS: dict[str, Columns] = {
    "tunnels": [
        ("NAME", _get("name")),
        ("STATE", _get("state")),
        ("URL", _where),
        ("UPSTREAM", _get("upstream")),
        ("TOKEN", _get("owner")),
        ("AGENT AT", _get("address")),
        ("FOR", since),
        ("VISITORS", _get("visitors")),
        ("REQUESTS", _get("requests")),
    ],
    "sessions": [
        ("ID", _get("id")),
        ("STATE", _get("state")),
        ("TOKEN", _get("token")),
        ("ADDRESS", _get("address")),
        ("FOR", since),
        ("TRIP", _seconds),
        ("VERSION", _get("version")),
        ("TUNNELS", _tunnels),
    ],
    "names": [
        ("NAME", _get("name")),
        ("KIND", _get("kind")),
        ("PORT", _get("port")),
        ("TOKEN", _get("owner")),
        ("LAST USED", lambda item: "open" if item.get("open") else _time("last_seen")(item)),
        ("UPSTREAM", _get("upstream")),
    ],
    "tokens": [
        ("NAME", _get("name")),
        ("ROLE", _get("role")),
        ("CREATED", _time("created")),
        ("LAST USED", _time("last_used", "never")),
        ("NAMES", _get("names")),
        ("LIMITS", _limits),
    ],
    "nodes": [
        ("ID", _get("id")),
        ("STATE", _node_state),
        ("ADDRESS", _get("address")),
        ("VERSION", _get("version")),
        ("STARTED", _time("started")),
        ("TUNNELS", _get("tunnels")),
        ("SESSIONS", _get("sessions")),
        ("VISITORS", _get("visitors")),
    ],
    "certificates": [
        ("NAME", _get("host")),
        ("STATE", _get("state")),
        ("ISSUER", _get("issuer")),
        ("EXPIRES", _time("not_after", "-")),
        ("RENEWED AFTER", _time("next_try", "-")),
        ("LAST ERROR", _get("error")),
    ],
    "events": [
        ("WHEN", _time("when")),
        ("NODE", _get("node")),
        ("WHAT", _get("kind")),
        ("", _get("text")),
    ],
    "audit": [
        ("WHEN", _time("when")),
        ("WHO", _get("who")),
        ("WHAT", _get("action")),
        ("OF", _get("target")),
        ("FROM", _get("address")),
        ("RESULT", _get("result")),
    ],
}
"""By the word of the API."""


SPARE: dict[str, tuple[str, ...]] = {
    "tunnels": ("AGENT AT", "VISITORS", "REQUESTS", "FOR", "TOKEN", "UPSTREAM"),
    "sessions": ("VERSION", "TRIP", "FOR"),
    "names": ("KIND", "UPSTREAM"),
    "tokens": ("CREATED", "LIMITS"),
    "nodes": ("STARTED", "VERSION", "ADDRESS", "VISITORS"),
    "certificates": ("RENEWED AFTER", "ISSUER"),
    "events": ("NODE",),
    "audit": ("FROM", "RESULT"),
}
"""Headings of columns that a narrow terminal does without, the first one first."""

NOT_STORED: dict[str, tuple[str, ...]] = {
    "tunnels": ("AGENT AT", "VISITORS", "REQUESTS"),
    "nodes": ("TUNNELS", "VISITORS"),
}
"""Headings of columns that stay empty when a store is looked into: the server's processes alone know them."""


def rows_of(thing: str, items: list[Item]) -> list[tuple[str, ...]]:
    """The rows of a table, its heading first."""
    columns = COLUMNS[thing]
    rows = [tuple(heading for heading, _ in columns)]
    for item in items:
        cells = (value(item) for _, value in columns)
        rows.append(tuple("" if cell is None else str(cell) for cell in cells))
    return rows


def event_line(item: Item) -> str:
    """An event as a line."""
    when = str(item.get("when")).replace("T", " ")[:19]
    return escaped(f"{when}  {item.get('kind')}  {item.get('text')}")


def request_line(item: Item) -> str:
    """A request as a line: when, tunnel, method, path, status, time, bytes sent, visitor."""
    began = str(item.get("began", ""))
    clock = began[11:19] if len(began) > 18 else began
    protocol, status, error = item.get("protocol"), item.get("status"), item.get("error")
    what = f"{item.get('method')} {item.get('target')}" if item.get("method") else str(protocol)
    duration, sent = item.get("took"), item.get("sent")
    parts = [clock, str(item.get("tunnel")), what, "-" if status is None else str(status)]
    parts.append(took(duration) if isinstance(duration, (int, float)) else "runs")
    parts.append(size_of(sent) if isinstance(sent, (int, float)) else "")
    parts.append(str(item.get("visitor")))
    if error:
        parts.append(f"failed: {error}")
    return escaped("  ".join(part for part in parts if part))
