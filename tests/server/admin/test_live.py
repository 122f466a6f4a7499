"""Answers that go on: events and requests as server-sent events."""

import attr
import pytest
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from burrow.errors import StoreError
from burrow.server.admin import live, seen
from burrow.server.nodes.records import Lease, Node
from burrow.traffic.record import Record
from tests.server.admin.node import ApiNode, check

GONE = Failure(ConnectionLost())


@pytest.fixture
def node():
    return ApiNode()


def follow(node, path, who="boss", **more):
    connection = node.connect("GET", path, who, **more)
    check("GET", path.partition("?")[0], connection.answer)
    return connection


def told(connection):
    """Types and data of what came."""
    return [(kind, data) for kind, _, data in connection.answer.events]


def texts(connection):
    return [data["text"] for kind, data in told(connection) if not kind]


def record(node, tunnel="blog", **fields):
    made = Record("http", tunnel, "192.0.2.1:1", method="GET", target="/x?y=1", **fields)
    node.edge.traffic.begun(made)
    return made


def test_events_come_as_they_happen(node):
    reader = follow(node, "/events?follow=1", "eve")
    other = follow(node, "/events", "eve", headers=[b"Accept: text/event-stream"])
    assert reader.answer.media == "text/event-stream"
    assert "content-length" not in reader.answer.headers
    node.events.add("tunnel-open", "one\nline <script>")
    check("GET", "/events", reader.answer)
    assert texts(reader) == texts(other) == ["one\\nline <script>"]


def test_what_was_missed_comes_first_and_once(node):
    node.events.add("a", "one")
    reader = follow(node, "/events?follow=1")
    node.events.add("a", "two")
    (_, last, _) = reader.answer.events[-1]
    reader.transport.loseConnection()
    node.events.add("a", "three")
    again = follow(node, "/events?follow=1", headers=[b"Last-Event-ID: " + last.encode()])
    node.events.add("a", "four")
    assert texts(again) == ["three", "four"]
    assert len({key for _, key, _ in again.answer.events}) == 2
    history = node.ask("GET", "/events").body["items"]
    assert [item["text"] for item in history] == ["four", "three", "two", "one"]
    assert [item["text"] for item in node.ask("GET", "/events?limit=2").body["items"]] == ["four", "three"]


def test_a_last_id_of_anybody_tells_all_or_nothing(node):
    node.events.add("a", "one")
    for last, expected in ((b"0", ["one"]), (b"zzz", []), (b"\xff<script>", [])):
        reader = follow(node, "/events?follow=1", headers=[b"Last-Event-ID: " + last])
        assert texts(reader) == expected


def test_a_store_that_cannot_tell_what_was_missed(node):
    node.store.notes = lambda space: fail(StoreError("away"))
    reader = follow(node, "/events?follow=1", headers=[b"Last-Event-ID: 0"])
    node.events.add("a", "one")
    assert [kind for kind, _ in told(reader)] == ["gap", ""]


def test_requests_are_told_when_they_begin_and_when_they_are_over(node):
    node.open("ann", "blog", "shop")
    assert node.edge.traffic.listening is False
    reader = follow(node, "/requests?follow=1&tunnel=blog", "ann")
    assert node.edge.traffic.listening is True
    made = record(node, request_headers=[(b"Authorization", b"Bearer secret")])
    record(node, "shop")
    node.reactor.advance(seen.EVERY)
    made.status, made.sent = 200, 7
    node.edge.traffic.ended(made)
    node.reactor.advance(seen.EVERY)
    check("GET", "/requests", reader.answer)
    first, second = (data for _, data in told(reader))
    assert (first["id"], first["status"], first["took"]) == (f"node1-{made.id}", None, None)
    assert (second["id"], second["status"], second["sent"]) == (first["id"], 200, 7)
    assert second["target"] == "/x?y=1"
    assert "secret" not in reader.answer.text


def test_recent_requests_newest_first(node):
    node.open("ann", "blog")
    node.open("bob", "shop")
    assert node.ask("GET", "/requests").body["items"] == []
    made = [record(node, name) for name in ("blog", "shop", "blog")]
    for one in made:
        node.edge.traffic.ended(one)

    def ids(path, who):
        return [item["id"] for item in node.ask("GET", path, who).body["items"]]

    blog = [f"node1-{made[2].id}", f"node1-{made[0].id}"]
    assert ids("/requests?tunnel=blog", "eve") == ids("/requests", "ann") == sorted(blog, reverse=True)
    assert len(ids("/requests", "eve")) == 3
    assert node.ask("GET", "/requests?tunnel=shop", "ann").status == 404
    assert node.ask("GET", "/requests?tunnel=nobodys", "ann").status == 404


def test_nobody_listens_long_after_somebody_looked(node):
    node.ask("GET", "/requests")
    record(node)
    node.reactor.pump([60] * 9)
    assert node.edge.traffic.listening
    node.reactor.pump([60] * 3)
    assert not node.edge.traffic.listening
    assert not any((node.admin.seen._kept, node.admin.seen._running))
    reader = follow(node, "/requests?follow=1")
    node.reactor.pump([60] * 30)
    assert node.edge.traffic.listening  # as long as somebody follows
    reader.channel.connectionLost(GONE)
    node.reactor.pump([60] * 13)
    assert not node.edge.traffic.listening


