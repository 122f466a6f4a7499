"""
Every operation of the admin API by every role: what is allowed, and what is told of others' things.

The table has a row for each operation of the OpenAPI document, and a new one without a row fails.
"""

import pytest

from burrow.server.nodes.records import Lease, Node
from tests.server.admin.node import DOCUMENT, ApiNode

OPERATIONS = {
    one["operationId"]: (method.upper(), path, one)
    for path, methods in DOCUMENT["paths"].items()
    for method, one in methods.items()
}

WHO = ("none", "wrong", "revoked", "agent", "another", "viewer", "admin")
"""No token; one that never was; a revoked one; ann's, whose things are asked for; bob's; eve's; boss's."""

PUBLIC = (200, 200, 200, 200, 200, 200, 200)
ALL = (401, 401, 401, 200, 200, 200, 200)
OWN = (401, 401, 401, 200, 404, 200, 200)
OWN_CHANGE = (401, 401, 401, 204, 404, 403, 204)
VIEW = (401, 401, 401, 403, 403, 200, 200)

TABLE = {
    "get_openapi": PUBLIC,
    "get_docs": PUBLIC,
    "get_whoami": ALL,
    "list_tunnels": ALL,
    "get_tunnel": OWN,
    "close_tunnel": OWN_CHANGE,
    "list_sessions": ALL,
    "get_session": OWN,
    "end_session": OWN_CHANGE,
    "list_names": ALL,
    "get_name": OWN,
    "release_name": OWN_CHANGE,
    "transfer_name": (401, 401, 401, 403, 403, 403, 200),
    "list_tokens": VIEW,
    "create_token": (401, 401, 401, 403, 403, 403, 201),
    "get_token": VIEW,
    "change_token": (401, 401, 401, 403, 403, 403, 200),
    "revoke_token": (401, 401, 401, 403, 403, 403, 204),
    "list_nodes": VIEW,
    "get_node": VIEW,
    "drain_node": (401, 401, 401, 403, 403, 403, 202),
    "list_certificates": VIEW,
    "get_certificate": (401, 401, 401, 403, 403, 404, 404),  # a server without TLS has none
    "list_events": VIEW,
    "list_audit": VIEW,
    "list_requests": ALL,
}
"""The status of each operation on ann's things, for each of L{WHO}."""


def test_each_operation_has_its_row():
    assert sorted(TABLE) == sorted(OPERATIONS)


@pytest.fixture
def node():
    """Ann's tunnel "blog" is open; another node is there that agents could go to."""
    node = ApiNode()
    node.add_token("gone", "admin")
    node.store.revoke_token("gone")
    node.agent, _ = node.open("ann", "blog")
    node.open("bob", "shop")
    node.cluster.members.others["node2"] = Node("node2", "127.0.0.1", 2, "secret", "", "1.0", 1.0)
    return node


def ask(node, name, who):
    method, path, operation = OPERATIONS[name]
    things = {
        "/tunnels/{name}": "blog",
        "/names/{name}": "blog",
        "/sessions/{id}": f"node1-{node.agent.number}",
        "/tokens/{id}": node.tokens["ann"].id,
        "/nodes/{id}": "node1",
        "/nodes/{id}/drain": "node1",
        "/certificates/{host}": "blog.example.com",
    }
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", things[OPERATIONS[name][1]])
    body = None
    if "requestBody" in operation:
        body = {"create_token": {"name": "new"}, "transfer_name": {"owner": "bob"}}.get(
            name, {"role": "viewer"}
        )
    if name in ("release_name", "transfer_name"):
        path += "?force=true"
    tokens = {
        "none": None,
        "wrong": f"burrow_{'x' * 10}_{'y' * 32}",
        "revoked": "gone",
        "agent": "ann",
        "another": "bob",
        "viewer": "eve",
        "admin": "boss",
    }
    return node.ask(method, path, tokens[who], body=body)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_operation_by_role(node, name, who):
    changes = OPERATIONS[name][0] != "GET"
    before = node.store.notes("audit").result
    answer = ask(node, name, who)
    assert answer.status == TABLE[name][WHO.index(who)], answer.body
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith('Bearer realm="burrow"')
    if answer.status == 403:
        assert answer.body["needed"] in answer.body["detail"]
        assert node.texts["ann"].rpartition("_")[2] not in answer.text
    assert (node.store.notes("audit").result != before) == (changes and answer.status < 300)
    if name.startswith("get_o") or name == "get_docs":
        assert answer.headers["cache-control"] == "no-cache"
        assert "etag" in answer.headers
    else:
        assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("name", "key", "of_ann", "of_bob"),
    [
        ("list_tunnels", "name", ["blog"], ["shop"]),
        ("list_sessions", "token", ["ann"], ["bob"]),
        ("list_names", "name", ["blog"], ["shop"]),
    ],
)
def test_an_agent_sees_its_own_alone(node, name, key, of_ann, of_bob):
    def seen(who):
        return sorted(item[key] for item in ask(node, name, who).body["items"])

    assert seen("agent") == of_ann
    assert seen("another") == of_bob
    assert seen("viewer") == seen("admin") == sorted(of_ann + of_bob)


def test_an_agent_sees_nothing_of_a_tunnel_of_another_on_a_node_that_does_not_answer(node):
    for name, owner in (("far", "ann"), ("farther", "bob")):
        node.cluster.leases.theirs[name] = Lease(name, "node2", "http", None, 5.0, node.tokens[owner].id)
    assert [item["name"] for item in ask(node, "list_tunnels", "agent").body["items"]] == ["blog", "far"]
    answer = ask(node, "list_tunnels", "admin").body
    assert [item["name"] for item in answer["items"]] == ["blog", "far", "farther", "shop"]
    assert answer["unanswered"] == ["node2"]
    assert [item["state"] for item in answer["items"]] == ["open", "away", "away", "open"]
    assert answer["items"][1]["owner"] == "ann"


def test_a_token_that_is_revoked_or_changed_counts_at_the_next_request(node):
    assert ask(node, "list_tokens", "viewer").status == 200
    node.store.change_token("eve", {"role": "agent"})
    assert ask(node, "list_tokens", "viewer").status == 403
    node.store.revoke_token("eve")
    assert ask(node, "get_whoami", "viewer").status == 401
