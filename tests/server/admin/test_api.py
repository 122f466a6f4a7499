"""The admin API's operations and refusals, on one node without sockets. Who may what: test_roles.py."""

import time
from types import SimpleNamespace

import attr
import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from burrow.errors import StoreError
from burrow.server.admin import api, wrong
from burrow.server.admin.paths import OPERATIONS
from burrow.server.admin.principal import Principal
from burrow.server.admin.web import MAX_BODY
from burrow.server.channel import Asked
from burrow.server.nodes.records import Lease, Node
from tests.server.admin.node import ApiNode, Connection


@pytest.fixture
def node():
    return ApiNode()


# -- refusals ----------------------------------------------------------------------------------------------


def test_paths_and_methods_that_there_are_not(node):
    assert node.ask("GET", "/tunnels/" + "%C3%BC" * 2000).status == 404
    answer = node.ask("GET", "/nonsense")
    assert answer.status == 404
    assert "/_burrow/api/v1/docs" in answer.body["detail"]
    assert node.ask("GET", "/tokens/x/y/z", None).status == 404
    answer = node.ask("PUT", "/tokens/1")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, PATCH, DELETE, HEAD, OPTIONS")
    assert node.ask("BREW", "/tokens").status == 405


@pytest.mark.parametrize("path", sorted({one.path.replace("{", "").replace("}", "") for one in OPERATIONS}))
def test_options_and_head_of_every_path(node, path):
    answer = node.ask("OPTIONS", path, None)
    assert (answer.status, answer.text) == (204, "")
    allowed = answer.headers["allow"].split(", ")
    assert "OPTIONS" in allowed
    if "GET" in allowed:
        get, head = node.ask("GET", path), node.ask("HEAD", path)
        assert (head.status, head.text) == (get.status, "")
        for field in ("content-type", "content-length", "cache-control"):
            assert head.headers[field] == get.headers[field] or field == "content-length"
    else:
        assert node.ask("HEAD", path).status == 405


def test_accept(node):
    for accept, status in (
        (b"*/*", 200),
        (b"application/*", 200),
        (b"text/html, application/json;q=0.5", 200),
        (b"text/html", 406),
        (b"application/json;q=0", 406),
        (b"application/json;q=x", 406),
    ):
        assert node.ask("GET", "/tunnels", headers=[b"Accept: " + accept]).status == status, accept
    assert node.ask("GET", "/docs", None, headers=[b"Accept: application/json"]).status == 406
    # A browser's, which takes everything in the end.
    browser = [b"Accept: text/html,application/xhtml+xml,*/*;q=0.8"]
    assert node.ask("GET", "/tunnels", headers=browser).media == "application/json"


def test_bodies(node):
    def post(body, *headers):
        return node.ask("POST", "/tokens", body=body, headers=headers)

    assert post(b"{}", b"Content-Type: text/plain").status == 415
    assert post(b"name=x", b"Content-Type: application/x-www-form-urlencoded").status == 415
    assert post(b":[-n}", b"Content-Type: multipart/form-data").status == 415
    assert post(b"{").status == 400
    assert post(b"\xff").status == 400
    assert post(b"[" * 10_000).status == 400
    for body, field in (
        ([], ""),
        ({}, "name"),
        ({"name": 1}, "name"),
        ({"name": "x", "role": "king"}, "role"),
        ({"name": "x", "colour": "red"}, "colour"),
        ({"name": "<script>"}, "name"),
        ({"name": "x\n"}, "name"),
        ({"name": "x", "max_names": -1}, "max_names"),
        ({"name": "x", "max_names": True}, "max_names"),
        ({"name": "x", "max_names": 1.5}, "max_names"),
    ):
        answer = post(body)
        assert (answer.status, answer.body["field"]) == (422, field), answer.body
    assert node.ask("PATCH", f"/tokens/{node.tokens['ann'].id}", body={}).status == 422


