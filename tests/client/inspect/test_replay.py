"""Replays against real upstreams, on the real reactor."""

import base64
import json

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from burrow.client.inspect import replay as replay_module
from burrow.client.inspect.changed import outgoing
from burrow.client.inspect.masking import MASK
from burrow.client.inspect.problem import Problem
from burrow.client.inspect.replay import Replayer
from burrow.client.inspect.store import Store
from burrow.protocols.upstream import Upstream
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record
from tests.client.inspect.parts import pass_through, record

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


class Service(Protocol):
    """An upstream that answers each connection's first bytes with what the test says."""

    def connectionMade(self):
        self.got = b""
        self.factory.test.services.append(self)

    def dataReceived(self, data):
        first, self.got = not self.got, self.got + data
        if first:
            for step in self.factory.test.answer:
                if step == "close":
                    self.transport.loseConnection()
                elif step == "reset":
                    self.transport.abortConnection()
                else:
                    self.transport.write(step)


class ReplayTests(TestCase):
    def setUp(self):
        self.services, self.answer = [], [OK]
        factory = Factory.forProtocol(Service)
        factory.test, factory.noisy = self, False
        self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.number = self.port.getHost().port
        self.upstreams = {"shop": Upstream.parse(str(self.number), ("http",))}
        self.traffic, self.store = Traffic(), Store()
        self.traffic.add(self.store)
        self.replayer = Replayer(reactor, self.traffic, self.store, self.upstreams.get)
        self.addCleanup(self._turn)
        self.addCleanup(self.replayer.stop)

    def _turn(self):
        turned = Deferred()
        reactor.callLater(0.05, turned.callback, None)
        return turned

    async def replay(self, of, **changes):
        """Replay a record; return what is kept of the replay."""
        again, done = self.replayer.replay(self.store.get(of.id), changes, elsewhere=True)
        await done
        return self.store.get(again.id)

    def posted(self, **more):
        fields = [(b"Content-Type", b"text/plain"), (b"Authorization", b"Bearer secret"), (b"X-One", b"1")]
        return pass_through(self.traffic, "POST", "/hook?a=b", b"the body", b"ok", headers=fields, **more)

    async def test_as_it_was(self):
        of = self.posted()
        again = await self.replay(of)
        self.assertEqual(
            self.services[0].got,
            b"POST /hook?a=b HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: text/plain\r\n"
            b"Authorization: Bearer secret\r\nX-One: 1\r\nX-Burrow-Replay: %b\r\nContent-Length: 8\r\n"
            b"Connection: close\r\n\r\nthe body" % of.id.encode(),
        )
        made = again.record
        self.assertEqual((made.status, made.reason, made.error, made.sent), (200, "OK", "", 5))
        self.assertEqual((bytes(again.response.data), bytes(again.request.data)), (b"hello", b"the body"))
        self.assertEqual((again.replay_of, made.tunnel, made.target), (of.id, "shop", "/hook?a=b"))
        self.assertLessEqual(made.waited, made.first_byte)
        self.assertLessEqual(made.first_byte, made.took)

    async def test_a_replay_of_a_replay_names_the_one_it_repeats(self):
        first = await self.replay(self.posted())
        again = await self.replay(first.record)
        self.assertEqual(again.replay_of, first.record.id)
        self.assertEqual(self.services[1].got.count(b"X-Burrow-Replay"), 1)

    async def test_changed(self):
        await self.replay(
            self.posted(), method="PUT", path="/other path/ü", body="neu: ü",
            headers={"X-One": None, "x-two": ["a", "b"], "Authorization": MASK},
        )  # fmt: skip
        head, _, body = self.services[0].got.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"PUT /other%20path/%C3%BC HTTP/1.1\r\n"), head)
        self.assertNotIn(b"X-One", head)
        self.assertIn(b"x-two: a\r\nx-two: b\r\n", head)
        self.assertIn(b"Authorization: Bearer secret\r\n", head)
        self.assertIn(b"Content-Length: 7\r\n", head)
        self.assertEqual(body, "neu: ü".encode())

    async def test_all_headers_given_with_masks(self):
        await self.replay(
            self.posted(), headers=[["Host", "x"], ["Authorization", MASK], ["Content-Length", "99"]]
        )
        head = self.services[0].got.partition(b"\r\n\r\n")[0]
        self.assertIn(b"Host: x\r\nAuthorization: Bearer secret\r\nX-Burrow-Replay", head)
        self.assertEqual(head.count(b"Content-Length"), 1)

    async def test_to_another_port(self):
        del self.upstreams["shop"]
        of = self.posted()
        with self.assertRaises(Problem) as raised:
            await self.replay(of)
        self.assertEqual(raised.exception.status, 409)
        again = await self.replay(of, port=self.number)
        self.assertEqual(again.record.status, 200)
        again = await self.replay(of, upstream=f"http://127.0.0.1:{self.number}")
        self.assertEqual(again.record.status, 200)

    async def test_nothing_listens_there(self):
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        again = await self.replay(self.posted(), port=number)
        self.assertIsNone(again.record.status)
        self.assertIn("Nothing listens on", again.record.error)

    async def test_answers_of_all_kinds(self):
        chunked = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
        )
        for steps, method, status, body, error in (
            ([chunked], "GET", 200, b"abcde", ""),
            ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], "POST", 200, b"hello", ""),
            ([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK], "GET", 200, b"hello", ""),
            ([b"HTTP/1.0 200 OK\r\n\r\nto the end", "close"], "GET", 200, b"to the end", ""),
            ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], "HEAD", 200, b"", ""),
            ([b"HTTP/1.1 204 No Content\r\n\r\n"], "GET", 204, b"", ""),
            ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"], "GET", 304, b"", ""),
            ([OK[:-2], "close"], "GET", 200, b"hel", "the answer is not whole"),
            ([b"HTTP/1.1 200 OK\r\n", "close"], "GET", None, b"", "without an answer"),
            (["close"], "GET", None, b"", "without an answer"),
            (["reset"], "GET", None, b"", "reset"),
            ([b"SSH-2.0-OpenSSH\r\n"], "GET", None, b"", "no HTTP"),
            ([OK + OK], "GET", 200, b"hello", ""),
        ):
            self.answer = steps
            again = await self.replay(pass_through(self.traffic, method))
            made = again.record
            self.assertEqual((made.status, bytes(again.response.data)), (status, body), str(steps))
            self.assertIn(error, made.error)
            self.assertEqual(bool(error), bool(made.error), f"{steps}: {made.error}")

    async def test_an_answer_without_end_is_ended_with_the_agent(self):
        self.answer = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"]
        made, done = self.replayer.replay(self.store.get(self.posted().id), {}, elsewhere=True)
        while not made.sent:
            await self._turn()
        self.assertIsNone(made.took)
        self.replayer.stop()
        await done
        self.assertEqual((made.error, made.status), ("the agent stopped", 200))

    async def test_an_answer_that_is_too_large_is_cut(self):
        self.patch(__import__("burrow.client.inspect.exchange", fromlist=["x"]), "MAX_BYTES", 50)
        again = await self.replay(self.posted())
        self.assertIn("larger", again.record.error)

    async def test_replays_at_the_same_time_are_bounded(self):
        self.patch(replay_module, "MAX_RUNNING", 2)
        self.answer = []
        of = self.posted()
        running = [self.replayer.replay(self.store.get(of.id), {}, elsewhere=True)[1] for _ in range(2)]
        with self.assertRaises(Problem) as raised:
            await self.replay(of)
        self.assertEqual(raised.exception.status, 429)
        self.replayer.stop()
        for done in running:
            await done