def test_only_tunnels_that_somebody_asked_for_are_listened_to(node):
    node.open("ann", "blog", "shop")
    traffic = node.edge.traffic
    node.ask("GET", "/requests?tunnel=blog")
    assert (traffic.tunnels, traffic.wants("blog.example.com"), traffic.wants("shop.example.com")) == (
        {"blog"},
        True,
        False,
    )
    for name in ("blog", "shop"):
        traffic.ended(record(node, name))
    assert [one.tunnel for one in node.admin.seen._kept.values()] == ["blog"]
    node.reactor.pump([1] * 300)
    node.ask("GET", "/requests?tunnel=shop")
    assert traffic.tunnels == {"blog", "shop"}
    node.reactor.pump([1] * 301)
    assert traffic.tunnels == {"shop"}
    assert not node.admin.seen._kept
    node.ask("GET", "/requests")
    assert traffic.tunnels is None
    reader = follow(node, "/requests?follow=1&tunnel=blog")
    node.reactor.pump([1] * 601)
    assert traffic.tunnels == {"blog"}  # as long as somebody follows
    reader.channel.connectionLost(GONE)
    node.reactor.pump([1] * 601)
    assert not traffic.listening


def test_tunnels_that_are_listened_to_are_bounded(node, monkeypatch):
    monkeypatch.setattr(seen, "WATCHED", 3)
    for number in range(5):
        node.admin.seen.look(f"t{number}")
    node.admin.seen.look("t2")
    node.admin.seen.look("t5")
    assert node.edge.traffic.tunnels == {"t2", "t4", "t5"}


def test_what_is_kept_is_bounded(node, monkeypatch):
    monkeypatch.setattr(seen, "EACH", 3)
    monkeypatch.setattr(seen, "MOST", 10)
    kept = node.admin.seen
    kept.look()
    for number in range(40):
        one = record(node, f"t{number % 13}")
        one.target = "/" + "x" * 10_000
        node.edge.traffic.ended(one)
    assert len(kept._kept) == sum(map(len, kept._of.values())) == 10
    for _ in range(10):
        record(node, "t0")
    assert len(kept._of["t0"]) == 3
    assert len(kept._kept) == sum(map(len, kept._of.values())) <= 10
    assert all(len(item["target"]) <= seen.LONGEST for item in kept.recent(lambda name, owner: True, "", 100))


def test_a_flood_of_requests_is_not_written_down(node):
    reader = follow(node, "/requests?follow=1")
    for _ in range(1000):
        node.edge.traffic.ended(record(node))
    node.reactor.advance(seen.EVERY)
    events = told(reader)
    assert len(events) == seen.BATCH + 1
    assert [data for kind, data in events if kind == "gap"] == [{"dropped": 2 * (1000 - seen.BATCH)}]


def test_a_reader_that_does_not_read_is_told_how_much_it_missed(node):
    reader = follow(node, "/events?follow=1")
    reader.channel.pauseProducing()
    for number in range(live.QUEUE + 7):
        node.events.add("a", str(number))
    assert told(reader) == []
    reader.channel.resumeProducing()
    assert len(told(reader)) == live.QUEUE + 1
    assert told(reader)[-1] == ("gap", {"dropped": 7})


def test_a_quiet_answer_shows_that_it_lives(node):
    reader = follow(node, "/events?follow=1")
    before = len(reader.transport.value())
    node.reactor.pump([1] * 16)
    assert b": \n\n" in reader.transport.value()[before:]
    assert told(reader) == []


def test_revocation_ends_it(node):
    readers = {who: follow(node, "/events?follow=1", who) for who in ("eve", "boss")}
    assert node.ask("DELETE", f"/tokens/{node.tokens['eve'].id}").status == 204
    assert told(readers["eve"]) == [("end", {"detail": "The token was revoked, or has another secret now."})]
    assert readers["eve"].transport.disconnecting
    assert not readers["boss"].transport.disconnecting
    node.events.add("a", "later")
    assert texts(readers["boss"]) == ["later"]
    assert len(told(readers["eve"])) == 1


def test_revocation_elsewhere_ends_it(node):
    """By a command, or on another node: the store tells."""
    reader = follow(node, "/events?follow=1", "eve")
    node.reactor.advance(0)
    node.cluster._loop.start(0.1, now=False)
    node.reactor.pump([0.5] * 4)
    assert told(reader) == []
    node.store.revoke_token("eve")
    node.reactor.pump([0.5] * 4)
    assert [kind for kind, _ in told(reader)] == ["end"]


def test_a_role_that_may_not_see_it_any_more_ends_it(node):
    events = follow(node, "/events?follow=1", "eve")
    requests = follow(node, "/requests?follow=1", "eve")
    node.ask("PATCH", f"/tokens/{node.tokens['eve'].id}", body={"max_names": 1})
    assert told(events) == told(requests) == []
    node.ask("PATCH", f"/tokens/{node.tokens['eve'].id}", body={"role": "agent"})
    assert told(events) == told(requests) == [("end", {"detail": "The token has the role agent now."})]


