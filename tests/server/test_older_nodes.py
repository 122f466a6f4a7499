"""Tunnels with rules for visitors, beside nodes of a release that knows none."""

import json

import attr
import pytest

from burrow.errors import Unavailable
from burrow.server.nodes.records import Node, from_notes
from tests.server.admin.node import ApiNode

NOTE = {
    "id": "node2",
    "host": "127.0.0.1",
    "port": 2,
    "secret": "s",
    "certificate": "",
    "version": "0.1.0",
    "started": 1.0,
    "group": "g",
    "draining": False,
    "sessions": {},
    "beat": 1,
    "door": "",
}
"""As a node of the first release wrote it: without "shares" and "logs"."""


def beside(note):
    """A node beside the one that wrote a note."""
    node = ApiNode()
    node.cluster.members.others = from_notes(Node, {"node2": json.dumps(note)})
    assert node.cluster.members.others
    return node


def test_a_tunnel_with_rules_waits_while_a_node_would_let_everybody_in():
    node = beside(NOTE)
    for kind, options in (("http", {"basic_auth": ["a:bcdefghi"]}), ("tcp", {"allow": ["192.0.2.0/24"]})):
        with pytest.raises(Unavailable, match="would let everybody in: have them upgraded \\(node2\\)"):
            node.open("ann", "blog", kind=kind, **options)
    assert node.store.reservation("blog").result is None
    node.cluster.members.others = {}
    node.open("ann", "blog", basic_auth=["a:bcdefghi"])


def test_other_tunnels_are_opened_beside_it():
    node = beside(NOTE)
    node.open("ann", "blog")
    node.open("ann", "host", host_header="example.org")
    node.open("ann", "port", kind="tcp", port="20000")
    node.open("ann", "box", kind="tcp", private=True)


@pytest.mark.parametrize("of", [{"draining": True}, {"shares": {}}])
def test_nodes_that_are_about_to_end_or_know_rules_are_no_hindrance(of):
    node = beside(NOTE | of)
    node.open("ann", "blog", basic_auth=["a:bcdefghi"])


def test_a_node_says_that_it_knows_rules():
    node = ApiNode()
    node.cluster.node = attr.evolve(node.cluster.node, shares=None)
    note = node.cluster._renewal()
    read = from_notes(Node, {"node1": note.text})["node1"]
    assert read.shares == {}
