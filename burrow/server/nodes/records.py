"""
What nodes write into the store for each other: who they are, and which tunnels they hold.

In the space L{NODES} is a note a node, by its id; in L{LEASES} one a live tunnel, by its name. Both are JSON
objects of the fields below.
"""

from __future__ import annotations

import json
from typing import TypeVar

import attr

from burrow.store.base import record

NODES, LEASES = "nodes", "leases"

_T = TypeVar("_T")


@attr.frozen
class Node:
    """
    One server process.

    @ivar host: with C{port}, where other nodes link to it.
    @ivar secret: what they show there. New at each start; whoever may read the store may link.
    @ivar certificate: what it shows there, in PEM form; empty if it speaks without TLS, on the loopback.
    @ivar group: what is replaced and stopped together: the processes of one C{burrow server}.
    @ivar draining: it takes no new agents: nobody is sent there who has a choice.
    @ivar sessions: how many sessions each token has there, by the token's id, as of its last renewal.
    @ivar door: where processes of its group hand connections in; empty if they cannot: see
        L{burrow.server.nodes.handover}.
    @ivar beat: how often it renewed its note; None in those of older releases.
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


@attr.frozen
class Lease:
    """
    Which node holds a live tunnel.

    @ivar port: the public port, if it has one.
    @ivar since: when it was taken, in seconds since the epoch: of two leases the later one holds, and of two
        that were taken at once that of the node whose id is greater, for all nodes alike.
    @ivar token: the id of the token that it was opened with; empty in leases of older releases.
    """

    name: str
    node: str
    kind: str
    port: int | None
    since: float
    token: str = ""

    def of_another_token(self, other: Lease) -> bool:
        """Whether both say which token's they are, and they differ."""
        return bool(self.token and other.token) and self.token != other.token

    def newer_than(self, other: Lease) -> bool:
        """Whether it is this one that holds."""
        return (self.since, self.node) > (other.since, other.node)


def to_text(one: Node | Lease) -> str:
    return json.dumps(attr.asdict(one))


def from_notes(kind: type[_T], notes: dict[str, str]) -> dict[str, _T]:
    """The records in notes; what another release writes and we cannot read is left out."""
    found = {}
    for key, text in notes.items():
        try:
            found[key] = record(kind, json.loads(text))
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
    return found
