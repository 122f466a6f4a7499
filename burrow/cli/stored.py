"""The admin API's objects, as far as a server's store tells: for commands with C{--state} or C{--store}."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable

from burrow.server.admin.describe import (
    Item,
    audit_item,
    away_item,
    certificate_item,
    event_item,
    leaves_of,
    name_item,
    node_item,
    token_item,
)
from burrow.server.audit import Audit
from burrow.server.events import recent
from burrow.server.nodes.records import NODES, Node, from_notes, live_leases
from burrow.store.base import IStore
from burrow.store.spaces import CERTIFICATES, ERRORS


async def tunnels(store: IStore) -> list[Item]:
    """The tunnels that nodes hold; their agents and visitors are known to the nodes alone."""
    owners = {token.id: token.name for token in await store.tokens()}
    known = {one.name: one for one in await store.reservations()}
    items = []
    for name, lease in sorted((await live_leases(store)).items()):
        item = away_item(lease, owners.get(lease.token, lease.token))
        upstream = known[name].upstream if name in known else None
        items.append({**item, "state": "open", "upstream": upstream, "visitors": None})
    return items


async def names(store: IStore) -> list[Item]:
    """Who owns which name."""
    owners = {token.id: token.name for token in await store.tokens()}
    live = await live_leases(store)
    return [
        name_item(known, owners.get(known.token, f"{known.token} (revoked)"), known.name in live)
        for known in await store.reservations()
    ]


async def tokens(store: IStore) -> list[Item]:
    """The tokens."""
    owned = Counter(known.token for known in await store.reservations())
    return [token_item(token, owned[token.id]) for token in await store.tokens()]


async def nodes(store: IStore) -> list[Item]:
    """The server's processes: who has a note there is alive."""
    found: dict[str, Node] = from_notes(Node, await store.notes(NODES))
    return [{**node_item(node, None), "answers": True} for _, node in sorted(found.items())]


async def certificates(store: IStore) -> list[Item]:
    """The certificates of C{--tls acme}."""
    errors = await store.notes(ERRORS)
    leaves = leaves_of(await store.notes(CERTIFICATES))
    return [
        certificate_item(host, leaves.get(host), time.time(), errors.get(host))
        for host in sorted({*leaves, *errors})
    ]


async def events(store: IStore) -> list[Item]:
    """The events of the last day, the newest first."""
    return [event_item(event) for event in reversed(await recent(store))]


async def audit(store: IStore) -> list[Item]:
    """Who changed what, the newest first."""
    return [audit_item(entry) for entry in reversed(await Audit(store).entries())]


STORED: dict[str, Callable[[IStore], Awaitable[list[Item]]]] = {
    "tunnels": tunnels,
    "names": names,
    "tokens": tokens,
    "nodes": nodes,
    "certificates": certificates,
    "events": events,
    "audit": audit,
}
"""By the word of the API. Sessions and requests are known to the server's processes alone."""