def test_a_store_that_is_away_ends_nothing(node):
    reader = follow(node, "/events?follow=1", "eve")
    node.store.token = lambda token_id: fail(StoreError("away"))
    node.admin.lives.doubt(None)
    assert told(reader) == []


def test_how_many_there_may_be(node, monkeypatch):
    monkeypatch.setattr(live, "OF_TOKEN", 2)
    monkeypatch.setattr(live, "OF_ALL", 3)
    readers = [follow(node, "/events?follow=1") for _ in range(2)]
    answer = node.ask("GET", "/requests?follow=1")
    assert (answer.status, "Close one" in answer.body["detail"]) == (429, True)
    readers.append(follow(node, "/events?follow=1", "eve"))
    assert node.ask("GET", "/requests?follow=1", "ann").status == 429
    readers[0].channel.connectionLost(GONE)
    assert node.connect("GET", "/requests?follow=1", "ann").answer.status == 200


def test_agents_leave_room_for_the_others(node, monkeypatch):
    monkeypatch.setattr(live, "OF_AGENTS", 1)
    monkeypatch.setattr(live, "OF_ALL", 3)
    follow(node, "/requests?follow=1", "ann")
    assert node.ask("GET", "/requests?follow=1", "bob").status == 429
    follow(node, "/events?follow=1", "eve")
    follow(node, "/events?follow=1")


def test_a_sign_in_that_is_over_ends_what_it_reads(node):
    lasting = True

    async def signed_in(key):
        assert key == "the sign-in"
        return lasting

    node.admin.auth.signed_in = signed_in
    reader = follow(node, "/events?follow=1", "eve")
    (begun,) = node.admin.lives._open
    begun.who = attr.evolve(begun.who, sign_in="the sign-in")
    node.reactor.advance(live.BEAT)
    assert told(reader) == []
    lasting = False
    node.reactor.advance(live.BEAT)
    assert [kind for kind, _ in told(reader)] == ["end"]


def test_the_next_owner_of_a_name_sees_no_request_of_the_one_before(node):
    node.open("ann", "blog")
    follow(node, "/requests?follow=1", "boss")
    node.edge.traffic.ended(record(node, request_id="of-ann"))
    before = follow(node, "/requests?follow=1", "ann")
    assert node.ask("DELETE", "/names/blog?force=true", "ann").status == 204
    node.open("bob", "blog")
    after = follow(node, "/requests?follow=1", "bob")
    node.edge.traffic.ended(record(node, request_id="of-bob"))
    node.reactor.advance(seen.EVERY)

    def ids(who):
        return [each["request_id"] for each in node.ask("GET", "/requests", who).body["items"]]

    assert ids("ann") == ["of-ann"]
    assert ids("bob") == ["of-bob"]
    assert ids("boss") == ["of-bob", "of-ann"]
    assert "of-bob" not in str(told(before))
    assert "of-ann" not in str(told(after))
    tunnel = node.ask("GET", "/tunnels/blog", "bob").body
    assert (tunnel["received"], tunnel["sent"]) == (0, 0)


def test_a_request_whose_tunnel_another_node_opened_a_moment_ago(node):
    reader = follow(node, "/requests?follow=1", "ann")
    seen_one = record(node, "far")
    node.reactor.advance(seen.EVERY)
    assert told(reader) == []
    node.cluster.leases.theirs["far"] = Lease("far", "node2", "http", None, 5.0, node.tokens["ann"].id)
    node.edge.traffic.ended(seen_one)
    node.reactor.advance(seen.EVERY)
    ((kind, data),) = told(reader)
    assert (kind, data["tunnel"]) == ("", "far")


def test_a_reader_that_leaves_leaves_nothing(node):
    reader = follow(node, "/events?follow=1")
    requests = follow(node, "/requests?follow=1")
    for one in (reader, requests):
        one.channel.connectionLost(GONE)
    assert node.events.listeners == []
    assert node.admin.seen._followers == []
    assert node.admin.lives._open == set()
    assert not node.admin.lives._loop.running
    node.events.add("a", "later")
    assert texts(reader) == []


def test_the_server_stops(node):
    reader = follow(node, "/events?follow=1")
    node.admin.stop()
    assert told(reader) == [("end", {"detail": "The server stops."})]
    assert reader.transport.disconnecting
    assert node.events.listeners == []


def test_nodes_that_do_not_answer_are_named(node):
    node.cluster.members.others["node2"] = Node("node2", "127.0.0.1", 2, "s", "", "1.0", 1.0)
    reader = follow(node, "/events?follow=1")
    assert told(reader) == [("unanswered", {"nodes": ["node2"]})]
    del node.cluster.members.others["node2"]
    node.reactor.advance(live.LINK_AGAIN)
    assert told(reader)[1:] == [("unanswered", {"nodes": []})]


def test_head_of_a_live_answer_ends(node):
    answer = node.ask("HEAD", "/events?follow=1")
    assert (answer.status, answer.media) == (200, "text/event-stream")
    assert node.events.listeners == []
