"""
What nodes write into the store for each other: their addresses, and which tunnels they hold.

The space L{NODES} has one note per node, by its id; L{LEASES} one per open tunnel, by its name. Each is a
JSON object with the fields below.
"""

from __future__ import annotations

import json
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attr

from burrow.store.base import IStore, record

NODES, LEASES = "nodes", "leases"

_T = TypeVar("_T")


@attr.frozen
class Node:
    """
    One server process.

    @ivar host: with C{port}, the address where other nodes link to it.
    @ivar secret: what they must send there. New at each start; whoever may read the store may link.
    @ivar certificate: what it shows there, in PEM form; empty if it speaks without TLS, on the loopback.
    @ivar group: the same for all processes of one C{burrow server}, which are replaced and stopped together.
    @ivar draining: whether it is about to end: agents and visitors should go to other nodes.
    @ivar sessions: how many sessions each token has there, by the token's id, as of its last renewal.
    @ivar door: the socket where processes of its group hand it connections; empty if they cannot: see
        L{burrow.server.nodes.handover}.
    @ivar beat: how often it has renewed its note; None in notes of older releases.
    @ivar shares: the keys of the agents that share names there (L{burrow.server.sharing}), by name. None in
        notes of older releases, which know no rules for visitors, either.
    @ivar logs: whether what it writes is told by L{IStore.changes<burrow.store.base.IStore.changes>}: not in
        older releases.
    """

    id: str
    host: str
    port: int
    secret: str = attr.field(repr=False)
    certificate: str = attr.field(repr=False)
    version: str
    started: float
    group: str = ""
    draining: bool = False
    sessions: dict[str, int] = attr.field(factory=dict)
    beat: int | None = None
    door: str = ""
    logs: bool = False
    shares: dict[str, list[str]] | None = None


@attr.frozen
class Lease:
    """
    Says which node holds an open tunnel.

    @ivar port: the public port, if it has one.
    @ivar since: when the node took it, in seconds since the epoch. Of two leases the later one counts; of two
        from the same moment the one whose node has the greater id, so that all nodes agree.
    @ivar token: the id of the token that it was opened with; empty in leases of older releases.
    @ivar options: what its agent told of its kind's options, as a JSON object; empty if nothing.
    @ivar version: the version of its kind that is spoken.
    """

    name: str
    node: str
    kind: str
    port: int | None
    since: float
    token: str = ""
    options: str = ""
    version: int = 1

    def of_another_token(self, other: Lease) -> bool:
        """Whether both leases name a token, and the tokens differ."""
        return bool(self.token and other.token) and self.token != other.token

    def newer_than(self, other: Lease) -> bool:
        """Whether this lease counts, of the two."""
        return (self.since, self.node) > (other.since, other.node)


def _kinds(kind: type) -> dict[str, tuple[Any, ...]]:
    """The types that each field of a record may have."""
    found = {}
    for field, hint in get_type_hints(kind).items():
        origin = get_origin(hint)
        hints = get_args(hint) if origin is UnionType else (hint,)
        kinds = tuple(get_origin(each) or each for each in hints)
        found[field] = (*kinds, int) if float in kinds else kinds
    return found


_KINDS: dict[type, dict[str, tuple[Any, ...]]] = {kind: _kinds(kind) for kind in (Node, Lease)}


def to_text(one: Node | Lease) -> str:
    return json.dumps(attr.asdict(one))


def from_notes(kind: type[_T], notes: dict[str, str]) -> dict[str, _T]:
    """The records in notes, without those that this release cannot read."""
    found = {}
    for key, text in notes.items():
        try:
            read = record(kind, json.loads(text))
            if all(isinstance(getattr(read, field), kinds) for field, kinds in _KINDS[kind].items()):
                found[key] = read
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
    return found


async def live_leases(store: IStore) -> dict[str, Lease]:
    """The leases of all nodes that are alive, by name. @raise StoreError: the store cannot tell."""
    nodes = await store.notes(NODES)
    leases: dict[str, Lease] = from_notes(Lease, await store.notes(LEASES))
    return {name: lease for name, lease in leases.items() if lease.node in nodes}
