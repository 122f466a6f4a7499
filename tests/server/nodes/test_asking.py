"""Tests for L{burrow.server.nodes.asking}: two nodes whose link is in memory."""

import json

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.nodes import asking
from burrow.server.nodes.arrivals import _Streams
from burrow.server.nodes.asking import Questions, Unanswered, questions_on
from burrow.server.nodes.boxes import AskBox, decode
from burrow.testing import Recorder, SessionPair


class Asking(SynchronousTestCase):
    """Node "one" asks "two"."""

    def setUp(self):
        self.two = Questions(None, "two", lambda node: None, list)
        streams = _Streams(None, None, Factory(), self.two.asked)
        self.pair = SessionPair(server_factory=streams)
        sessions = {"two": self.pair.agent}
        self.one = Questions(self.pair.clock, "one", sessions.get, lambda: ["two", "three"])

    def ask(self, question="what", node="two", **of):
        asked = Deferred.fromCoroutine(self.one.ask(node, question, **of))
        self.pair.pump()
        return asked

    def answer(self, answer, question="what"):
        async def give(of):
            return answer(of) if callable(answer) else answer

        self.two.answers[question] = give

    def test_box(self):
        box = AskBox("tunnels", json.dumps({"most": 3, "after": "ü"}))
        self.assertEqual(decode(box.encode() + b"rest"), (box, b"rest"))

    def test_answers(self):
        for answer in (None, [], {"a": [1, "ü"]}, "x" * 1_000_000, 0, False):
            self.answer(answer)
            self.assertEqual(self.successResultOf(self.ask()), answer)
        self.answer(lambda of: of["a"] + 1)
        self.assertEqual(self.successResultOf(self.ask(a=1)), 2)
        self.assertEqual(self.pair.agent.stream_count, 0)
        self.assertEqual(self.pair.server.stream_count, 0)

    def test_answer_that_takes_long(self):
        later = Deferred()
        self.two.answers["what"] = lambda of: later
        asked = self.ask()
        self.assertNoResult(asked)
        self.assertEqual(questions_on(self.pair.server), 1)
        self.pair.clock.advance(asking.ANSWER_WITHIN)
        self.failureResultOf(asked, Unanswered)
        self.pair.pump()
        self.assertEqual(questions_on(self.pair.server), 0)
        later.callback(1)  # and nobody minds

    def test_questions_that_are_not_answered(self):
        self.two.answers["fails"] = lambda of: fail(ValueError("why"))
        for question in ("fails", "unknown"):
            self.failureResultOf(self.ask(question), Unanswered)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        for of in ("[]", "{", "[" * 100_000):
            self.pair.agent.open_stream(Recorder(), AskBox("what", of[:60_000]).encode())
        self.pair.pump()
        self.assertEqual(self.pair.server.stream_count, 0)
        self.failureResultOf(self.ask(node="three"), Unanswered)
        self.pair.agent.abort()
        self.failureResultOf(self.ask(), Unanswered)

    def test_answer_that_is_too_long_or_breaks_off(self):
        self.patch(asking, "MAX_ANSWER", 1000)
        self.answer("x" * 2000)
        self.failureResultOf(self.ask(), Unanswered)

    def test_all_nodes(self):
        async def own(of):
            return "of one"

        self.one.answers["what"] = own
        self.answer("of two")
        asked = Deferred.fromCoroutine(self.one.ask_all("what"))
        self.pair.pump()
        self.assertEqual(self.successResultOf(asked), ({"one": "of one", "two": "of two"}, ["three"]))

    # -- what is followed --------------------------------------------------------------------------------

    def follow(self, node="two"):
        self.sends, self.stopped, self.got, self.lost = [], [], [], []

        def follow(of, send):
            self.sends.append(send)
            return lambda: self.stopped.append(of)

        self.two.follows["news"] = follow
        stop = self.one.follow(node, "news", {"a": 1}, self.got.append, lambda: self.lost.append(True))
        self.pair.pump()
        return stop

    def test_pieces_come_until_it_is_stopped(self):
        stop = self.follow()
        for piece in ({"a": "line\nline"}, {"b": "x" * 300_000}, {}):
            self.sends[0](piece)
            self.pair.pump()
        self.assertEqual(self.got, [{"a": "line\nline"}, {"b": "x" * 300_000}, {}])
        self.assertEqual(questions_on(self.pair.server), 1)
        stop()
        self.pair.pump()
        self.assertEqual((self.stopped, self.lost), ([{"a": 1}], []))
        self.assertEqual(self.pair.server.stream_count, 0)

    def test_what_a_full_stream_does_not_take_is_counted(self):
        self.follow()
        self.pair.server_carrier.blocked = True
        for number in range(100):
            self.sends[0]({"x": "y" * 10_000, "n": number})
        self.assertEqual(self.got, [])
        self.pair.server_carrier.blocked = False
        self.pair.pump()
        came = [piece["n"] for piece in self.got if "n" in piece]
        self.assertLess(len(came), 20)
        self.assertEqual([piece for piece in self.got if "dropped" in piece], [{"dropped": 100 - len(came)}])

    def test_the_other_node_is_gone(self):
        self.follow()
        self.pair.server.abort()
        self.pair.pump()
        self.assertEqual((self.lost, self.stopped), ([True], [{"a": 1}]))
        self.assertRaises(Unanswered, self.follow)
        self.assertRaises(Unanswered, self.follow, "three")

    def test_a_node_follows_itself_without_a_stream(self):
        self.one.follows["news"] = lambda of, send: send(of) or (lambda: None)
        got = []
        self.one.follow("one", "news", {"a": 1}, got.append, None)
        self.assertEqual(got, [{"a": 1}])