class ChangedTests(TestCase):
    def keep(self, made: Record, body=b""):
        store, traffic = Store(max_body=10), Traffic()
        traffic.add(store)
        traffic.begun(made)
        if body:
            traffic.body(made, False, body)
        return store.get(made.id)

    def test_what_is_not_possible_is_said(self):
        kept = self.keep(record())
        for changes, said in (
            ({"methd": "GET"}, "did you mean method"),
            ({"method": "GE T"}, "method is not possible"),
            ({"method": 7}, "method is not possible"),
            ({"path": "x"}, "begins with /"),
            ({"path": 1}, "begins with /"),
            ({"headers": "x"}, "write an object"),
            ({"headers": {"a b": "c"}}, "header name"),
            ({"headers": {"a:b": "c"}}, "header name"),
            ({"headers": {"a": "b\r\nEvil: 1"}}, "more than one line"),
            ({"headers": {"a": "b\0"}}, "more than one line"),
            ({"headers": {"a": 1}}, "write a text"),
            ({"headers": [["a"]]}, "[name, value]"),
            ({"headers": [["Cookie", MASK]]}, "masked"),
            ({"body": 1}, "write a text"),
            ({"body": "a", "body_base64": ""}, "not both"),
            ({"body_base64": "*"}, "no Base64"),
        ):
            with self.assertRaises(Problem) as raised:
                outgoing(kept, changes)
            self.assertEqual(raised.exception.status, 400, str(changes))
            self.assertIn(said, str(raised.exception))

    def test_a_path_cannot_add_lines(self):
        head = outgoing(self.keep(record()), {"path": "/a b\r\nEvil: 1"}).head()
        self.assertTrue(head.startswith(b"GET /a%20b%0D%0AEvil:%201 HTTP/1.1\r\n"), head)

    def test_what_is_no_request_is_refused(self):
        for made in (record("", "", protocol="tcp"), record(protocol="websocket")):
            with self.assertRaises(Problem) as raised:
                outgoing(self.keep(made), {})
            self.assertEqual(raised.exception.status, 409)

    def test_a_body_that_was_kept_in_part_is_refused_unless_one_is_given(self):
        kept = self.keep(record("POST"), b"0123456789abcdef")
        with self.assertRaises(Problem) as raised:
            outgoing(kept, {})
        self.assertIn("first 10 of the body's 16 bytes", str(raised.exception))
        self.assertEqual(outgoing(kept, {"body": "x"}).body, b"x")
        given = base64.b64encode(b"\0\1").decode()
        self.assertEqual(outgoing(kept, json.loads(json.dumps({"body_base64": given}))).body, b"\0\1")

    def test_a_text_is_sent_without_the_coding_that_the_body_had(self):
        kept = self.keep(record("POST", headers=[(b"Content-Encoding", b"gzip")]), b"x")
        self.assertIn((b"Content-Encoding", b"gzip"), outgoing(kept, {}).headers)
        self.assertNotIn((b"Content-Encoding", b"gzip"), outgoing(kept, {"body": "x"}).headers)
