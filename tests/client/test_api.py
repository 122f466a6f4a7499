"""Tests for L{burrow.client.api}."""

import json

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from burrow.client import answers
from burrow.client import api as module
from burrow.client.api import Api
from burrow.client.asked import API, path_of
from burrow.errors import ConfigError, Refused, ServerUnreachable
from burrow.link.address import Credentials, ServerAddress


class Response:
    """An answer whose body is told at once, or piece by piece."""

    def __init__(self, code, body=b"", *, live=False, location=""):
        self.code, self.body, self.live = code, body, live
        self.headers = Headers({"Location": [location]} if location else {})
        self.reader = None

    def deliverBody(self, reader):
        self.reader = reader
        reader.makeConnection(self)
        if not self.live:
            reader.dataReceived(self.body)
            reader.connectionLost(Failure(ResponseDone()))

    def loseConnection(self):
        if self.live:
            self.live = False
            self.reader.connectionLost(Failure(ResponseDone()))


def problem(status, detail):
    return Response(status, json.dumps({"detail": detail}).encode())


def event(item, key="", kind=""):
    return f"{f'event: {kind}' if kind else 'x: y'}\nid: {key}\ndata: {json.dumps(item)}\n\n".encode()


class Agent:
    """Answers what it was told to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def request(self, method, url, headers, body):
        self.asked.append((method.decode(), url.decode(), headers))
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            return answer
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class ApiCase(TestCase):
    def setUp(self):
        self.clock = Clock()

    def make(self, *answers):
        self.agent = Agent(*answers)
        address = ServerAddress.parse("https://example.com")
        return Api(self.clock, Credentials(address, "secret", ""), self.agent)

    def ask(self, answer, path="/tunnels"):
        return Deferred.fromCoroutine(self.make(answer).ask("GET", path))

    def test_a_question(self):
        self.assertEqual(self.successResultOf(self.ask(Response(200, b'{"a": 1}'))), {"a": 1})
        method, url, headers = self.agent.asked[0]
        self.assertEqual((method, url), ("GET", f"https://example.com:443{API}/tunnels"))
        self.assertEqual(headers.getRawHeaders("Authorization"), ["Bearer secret"])
        self.assertIsNone(self.successResultOf(self.ask(Response(204))))

    def test_names_are_escaped_in_paths(self):
        self.assertEqual(path_of("names", "a/b?c"), "/names/a%2Fb%3Fc")

    def test_refusals_and_failures(self):
        for answer, kind, code, words in (
            (problem(403, "This needs a token."), Refused, 77, "This needs a token."),
            (problem(404, f"`GET {API}/certificates` shows them"), Refused, 77, "`burrow certs` shows"),
            (problem(409, "or add ?force=true."), Refused, 77, "add --force"),
            (problem(422, "Write a name."), ConfigError, 78, "Write a name."),
            (problem(503, "Try again."), ServerUnreachable, 69, "Try again."),
            (Response(404, b"<html>"), Refused, 77, "no admin API"),
            (Response(502, b"<html>"), ServerUnreachable, 69, "502"),
            (Response(200, b"<html>"), ServerUnreachable, 69, "no JSON"),
            (Response(301, b"", location="https://b:1/x"), Refused, 77, "--server https://b:1"),
            (ConnectionRefusedError(), ServerUnreachable, 69, "cannot reach https://example.com:443"),
        ):
            error = self.failureResultOf(self.ask(answer), kind).value
            self.assertIn(words, str(error))
            self.assertEqual(error.exit_code, code)

    def test_a_server_that_does_not_answer(self):
        asking = self.ask(Deferred())
        self.clock.advance(module.TIMEOUT)
        self.assertIn("does not answer", str(self.failureResultOf(asking, ServerUnreachable).value))

    def test_an_answer_that_is_too_large(self):
        self.patch(answers, "MAX_ANSWER", 10)
        asking = self.ask(Response(200, b'{"items": []}'))
        self.assertIn("too large", str(self.failureResultOf(asking, ServerUnreachable).value))

    def test_all_pages_of_a_list(self):
        pages = [
            {"items": [{"n": 1}], "next": "a b", "unanswered": ["x"]},
            {"items": [{"n": 2}], "unanswered": ["x"]},
        ]
        api = self.make(*(Response(200, json.dumps(page).encode()) for page in pages))
        listing = self.successResultOf(Deferred.fromCoroutine(api.list("/tunnels", {"tunnel": None})))
        self.assertEqual(listing.items, [{"n": 1}, {"n": 2}])
        self.assertEqual((listing.unanswered, listing.more), (["x"], False))
        self.assertEqual(
            [url.partition("?")[2] for _, url, _ in self.agent.asked], ["limit=1000", "limit=1000&cursor=a+b"]
        )

    def test_so_many_items_of_a_list(self):
        page = json.dumps({"items": [{"n": 1}, {"n": 2}], "next": "x"}).encode()
        listing = self.successResultOf(
            Deferred.fromCoroutine(self.make(Response(200, page)).list("/events", most=2))
        )
        self.assertEqual((len(listing.items), listing.more), (2, True))

    # -- live answers --------------------------------------------------------------------------------------

    def follow(self, *answers):
        self.told, self.states, self.failures = [], [], []
        api = self.make(*answers)
        following = Deferred.fromCoroutine(
            api.follow("/events", None, lambda *told: self.told.append(told), self.states.append)
        )
        following.addErrback(lambda failure: self.failures.append(failure.value))
        return following

    def test_it_goes_on_where_it_was(self):
        first, second = Response(200, live=True), Response(200, live=True)
        following = self.follow(first, ConnectionRefusedError(), second)
        first.reader.dataReceived(b": live\n\n" + event({"n": 1}, "k1"))
        first.reader.connectionLost(Failure(ResponseDone()))
        self.clock.advance(1)
        self.clock.advance(1)
        second.reader.dataReceived(event({"n": 2}, "k2") + event({"dropped": 3}, kind="gap"))
        self.assertEqual(self.told, [("message", {"n": 1}), ("message", {"n": 2}), ("gap", {"dropped": 3})])
        self.assertEqual(self.states, ["the connection was lost; trying again", "connected again"])
        keys = [headers.getRawHeaders("Last-Event-ID") for _, _, headers in self.agent.asked]
        self.assertEqual(keys, [None, ["k1"], ["k1"]])
        following.cancel()

    def test_it_goes_on_behind_what_was_learned_otherwise(self):
        async def begun():
            return "k0"

        self.told, self.states = [], []
        first, second = Response(200, live=True), Response(200, live=True)
        api = self.make(first, second)
        following = Deferred.fromCoroutine(
            api.follow("/events", None, lambda *told: self.told.append(told), self.states.append, begun)
        )
        following.addErrback(lambda failure: None)
        first.reader.connectionLost(Failure(ResponseDone()))
        self.clock.advance(1)
        keys = [headers.getRawHeaders("Last-Event-ID") for _, _, headers in self.agent.asked]
        self.assertEqual(keys, [None, ["k0"]])
        following.cancel()

    def test_silence_means_that_the_connection_is_lost(self):
        first = Response(200, live=True)
        following = self.follow(first, Response(200, live=True))
        self.clock.advance(answers.SILENCE - 1)
        first.reader.dataReceived(b": \n\n")
        self.clock.advance(answers.SILENCE - 1)
        self.assertEqual(self.states, [])
        self.clock.advance(1)
        self.assertEqual(self.states, ["the server is silent; trying again"])
        following.cancel()

    def test_it_ends_when_the_token_is_revoked(self):
        first = Response(200, live=True)
        self.follow(first, problem(401, "Revoked."))
        first.reader.dataReceived(event({"detail": "The token was revoked."}, kind="end"))
        self.clock.advance(1)
        self.assertEqual([str(error) for error in self.failures], ["Revoked."])
        self.assertEqual(self.states, ["The token was revoked; trying again"])

    def test_what_cannot_be_read(self):
        for data in (b"data: {\n\n", b"data: 1\n\n", b"data: \xff\n\n"):
            first = Response(200, live=True)
            following = self.follow(first)
            first.reader.dataReceived(data)
            self.assertIn("cannot be read", self.states[0])
            following.cancel()

    def test_a_server_that_is_not_there_at_first(self):
        self.follow(ConnectionRefusedError())
        self.assertIsInstance(self.failures[0], ServerUnreachable)
