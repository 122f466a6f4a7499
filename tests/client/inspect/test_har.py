"""burrow.client.inspect.har: what is written is an archive as the format's description says."""

import base64
import copy
import gzip
import json
from pathlib import Path

import jsonschema
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from burrow.client.inspect import har
from burrow.traffic.record import Message
from tests.client.inspect.parts import InspectorCase, pass_through, record

SCHEMA = json.loads(Path(__file__).with_name("har.schema.json").read_text(encoding="utf-8"))


class HarTests(InspectorCase):
    def archive(self, query=""):
        found = self.get(f"/api/requests.har{query}").json
        jsonschema.Draft202012Validator(SCHEMA).validate(found)
        return found["log"]["entries"]

    def test_all_kinds_of_records(self):
        json_type, plain = (b"Content-Type", b"application/json"), (b"Content-Type", b"text/plain")
        pass_through(
            self.traffic, "POST", "/a?b=c&d", b'{"x": 1}', b"ok", headers=[json_type], answer_headers=[plain]
        )
        pass_through(self.traffic, request=b"\x00\xff", response=b"\x89PNG\xff", target="*")
        pass_through(
            self.traffic,
            response=gzip.compress(b"hello"),
            answer_headers=[
                (b"Content-Encoding", b"gzip"),
                (b"Location", b"/x"),
                (b"Set-Cookie", b"a=b; Secure"),
            ],
            headers=[(b"Cookie", b"c=d; e=f")],
        )
        failed = record()
        self.traffic.begun(failed)
        self.traffic.ended(failed, "nothing listens there")
        self.traffic.begun(record("GET", "/open"))
        self.traffic.begun(record("", "", protocol="tcp"))
        socket = record(protocol="websocket")
        self.traffic.begun(socket)
        self.traffic.message(socket, False, Message("text", b"hi", 2, 5.5))
        entries = self.archive("?secrets=1")
        self.assertEqual(len(entries), 6)
        first, binary, packed, failure, _, ws = entries
        self.assertEqual(first["request"]["postData"]["text"], '{"x": 1}')
        self.assertEqual(
            first["request"]["queryString"], [{"name": "b", "value": "c"}, {"name": "d", "value": ""}]
        )
        self.assertEqual(base64.b64decode(binary["response"]["content"]["text"]), b"\x89PNG\xff")
        self.assertEqual(packed["response"]["content"]["text"], "hello")
        self.assertEqual(packed["response"]["redirectURL"], "/x")
        self.assertEqual(packed["response"]["cookies"], [{"name": "a", "value": "b"}])
        self.assertEqual([one["name"] for one in packed["request"]["cookies"]], ["c", "e"])
        self.assertEqual(
            (failure["response"]["status"], failure["response"]["_error"]), (0, "nothing listens there")
        )
        self.assertEqual(ws["_webSocketMessages"], [{"type": "send", "time": 5.5, "opcode": 1, "data": "hi"}])
        for entry in entries:
            parts = [value for value in entry["timings"].values() if value != -1]
            self.assertAlmostEqual(entry["time"], sum(parts), 3)

    def test_secrets_are_left_out_and_it_says_so(self):
        pass_through(self.traffic, headers=[(b"Cookie", b"c=hidden")])
        found = self.get("/api/requests.har").json
        self.assertIn("without secrets", found["log"]["comment"])
        self.assertNotIn("hidden", json.dumps(found))
        self.assertIn("with secrets", self.get("/api/requests.har?secrets=1").json["log"]["comment"])

    def test_a_filter_chooses(self):
        pass_through(self.traffic, target="/a")
        pass_through(self.traffic, target="/b")
        self.assertEqual([one["request"]["url"][-2:] for one in self.archive("?filter=path:/b")], ["/b"])

    def test_the_schema_refuses_what_is_none(self):
        pass_through(self.traffic)
        good = self.get("/api/requests.har").json
        for path, value in (
            (("log", "version"), "1.1"),
            (("log", "entries", 0, "time"), -5),
            (("log", "entries", 0, "startedDateTime"), "today"),
            (("log", "entries", 0, "response", "status"), None),
            (("log", "entries", 0, "more"), 1),
        ):
            bad = copy.deepcopy(good)
            inner = bad
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            with self.assertRaises(jsonschema.ValidationError):
                jsonschema.Draft202012Validator(SCHEMA).validate(bad)

    def test_bodies_of_one_archive_are_unpacked_to_so_much_together(self):
        self.patch(har, "MAX_UNPACKED", 2500)
        packed = gzip.compress(b"x" * 1000)
        for _ in range(4):
            pass_through(self.traffic, response=packed, answer_headers=[(b"Content-Encoding", b"gzip")])
        pass_through(self.traffic, response=b"y" * 5000)
        contents = [entry["response"]["content"] for entry in self.archive()]
        self.assertEqual([len(each["text"]) for each in contents[:3]], [1000, 1000, 500])
        self.assertEqual(base64.b64decode(contents[3]["text"]), packed)
        self.assertIn("as it was sent", contents[3]["comment"])
        self.assertEqual(len(contents[4]["text"]), 5000)  # nothing is unpacked of it


class InPieces(InspectorCase):
    """One request a turn of the reactor, and none while nobody reads."""

    def setUp(self):
        super().setUp()
        for _ in range(5):
            pass_through(self.traffic, response=b"hello")

    def test_other_work_is_done_between_two_requests(self):
        turns = []
        call_later = self.clock.callLater
        self.patch(self.clock, "callLater", lambda *args: turns.append(args[0]) or call_later(*args))
        transport = self.send("GET", "/api/requests.har")
        self.run_turns()
        self.assertGreaterEqual(turns.count(0), 6)  # the head, and five requests
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_who_does_not_read_is_waited_for(self):
        transport = self.send("GET", "/api/requests.har")
        transport.protocol.pauseProducing()  # the transport's buffer is full
        before = transport.value()
        self.run_turns()
        self.assertEqual(transport.value(), before)
        transport.protocol.resumeProducing()
        transport.protocol.resumeProducing()
        self.run_turns()
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_who_leaves(self):
        transport = self.send("GET", "/api/requests.har")
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        before = transport.value()
        self.run_turns()
        self.assertEqual(transport.value(), before)
