"""
The admin API beside nodes of other releases, as while a server is reloaded with a newer one. What they answer
is as an older one wrote it, or as a newer one may.
"""

import pytest
from twisted.internet.defer import Deferred

from burrow.server.nodes.links import Links
from tests.server.admin.node import ApiNode
from tests.server.admin.test_live import follow, told

TUNNEL = {
    "name": "far",
    "kind": "http",
    "url": "http://far.example.com",
    "upstream": "http://localhost:3000",
    "port": None,
    "owner": "ann",
    "agent": "agent-of-ann",
    "session": "node2-1",
    "address": "192.0.2.7:5",
    "node": "node2",
    "state": "open",
    "since": "2026-11-27T00:51:15Z",
    "visitors": 0,
    "requests": 3,
    "received": None,
    "sent": None,
}
"""Of November 2026, before "inspector" and "options"."""

SESSION = {
    "id": "node2-1",
    "agent": "agent-of-ann",
    "token": "ann",
    "address": "192.0.2.7:5",
    "node": "node2",
    "state": "open",
    "since": "2026-11-27T00:51:15Z",
    "tunnels": ["far"],
    "streams": 2,
    "version": "0.1.0",
    "round_trip": 0.01,
}

REQUEST = {
    "id": "node2-7",
    "protocol": "http",
    "tunnel": "far",
    "visitor": "192.0.2.1:1",
    "scheme": "http",
    "method": "GET",
    "target": "/",
    "host": "far.example.com",
    "request_id": "x",
    "status": 200,
    "reason": "OK",
    "received": 0,
    "sent": 5,
    "began": "2026-11-27T00:51:15Z",
    "waited": 0.0,
    "first_byte": 0.1,
    "took": 0.1,
    "error": "",
}

EVENT = {
    "id": "1-node2-1",
    "when": "2026-11-27T00:51:15Z",
    "node": "node2",
    "kind": "agent-gone",
    "text": "gone",
}

NEW = {"from_a_newer_release": {"a": 1}}


@pytest.fixture
def node():
    return ApiNode()


def beside(ours, **answers):
    """Another node that answers so."""
    other = ours.link("node2")

    def answering(answer):
        async def give(of):
            return answer

        return give

    other.answers.update({question: answering(answer) for question, answer in answers.items()})
    return other


def test_tunnels_of_a_node_that_tells_bytes_beside_visitors_and_requests(node):
    node.open("ann", "blog")
    beside(
        node,
        tunnels={"items": [TUNNEL], "seen": {"far": [1, 2, 300, 400], "blog": [4, 5, 6, 7]}, "watched": []},
    )
    answer = node.ask("GET", "/tunnels")
    blog, far = answer.body["items"]
    assert (blog["visitors"], blog["requests"]) == (4, 5)
    assert far == {**TUNNEL, "visitors": 1, "requests": 5, "inspector": None}
    assert answer.body["unanswered"] == []
    assert node.ask("GET", "/tunnels/far").body["session"] == "node2-1"


def test_older_nodes_find_in_the_answer_about_tunnels_what_they_read(node, monkeypatch):
    """Four numbers each, which they add up, and the names of those whose bytes they believe."""
    node.open("ann", "blog")
    monkeypatch.setattr(Links, "requests", {"far": 9})
    of = {"token": None, "after": "", "most": 10}
    answer = Deferred.fromCoroutine(node.questions.ask("node1", "tunnels", **of)).result
    assert (answer["seen"], answer["watched"]) == ({"far": [0, 9, 0, 0]}, [])


def test_what_a_newer_node_tells_beside_is_left_out(node):
    other = beside(
        node,
        tunnels={"items": [TUNNEL | NEW], "seen": {"far": [1, 2, {}]}, **NEW},
        sessions=[SESSION | NEW],
        requests=[REQUEST | NEW],
        node={"tunnels": 1, "sessions": 1, "visitors": 0, **NEW},
    )
    for path, known in (
        ("/tunnels", {**TUNNEL, "visitors": 1, "requests": 5, "inspector": None}),
        ("/sessions", SESSION),
        ("/requests", REQUEST),
    ):
        answer = node.ask("GET", path)
        assert (answer.body["items"], answer.body["unanswered"]) == ([known], []), path
    assert node.ask("GET", "/sessions/node2-1").body == SESSION
    assert node.ask("GET", "/nodes/node2").body["tunnels"] == 1
    sends = []
    other.follows["new-requests"] = other.follows["new-events"] = lambda of, send: (
        sends.append(send) or sends.clear
    )
    for path, item in (("/requests?follow=1", REQUEST), ("/events?follow=1", EVENT)):
        reader = follow(node, path)
        node.links["node2"].pump()
        sends.pop()({"items": [item | NEW], **NEW})
        node.links["node2"].pump()
        assert told(reader) == [("", item)], path


NO_OBJECT = (None, 1, "text", [1], [None], [[]])
NO_LIST = (None, 1, "text", [1], [None], [[]], [{}], {"items": [{}]})


@pytest.mark.parametrize(
    ("path", "question", "answers"),
    [
        (
            "/tunnels",
            "tunnels",
            (*NO_LIST, {}, {"items": [], "seen": []}, {"items": [], "seen": {"far": [1]}}),
        ),
        ("/sessions", "sessions", NO_LIST),
        ("/requests", "requests", NO_LIST),
        ("/nodes", "node", NO_OBJECT),
    ],
)
def test_a_node_whose_answer_cannot_be_read_has_not_answered(node, path, question, answers):
    for answer in answers:
        beside(node, **{question: answer})
        found = node.ask("GET", path)
        assert (found.status, found.body["unanswered"]) == (200, ["node2"]), answer


def test_a_live_answer_goes_on_when_a_piece_of_it_cannot_be_read(node):
    sends = []
    other = node.link("node2")
    other.follows["new-requests"] = lambda of, send: sends.append(send) or sends.clear
    reader = follow(node, "/requests?follow=1")
    node.links["node2"].pump()
    for piece in (1, [], {"items": 1}, {"items": [{}]}, {"items": [REQUEST]}):
        sends[0](piece)
    node.links["node2"].pump()
    assert told(reader) == [("", REQUEST)]
