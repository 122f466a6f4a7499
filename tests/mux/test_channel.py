"""Tests for L{burrow.mux.channel}."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.mux.channel import MAX_COMMANDS, BoundedAMP
from burrow.mux.feed import HIGH_WATER
from burrow.testing import SessionPair
from burrow.wire.windows import INITIAL_WINDOW


class Ask(amp.Command):
    arguments = [(b"text", amp.Unicode())]
    response = [(b"text", amp.Unicode())]


class Later(amp.Command):
    """One of a newer release."""

    commandName = b"later" * 20


class LaterUnanswered(Later):
    commandName = b"later" * 20
    requiresAnswer = False


class Unanswered(Ask):
    commandName = b"Ask"
    requiresAnswer = False


class Slow(BoundedAMP):
    """Answers when it is told to."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    @Ask.responder
    def ask(self, text):
        self.waiting.append((text, Deferred()))
        return self.waiting[-1][1]

    def answer(self):
        waiting, self.waiting = self.waiting, []
        for text, answer in waiting:
            answer.callback({"text": text})


class Quick(BoundedAMP):
    asked = 0

    @Ask.responder
    def ask(self, text):
        self.asked += 1
        return {"text": text * 1000}


class Bounded(SynchronousTestCase):
    def connect(self, make):
        built = []

        def build():
            built.append(make())
            return built[-1]

        factory = Factory()
        factory.buildProtocol = lambda addr: build()
        self.pair = SessionPair(server_factory=factory)
        here = amp.AMP()
        self.pair.agent.open_stream(here)
        self.pair.pump()
        return here, built[0]

    def test_commands_that_wait(self):
        here, there = self.connect(Slow)
        for _ in range(2):
            answers = []
            most = 0
            for number in range(500):
                answers.append(here.callRemote(Ask, text=str(number)))
                self.pair.pump()
                most = max(most, len(there.waiting))
            self.assertEqual(most, MAX_COMMANDS)
            for _ in range(1000):
                if not there.waiting:
                    break
                there.answer()
                self.pair.pump()
                most = max(most, len(there.waiting))
            texts = [answer["text"] for answer in self.successResultOf(gatherResults(answers))]
            self.assertEqual(texts, [str(number) for number in range(500)])
            self.assertLess(most, MAX_COMMANDS + 16 * 1024 // 30)  # one piece of the stream's is read whole

    def test_answers_that_nobody_reads(self):
        here, there = self.connect(Quick)
        here.transport.pauseProducing()
        answers = [here.callRemote(Ask, text="x" * 50) for _ in range(100)]
        for _ in range(900):
            answers.append(here.callRemote(Ask, text="x" * 50))
            self.pair.pump()
        one = 51_000
        waiting = there.transport.state.queued
        self.assertLess(waiting, HIGH_WATER + 200 * one)
        self.assertLess(there.asked * one, INITIAL_WINDOW + HIGH_WATER + 200 * one)
        self.assertTrue(there.congested)
        here.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(len(self.successResultOf(gatherResults(answers))), 1000)
        self.assertFalse(there.congested)

    def test_it_can_be_closed_whatever_waits(self):
        for waits in (False, True):
            here, there = self.connect(Quick)
            if waits:
                here.transport.pauseProducing()
            answers = [here.callRemote(Ask, text="x" * 50) for _ in range(20)]
            self.pair.pump()
            self.assertEqual(there.congested, waits)
            there.transport.loseConnection()
            self.pair.pump()
            if waits:
                here.transport.resumeProducing()
                self.pair.pump()
            self.assertEqual(len(self.successResultOf(gatherResults(answers))), 20)
            self.assertEqual(self.pair.server.stream_count, 0)

    def test_small_answers_leave_nothing_behind(self):
        here, there = self.connect(Quick)
        for _ in range(3):
            answer = here.callRemote(Ask, text="")
            self.pair.pump()
            self.assertEqual(self.successResultOf(answer), {"text": ""})
        there.transport.loseConnection()
        self.pair.pump()
        self.assertEqual(self.pair.server.stream_count, 0)

    def test_end_while_commands_wait(self):
        here, there = self.connect(Slow)
        answers = [here.callRemote(Ask, text="x") for _ in range(2 * MAX_COMMANDS)]
        self.pair.pump()
        here.transport.loseConnection()
        self.pair.pump()
        there.answer()
        self.pair.pump()
        for answer in answers:
            self.failureResultOf(answer, ConnectionDone)
        self.assertEqual(self.pair.server.stream_count, 0)

    def test_peer_that_answers_nothing(self):
        here, there = self.connect(Slow)
        here.ampBoxReceived = lambda box: None
        for number in range(MAX_COMMANDS):
            self.assertFalse(there.congested, number)
            there.callRemote(Ask, text="x")
        self.assertTrue(there.congested)

    def test_refused_commands_that_want_no_answer_are_logged_once(self):
        """The channel goes on, and a peer that sends many fills no log."""
        here, _ = self.connect(Quick)
        with capturedLogs() as events:
            for _ in range(3):
                here.callRemote(LaterUnanswered)
                self.pair.pump()
        (event,) = [event for event in events if "text" in event]
        self.assertIn("there is no command " + repr("later" * 8), event["text"])
        answer = here.callRemote(Ask, text="")
        self.pair.pump()
        self.assertEqual(self.successResultOf(answer), {"text": ""})

    def test_unknown_command_is_answered(self):
        here, _ = self.connect(Quick)
        errors = []
        here.callRemote(Later).addErrback(errors.append)
        self.pair.pump()
        self.assertTrue(errors[0].check(amp.UnhandledCommand))
        self.assertIn(f"there is no command {'later' * 8!r} here", str(errors[0].value))

    def test_failure_of_ours_in_a_command_that_wants_no_answer_ends_the_channel(self):
        class Wrong(Quick):
            @Ask.responder
            def ask(self, text):
                raise ZeroDivisionError

        here, _ = self.connect(Wrong)
        here.callRemote(Unanswered, text="x")
        self.pair.pump()
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.assertEqual(self.pair.server.stream_count, 0)
