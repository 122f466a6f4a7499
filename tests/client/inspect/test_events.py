"""burrow.client.inspect.events: what happens is told as it happens, and a slow follower costs nothing."""

import json

from burrow.client.inspect.events import FLUSH_EVERY, MAX_FLUSH, MAX_FOLLOWERS, PING_EVERY
from burrow.traffic.record import Message
from tests.client.inspect.parts import InspectorCase, pass_through, record


def events(transport):
    """What was told: pairs of the kind and the data; the ids apart."""
    found, ids = [], []
    for block in transport.value().partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n").decode().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and ": " in line
        )
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
            ids.append(int(fields["id"]))
    return found, ids


class EventTests(InspectorCase):
    def follow(self, **headers):
        return self.send("GET", "/api/events", **headers)

    def test_begun_answered_ended_and_messages(self):
        transport = self.follow()
        one = pass_through(self.traffic, target="/a")
        socket = record(protocol="websocket")
        self.traffic.begun(socket)
        self.traffic.message(socket, True, Message("text", b"hello", 5))
        self.assertEqual(events(transport)[0], [])
        self.clock.advance(FLUSH_EVERY)
        found, ids = events(transport)
        self.assertEqual([kind for kind, _ in found], ["begun", "answered", "ended", "begun", "message"])
        self.assertEqual(found[2][1]["path"], "/a")
        self.assertEqual((found[4][1]["id"], found[4][1]["message"]["text"]), (socket.id, "hello"))
        self.assertEqual(found[0][1]["id"], one.id)
        self.assertEqual(ids, [1, 2, 3, 4, 5])

    def test_what_was_before_is_not_told(self):
        pass_through(self.traffic)
        transport = self.follow()
        self.clock.advance(1)
        self.assertEqual(events(transport)[0], [])

    def test_who_comes_back_is_told_what_it_missed(self):
        pass_through(self.traffic)
        found, ids = events(self.follow(Last_Event_ID="1"))
        self.assertEqual(([kind for kind, _ in found], ids), (["answered", "ended"], [2, 3]))

    def test_who_missed_too_much_is_told_to_look_again(self):
        for _ in range(MAX_FLUSH):
            pass_through(self.traffic)
        found, ids = events(self.follow(Last_Event_ID="1"))
        self.assertEqual(found, [("reset", {"missed": 3 * MAX_FLUSH - 1})])
        self.assertEqual(ids, [3 * MAX_FLUSH])

    def test_an_id_of_an_agent_before_is_told_to_look_again(self):
        found, ids = events(self.follow(Last_Event_ID="77"))
        self.assertEqual((found, ids), ([("reset", {"missed": 0})], [0]))

    def test_nothing_waits_for_who_does_not_read(self):
        transport = self.follow()
        transport.producer.pauseProducing()
        before = len(transport.value())
        for _ in range(1000):
            pass_through(self.traffic)
            self.clock.advance(FLUSH_EVERY)
        self.assertEqual(len(transport.value()), before)
        transport.producer.resumeProducing()
        self.assertEqual(events(transport)[0], [("reset", {"missed": 3000})])
        pass_through(self.traffic)
        self.clock.advance(FLUSH_EVERY)
        self.assertEqual([kind for kind, _ in events(transport)[0][1:]], ["begun", "answered", "ended"])

    def test_what_is_not_kept_any_more_is_not_told(self):
        transport = self.follow()
        pass_through(self.traffic)
        self.store.clear()
        self.clock.advance(FLUSH_EVERY)
        self.assertEqual([kind for kind, _ in events(transport)[0]], ["cleared"])

    def test_followers_are_bounded_and_leave_no_timer(self):
        transports = [self.follow() for _ in range(MAX_FOLLOWERS)]
        self.assertEqual(self.get("/api/events").status, 429)
        pass_through(self.traffic)
        for transport in transports:
            transport.protocol.connectionLost()
        idle = [call for call in self.clock.getDelayedCalls() if "timed" not in str(call).lower()]
        self.assertEqual(idle, [])
        self.assertEqual(self.get("/api/requests").status, 200)

    def test_a_comment_is_sent_now_and_then(self):
        transport = self.follow()
        self.clock.advance(PING_EVERY)
        self.assertIn(b": ping", transport.value())
        self.clock.advance(600)
        self.assertFalse(transport.disconnecting)

    def test_all_are_let_go_at_the_end(self):
        transport = self.follow()
        self.api.followers.stop()
        self.factory.close()
        self.assertTrue(transport.disconnecting)