def test_body_that_is_too_large(node):
    assert node.ask("POST", "/tokens", body=b'"' + b"x" * MAX_BODY).status == 413
    # Chunked, so that nobody knows before.
    head = b"POST /_burrow/api/v1/tokens HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = Connection(node, head, "192.0.2.9")
    for _ in range(3):
        connection.channel.dataReceived(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    assert connection.transport.value() == b""
    connection.channel.dataReceived(b"0\r\n\r\n")
    assert connection.answer.status == 413
    assert connection.transport.disconnecting
    endless = Connection(node, head, "192.0.2.9")
    for _ in range(40):
        endless.channel.dataReceived(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    assert endless.transport.disconnecting


def test_query(node):
    for query, field in (
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("cursor=" + "A" * 5000, "cursor"),
        ("cursor=%ff", "cursor"),
        ("cursor=x", "cursor"),
        ("colour=red", "colour"),
    ):
        answer = node.ask("GET", f"/names?{query}")
        assert (answer.status, answer.body["field"]) == (422, field), query
    assert node.ask("DELETE", "/names/x?force=maybe").status == 422


def test_what_fails_is_told_without_its_reasons(node):
    node.store.tokens = lambda: fail(ValueError("secret"))
    answer = node.ask("GET", "/tokens")
    assert (answer.status, "secret" in answer.text) == (500, False)
    node.store.tokens = lambda: fail(StoreError("redis://:password@host is away"))
    answer = node.ask("GET", "/tokens")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert "password" not in answer.text
    node.store.token = lambda token_id: fail(StoreError("away"))
    assert node.ask("GET", "/whoami").status == 503


def test_the_document_is_kept_until_it_changes(node):
    first = node.ask("GET", "/openapi.json", None)
    again = node.ask(
        "GET", "/openapi.json", None, headers=[b"If-None-Match: " + first.headers["etag"].encode()]
    )
    assert (again.status, again.text) == (304, "")


# -- who asks ----------------------------------------------------------------------------------------------


def test_authorization_that_is_none(node):
    for field in (b"Basic eDp5", b"Bearer", b"Bearer ", b"burrow_x"):
        assert node.ask("GET", "/whoami", None, headers=[b"Authorization: " + field]).status == 401
    assert (
        node.ask(
            "GET", "/whoami", None, headers=[b"Authorization: bearer " + node.texts["ann"].encode()]
        ).status
        == 200
    )


def test_fields_that_are_no_text(node):
    for name in (b"Authorization", b"Accept", b"Content-Type", b"Origin", b"Sec-Fetch-Site", b"Cookie"):
        for value in (b"\xff\xfe", b"a\xffb; q=\xff", b"Bearer \xff", b"=;=\xff"):
            for method, body in (("GET", None), ("POST", b"{}")):
                answer = node.ask(method, "/tokens", None, headers=[name + b": " + value], body=body)
                assert 400 <= answer.status < 500, (name, value)


def test_a_page_of_another_origin_changes_nothing(node):
    path = f"/tokens/{node.tokens['ann'].id}"
    for field in (b"Origin: http://evil.example", b"Origin: null", b"Sec-Fetch-Site: cross-site"):
        assert node.ask("DELETE", path, headers=[field]).status == 403
        assert node.ask("GET", path, headers=[field]).status == 200
    assert node.ask("DELETE", path, headers=[b"Origin: http://example.com"]).status == 204


def test_who_signed_in_is_known_by_a_cookie(node):
    """As the dashboard provides."""
    boss = Principal.of(node.tokens["boss"])

    async def cookies(request):
        return boss if request.getCookie(b"session") == b"good" else None

    node.admin.auth.cookies = cookies
    assert node.ask("GET", "/whoami", None, headers=[b"Cookie: session=good"]).body["name"] == "boss"
    assert node.ask("GET", "/whoami", None, headers=[b"Cookie: session=bad"]).status == 401
    assert node.ask("GET", "/whoami", "ann", headers=[b"Cookie: session=good"]).body["name"] == "ann"
    for field in (b"Origin: http://blog.example.com", b"Sec-Fetch-Site: same-site"):
        made = node.ask("POST", "/tokens", None, body={"name": "x"}, headers=[b"Cookie: session=good", field])
        assert made.status == 403
    assert Deferred.fromCoroutine(node.admin.auth.still(boss)).result == boss
    node.store.change_token("boss", {"digest": b"x" * 32})
    assert Deferred.fromCoroutine(node.admin.auth.still(boss)).result is None


def test_the_last_use_of_a_token_is_kept(node):
    kept, keep = [], node.store.token_used
    node.store.token_used = lambda token, when: kept.append(token) or keep(token, when)
    for _ in range(3):
        node.ask("GET", "/whoami", "ann")
    assert kept == [node.tokens["ann"].id]


def test_wrong_tokens_are_limited_by_address(node):
    guess = f"burrow_{'x' * 10}_{'y' * 32}"
    for _ in range(wrong.BURST):
        assert node.ask("GET", "/whoami", guess).status == 401
    asked = []
    node.store.token, token = lambda token_id: asked.append(token_id) or token(token_id), node.store.token
    answer = node.ask("GET", "/whoami", guess)
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert asked == []  # the store is not even asked
    # Another address; a token that was right before; one that never was shown, after its turn.
    assert node.ask("GET", "/whoami", guess, address="192.0.2.10").status == 401
    assert node.ask("GET", "/whoami", "boss", address="192.0.2.10").status == 200
    assert node.ask("GET", "/whoami", "boss").status == 200
    assert node.ask("GET", "/whoami", "ann").status == 429
    node.reactor.advance(wrong.EVERY)
    assert node.ask("GET", "/whoami", "ann").status == 200
    # One that was right and is revoked is asked for again, and counts as wrong.
    node.store.revoke_token("boss")
    assert node.ask("GET", "/whoami", "boss").status == 401
    assert node.ask("GET", "/whoami", "boss").status == 429


def test_ipv6_addresses_count_by_their_network():
    clock = ApiNode().reactor
    tokens = wrong.WrongTokens(clock)
    for number in range(wrong.BURST):
        tokens.was_wrong("x", f"2001:db8:1:2::{number:x}")
    with pytest.raises(wrong.Problem):
        tokens.check("x", "2001:db8:1:2:ffff::1")
    tokens.check("x", "2001:db8:1:3::1")
    for number in range(wrong.ADDRESSES + 10):
        tokens.was_wrong("x", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        tokens.was_right(f"right{number}")
    assert len(tokens._owed) == wrong.ADDRESSES
    assert len(tokens._good) == wrong.GOOD


def test_no_token_is_ever_told(node):
    node.open("ann", "blog")
    told = "".join(
        node.ask("GET", path).text
        for path in ("/tokens", "/names", "/tunnels", "/sessions", "/nodes", "/audit", "/events", "/whoami")
    )
    for name, text in node.texts.items():
        assert text.rpartition("_")[2] not in told
        assert node.tokens[name].digest.hex() not in told
    assert "secret" not in node.ask("GET", "/nodes").text  # of the links between nodes


# -- resources ---------------------------------------------------------------------------------------------


def test_tokens_are_made_changed_and_revoked(node):
    made = node.ask("POST", "/tokens", body={"name": "new", "role": "viewer", "max_names": 3})
    assert made.status == 201
    path = made.headers["location"].removeprefix("/_burrow/api/v1")
    assert made.body["secret"].startswith(f"burrow_{made.body['id']}_")
    assert node.ask("GET", path).body == {key: made.body[key] for key in made.body if key != "secret"}
    assert node.ask("GET", "/tokens", made.body["secret"]).status == 200
    again = node.ask("POST", "/tokens", body={"name": "new"})
    assert (again.status, "another name" in again.body["detail"]) == (409, True)
    changed = node.ask("PATCH", path, body={"role": "admin", "max_names": None})
    assert (changed.body["role"], changed.body["max_names"]) == ("admin", None)
    merge = [b"Content-Type: application/merge-patch+json"]
    assert node.ask("PATCH", path, body={"max_ports": 0}, headers=merge).body["max_ports"] == 0
    assert node.ask("DELETE", path).status == 204
    assert node.ask("DELETE", path).status == 404
    assert node.ask("GET", "/tokens", made.body["secret"]).status == 401
    entries = [
        (one["who"], one["action"], one["target"], one["address"], one["result"])
        for one in node.ask("GET", "/audit").body["items"]
    ]
    assert entries == [
        ("boss", "token.revoke", "new", "192.0.2.9", "ok"),
        ("boss", "token.change", "new", "192.0.2.9", "max_ports=0"),
        ("boss", "token.change", "new", "192.0.2.9", "role=admin, max_names=None"),
        (
            "boss",
            "token.create",
            "new",
            "192.0.2.9",
            "failed: There is a token named 'new' already: choose another name.",
        ),
        ("boss", "token.create", "new", "192.0.2.9", "ok"),
    ]


class Visiting:
    """A visitor's connection. @param tunnels: those of its parts; None for a part without one."""

    def __init__(self, *tunnels):
        self._parts = [SimpleNamespace(tunnel=tunnel) for tunnel in tunnels]

    def parts(self):
        return self._parts


def test_a_tunnel_is_told_and_closed(node):
    agent, pair = node.open("ann", "blog")
    told = node.ask("GET", "/tunnels/blog").body
    assert told["url"] == "https://blog.example.com"
    assert (told["owner"], told["node"], told["state"]) == ("ann", "node1", "open")
    assert told["session"] == f"node1-{agent.number}"
    assert (told["requests"], told["visitors"], told["received"], told["sent"]) == (0, 0, 0, 0)
    tunnel = node.tunnels.by_name("blog")
    tunnel.requests += 3
    node.edge.visitors.add(Visiting(tunnel))
    node.edge.visitors.add(Visiting(tunnel, None, tunnel))  # of HTTP/2: one connection, whatever it asks for
    node.edge.visitors.add(Visiting())
    visitor = Protocol()
    tunnel.connect(visitor, "192.0.2.1:1", "http")
    visitor.transport.write(b"x" * 1000)
    pair.pump()
    told = node.ask("GET", "/tunnels").body["items"][0]
    assert not node.edge.traffic.listening
    assert (told["visitors"], told["requests"]) == (2, 3)
    assert 1000 < told["received"] < 1100  # the head of the stream is with it
    visitor.transport.abortConnection()
    pair.pump()
    assert node.ask("GET", "/tunnels/blog").body["received"] == told["received"]
    assert node.ask("DELETE", "/tunnels/blog").status == 204
    assert (agent.tunnels, node.tunnels.by_name("blog")) == ({}, None)
    assert node.ask("DELETE", "/tunnels/blog").status == 404
    assert node.ask("GET", "/names/blog").body["open"] is False


def options_of(node, name):
    return node.ask("GET", f"/tunnels/{name}").body["options"]


def test_a_tunnels_options_are_told_without_secrets(node):
    node.open("ann", "plain")
    assert options_of(node, "plain") == {}
    node.open(
        "ann",
        "blog",
        allow=["10.0.0.0/8"],
        compress=True,
        host_header="upstream",
        basic_auth=["me:hunter2"],
        oidc_issuer="https://id.example.com",
        oidc_client="burrow",
        oidc_secret="hunter2",
        oidc_allow=["@example.com"],
        request_header_set=["Authorization: hunter2"],
        policy=['header = ["X-Key: hunter2"], path = "/a", response-header-add = "X-A: hunter2"'],
        route=["/api=4000"],
    )
    assert options_of(node, "blog") == {
        "allow": ["10.0.0.0/8"],
        "compress": True,
        "host-header": "upstream",
        "basic-auth": True,
        "oidc-issuer": "https://id.example.com",
        "oidc-client": "burrow",
        "oidc-secret": True,
        "oidc-allow": ["@example.com"],
        "request-header-set": ["Authorization"],
        "policy": ['header = ["X-Key"], path = "/a", response-header-add = ["X-A"]'],
        "route": ["/api"],
    }
    assert "hunter2" not in node.ask("GET", "/tunnels/blog").text
    assert all("options" not in item for item in node.ask("GET", "/tunnels").body["items"])


def test_options_of_a_third_partys_kind_are_told(node):
    given = {"port": 20_001, "least": "4", "mode": "once", "skip": ["the", "a\x1b"], "loud": True}
    node.open("ann", "count", kind="words", key="hunter2", file="words.txt", **given)
    told = {**given, "least": 4, "skip": ["the", "a\\x1b"], "key": True}
    assert options_of(node, "count") == told
    node.open("ann", "game", kind="udp", idle=5, private=True)
    assert options_of(node, "game") == {"idle": 5, "private": True}


def test_a_session_is_told_and_ended(node):
    _, pair = node.open("ann", "blog", "shop")
    (told,) = node.ask("GET", "/sessions").body["items"]
    assert (told["token"], told["tunnels"], told["version"]) == ("ann", ["blog", "shop"], "1.2")
    assert told["round_trip"] is None
    pair.server.ping()
    pair.pump()
    assert node.ask("GET", f"/sessions/{told['id']}").body["round_trip"] == 0
    assert node.ask("DELETE", f"/sessions/{told['id']}").status == 204
    pair.pump()
    assert pair.agent.lost
    assert pair.agent_carrier.peer_code == 4012  # so that the agent begins another
    assert node.ask("GET", f"/sessions/{told['id']}").status == 404
    assert node.ask("GET", "/sessions/other-1").status == 404


def test_a_name_is_released(node):
    agent, _ = node.open("ann", "blog")
    answer = node.ask("DELETE", "/names/blog", "ann")
    assert (answer.status, "force" in answer.body["detail"]) == (409, True)
    assert node.ask("DELETE", "/names/blog?force=true", "ann").status == 204
    assert agent.tunnels == {}
    assert node.ask("GET", "/names/blog").status == 404
    assert node.ask("GET", "/names").body == {"items": []}


def test_a_name_is_transferred(node):
    agent, _ = node.open("ann", "blog")
    answer = node.ask("PATCH", "/names/blog", body={"owner": "bob"})
    assert (answer.status, "force" in answer.body["detail"]) == (409, True)
    assert list(agent.tunnels) == ["blog"]
    answer = node.ask("PATCH", "/names/blog?force=true", body={"owner": "bob"})
    assert (answer.status, answer.body["owner"], answer.body["open"]) == (200, "bob", False)
    assert agent.tunnels == {}
    assert node.ask("GET", "/names", "ann").body["items"] == []
    assert [one["name"] for one in node.ask("GET", "/names", "bob").body["items"]] == ["blog"]
    entry = node.ask("GET", "/audit").body["items"][0]
    assert (entry["action"], entry["target"], entry["result"]) == ("name.transfer", "blog", "to bob")


def test_a_name_and_its_wildcard_go_together(node):
    agent, _ = node.open("ann", "blog")
    node.open("ann", "*.blog")
    answer = node.ask("DELETE", "/names/blog")
    assert (answer.status, "*.blog" in answer.body["detail"]) == (409, True)
    assert node.ask("PATCH", "/names/*.blog?force=true", body={"owner": "bob"}).status == 200
    assert node.ask("GET", "/audit").body["items"][0]["result"] == "to bob, and blog with it"
    assert agent.tunnels == {}
    assert {one["name"] for one in node.ask("GET", "/names", "bob").body["items"]} == {"blog", "*.blog"}
    assert node.ask("DELETE", "/names/blog").status == 204
    assert node.ask("GET", "/audit").body["items"][0]["result"] == "and *.blog with it"
    assert node.ask("GET", "/names").body == {"items": []}


def test_a_name_is_not_transferred(node):
    agent, _ = node.open("ann", "blog")
    answer = node.ask("PATCH", "/names/blog?force=true", body={"owner": "nobody"})
    assert (answer.status, answer.body["field"], "/tokens" in answer.body["detail"]) == (422, "owner", True)
    assert node.ask("PATCH", "/names/none", body={"owner": "bob"}).status == 404
    assert node.ask("PATCH", "/names/blog", body={}).status == 422
    assert node.ask("PATCH", "/names/blog", body={"owner": "ann"}).status == 200  # whose it is
    assert list(agent.tunnels) == ["blog"]


def test_names_of_a_revoked_token_show_its_id(node):
    node.open("ann", "blog")
    node.store.revoke_token("ann")
    assert node.ask("GET", "/names/blog").body["owner"] == node.tokens["ann"].id


def test_a_node_is_drained_if_there_is_another(node):
    answer = node.ask("POST", "/nodes/node1/drain")
    assert (answer.status, node.drained) == (409, 0)
    node.cluster.members.others["node2"] = Node("node2", "2001:db8::2", 2, "s", "", "1.0", 1.0)
    answer = node.ask("POST", "/nodes/node1/drain")
    assert (answer.status, answer.body["draining"], node.drained) == (202, True, 1)
    node.ask("POST", "/nodes/node1/drain")
    assert node.drained == 1
    answer = node.ask("POST", "/nodes/node2/drain")
    assert (answer.status, "node2" in answer.body["detail"]) == (504, True)
    items = node.ask("GET", "/nodes").body
    assert [(one["id"], one["answers"]) for one in items["items"]] == [("node1", True), ("node2", False)]
    assert (items["items"][1]["address"], items["unanswered"]) == ("[2001:db8::2]:2", ["node2"])


def test_what_is_on_a_node_that_does_not_answer_is_told_as_far_as_it_is_known(node):
    node.cluster.members.others["node2"] = Node("node2", "127.0.0.1", 2, "s", "", "1.0", 1.0)
    node.cluster.leases.theirs["far"] = Lease("far", "node2", "tcp", 20_000, 5.0, node.tokens["ann"].id)
    node.cluster.leases.theirs["box"] = Lease("box", "node2", "private-tcp", None, 5.0, node.tokens["ann"].id)
    assert node.ask("GET", "/tunnels/box").body["kind"] == "tcp"
    told = node.ask("GET", "/tunnels/far").body
    assert (told["state"], told["owner"], told["port"], told["url"]) == ("away", "ann", 20_000, None)
    assert told["options"] == {}
    assert node.ask("GET", "/sessions/node2-1").status == 504
    assert node.ask("DELETE", "/sessions/node2-1").status == 504


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("tcp", '{"port": 20000, "allow": ["192.0.2.0/24"]}', {"port": 20_000, "allow": ["192.0.2.0/24"]}),
        (
            "private-tcp",
            '{"private": true, "allow-token": ["bob"]}',
            {"private": True, "allow-token": ["bob"]},
        ),
        ("tcp", '{"newer": 1}', None),
        ("tcp", "[1]", None),
        ("tcp", "{", None),
        ("gopher", "{}", None),
    ],
)
def test_options_of_a_tunnel_whose_node_does_not_answer(node, kind, options, told):
    """They are in its lease, as the node that opened it wrote them."""
    node.cluster.members.others["node2"] = Node("node2", "127.0.0.1", 2, "s", "", "1.0", 1.0)
    lease = Lease("far", "node2", kind, None, 5.0, node.tokens["ann"].id, options)
    node.cluster.leases.theirs["far"] = lease
    assert node.ask("GET", "/tunnels/far").body.get("options") == told
    (listed,) = node.ask("GET", "/tunnels").body["items"]
    assert "options" not in listed


def test_options_are_told_alike_whether_a_node_answers_or_not(node):
    node.open("ann", "blog", basic_auth=["ann:secret"], cors=["https://a.example"], max_body="1K")
    there = node.ask("GET", "/tunnels/blog").body["options"]
    lease = node.cluster.leases.held["blog"]
    node.cluster.members.others["node2"] = Node("node2", "127.0.0.1", 2, "s", "", "1.0", 1.0)
    node.cluster.leases.theirs["far"] = attr.evolve(lease, name="far", node="node2")
    assert node.ask("GET", "/tunnels/far").body["options"] == there
    assert there["basic-auth"] is True


def test_lists_come_in_pages_and_miss_nothing(node):
    node.open("ann", "c", "a", "b")
    node.open("bob", "d", kind="http")
    for path, key in (("/tunnels", "name"), ("/names", "name"), ("/tokens", "name"), ("/sessions", "id")):
        whole = [item[key] for item in node.ask("GET", path).body["items"]]
        found, more = [], ""
        while True:
            page = node.ask("GET", f"{path}?limit=1{more}").body
            found += [item[key] for item in page["items"]]
            if "next" not in page:
                break
            more = f"&cursor={page['next']}"
        assert found == whole == sorted(whole)
        assert len(whole) > 1


def test_a_thousand_tunnels_are_listed_soon(node):
    """Well under 100 ms of CPU; the bound is loose, since the machine may be busy."""
    agent, _ = node.open("ann")
    for number in range(1000):
        Deferred.fromCoroutine(agent.open(Asked("http", "localhost:3000", f"t{number:04}")))
    assert len(agent.tunnels) == 1000
    began = time.process_time()
    connection = node.connect("GET", "/tunnels?limit=1000")
    took = time.process_time() - began
    assert len(connection.answer.body["items"]) == 1000
    assert took < 0.25, took


def test_audit_lists_pages_newest_first_and_is_bounded(node):
    for number in range(5):
        node.ask("POST", "/tokens", body={"name": f"n{number}"})
        node.reactor.advance(1)
    first = node.ask("GET", "/audit?limit=3").body
    second = node.ask("GET", f"/audit?limit=3&cursor={first['next']}").body
    targets = [item["target"] for item in first["items"] + second["items"]]
    assert len(targets) == len(set(targets)) == 5
    assert "next" not in second


# -- the connection ----------------------------------------------------------------------------------------


def test_after_an_answer_the_connection_is_the_edges_again(node):
    connection = node.connect("GET", "/whoami")
    (next_one,) = node.back.built
    assert connection.transport.protocol is next_one
    assert node.web.open == set()
    connection.transport.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
    assert next_one.received == b"GET / HTTP/1.1\r\n"


def test_after_a_body_as_well(node):
    connection = node.connect("POST", "/tokens", body={"name": "new"})
    if not connection.transport.value():
        node.reactor.advance(0)
    assert connection.answer.status == 201
    assert connection.transport.protocol is node.back.built[0]
    assert not connection.transport.disconnecting


def test_what_comes_behind_a_body_is_not_lost_in_silence(node):
    connection = node.connect("POST", "/tokens", body={"name": "new"}, behind=b"GET /next HTTP/1.1\r\n\r\n")
    if not connection.transport.value():
        node.reactor.advance(0)
    assert connection.answer.status == 201
    assert connection.transport.disconnecting
    assert node.back.built == []


def test_what_comes_behind_a_request_is_not_lost_in_silence(node):
    """The connection is closed behind the answer, so whoever sent it asks again."""
    waiting = Deferred()
    node.store.tokens = lambda: waiting
    connection = node.connect("GET", "/tokens")
    connection.channel.dataReceived(b"GET /next HTTP/1.1\r\n\r\n")
    assert connection.transport.value() == b""
    waiting.callback([])
    assert connection.answer.status == 200
    assert connection.transport.disconnecting
    assert node.back.built == []


def test_what_came_in_one_piece_with_a_request_is_not_lost_in_silence(node):
    connection = node.connect("GET", "/openapi.json", None, behind=b"GET /next HTTP/1.1\r\n\r\n")
    assert connection.answer.status == 200
    assert connection.transport.disconnecting
    assert node.back.built == []


def test_connections_that_are_to_be_closed_are(node):
    assert node.connect("GET", "/whoami", headers=[b"Connection: close"]).transport.disconnecting
    node.edge.draining = True
    connection = node.connect("GET", "/whoami")
    assert connection.transport.disconnecting
    assert connection.answer.headers["connection"] == "close"
    assert node.back.built == []


def test_a_change_is_made_and_kept_whether_or_not_who_asked_is_still_there(node):
    waiting = Deferred()
    revoke, node.store.revoke_token = node.store.revoke_token, lambda name: waiting
    connection = node.connect("DELETE", f"/tokens/{node.tokens['ann'].id}")
    connection.channel.connectionLost(Failure(ConnectionLost()))
    assert node.web.open == set()
    revoke("ann").chainDeferred(waiting)
    assert node.ask("GET", "/audit").body["items"][0]["target"] == "ann"
    assert connection.transport.value() == b""


def test_who_closes_its_half_gets_its_answer(node):
    waiting = Deferred()
    node.store.tokens = lambda: waiting
    connection = node.connect("GET", "/tokens")
    connection.channel.readConnectionLost()
    assert not connection.transport.disconnecting
    waiting.callback([])
    assert connection.answer.status == 200
    assert node.back.built[0].read_lost
    head = b"POST /_burrow/api/v1/tokens HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\n"
    for unfinished in (node.connect("GET", "/events?follow=1"), Connection(node, head, "192.0.2.9")):
        unfinished.channel.readConnectionLost()
        assert unfinished.transport.disconnecting


def test_a_live_answer_for_who_has_left_never_begins(node):
    waiting = Deferred()
    node.store.token = lambda token_id: waiting
    connection = node.connect("GET", "/events?follow=1")
    connection.channel.connectionLost(Failure(ConnectionLost()))
    waiting.callback(node.tokens["boss"])
    assert node.admin.lives._open == set()
    assert node.events.listeners == []


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(node):
    head = b"POST /_burrow/api/v1/tokens HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\n"
    connection = Connection(node, head, "192.0.2.9")
    node.reactor.advance(31)
    assert connection.transport.disconnecting


def test_an_agent_cannot_fill_the_audit_log(node, monkeypatch):
    monkeypatch.setattr(api, "AGENTS_KEPT", 3)
    for _ in range(6):
        node.open("ann", "blog")
        assert node.ask("DELETE", "/names/blog?force=true", "ann").status == 204
    node.ask("POST", "/tokens", body={"name": "new"})
    kept = [(entry["who"], entry["action"]) for entry in node.ask("GET", "/audit").body["items"]]
    assert kept.count(("ann", "name.release")) == 3
    assert ("boss", "token.create") in kept
