"""
Many streams of one visitor that reads none of them: L{burrow.wire.windows.Allowance}, and peers that are told
how much is wanted, on two sessions joined in memory.
"""

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import StreamGone
from burrow.mux.control import VisitorHead, decode_visitor_head
from burrow.mux.feed import HIGH_WATER
from burrow.testing import HalfCloseRecorder, SessionPair
from burrow.wire.windows import INITIAL_WINDOW, UNREAD, Allowance
from tests.mux.test_session import Firehose

MANY = 100
SIZE = 1_000_000


class Answers(HalfCloseRecorder):
    """The agent's end: answers with SIZE bytes. @ivar obeys: whether it heeds what it is told."""

    obeys = True
    hose = None

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def dataReceived(self, data):
        if self.hose is None:
            head, _ = decode_visitor_head(data)
            if self.obeys:
                self.transport.limit(head.window)
            self.hose = Firehose(self.clock, self.transport, SIZE)


class Unread(HalfCloseRecorder):
    """A visitor that takes nothing, until it is resumed."""

    def connectionMade(self):
        self.transport.pauseProducing()


class Many(SynchronousTestCase):
    def setUp(self):
        self.pair = SessionPair()
        self.agents = []
        self.pair.agent.listen(SimpleNamespace(buildProtocol=self.agent))
        self.allowance = Allowance(MANY)

    def agent(self, address):
        self.agents.append(Answers(self.pair.clock))
        return self.agents[-1]

    def visit(self, visitor=None, allowance=None):
        visitor = visitor or Unread()
        allowance = allowance or self.allowance
        head = VisitorHead("blog", "192.0.2.1:5", "https", allowance.first)
        self.pair.server.open_stream(visitor, head.encode(), allowance)
        return visitor

    def came(self, visitors):
        """Bytes of the agent's that came, read or not."""
        return sum(visitor.transport.state.received for visitor in visitors)

    def test_answers_that_nobody_reads_are_bounded_together(self):
        visitors = [self.visit() for _ in range(MANY)]
        self.pair.pump()
        self.assertLessEqual(self.came(visitors), UNREAD)
        self.assertEqual(visitors[0].transport.state.received, INITIAL_WINDOW)
        for visitor in visitors:
            visitor.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual({len(visitor.received) for visitor in visitors}, {SIZE})

    def test_those_that_are_read_do_not_wait_for_those_that_are_not(self):
        visitors = [self.visit() for _ in range(MANY)]
        self.pair.pump()
        visitors[-1].transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(len(visitors[-1].received), SIZE)
        self.assertLessEqual(self.came(visitors[:-1]), UNREAD)

    def test_those_that_ended_make_room(self):
        visitors = [self.visit() for _ in range(MANY)]
        self.pair.pump()
        for visitor in visitors:
            visitor.transport.abortConnection()
        self.pair.pump()
        self.assertEqual(self.allowance.first, INITIAL_WINDOW)

    def test_stream_that_cannot_be_opened_takes_nothing(self):
        self.pair.server.close("it ends")
        with self.assertRaises(StreamGone):
            self.visit()
        self.assertEqual(self.allowance.first, INITIAL_WINDOW)

    def test_agent_that_does_not_know_of_it(self):
        self.patch(Answers, "obeys", False)
        visitors = [self.visit() for _ in range(MANY)]
        self.pair.pump()
        self.assertEqual(self.came(visitors), MANY * INITIAL_WINDOW)
        for visitor in visitors:
            visitor.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual({len(visitor.received) for visitor in visitors}, {SIZE})

    def test_no_more_waits_at_the_agent_either(self):
        """More than the visitor is to get at first waits in no buffer on the way."""
        firsts = []
        for _ in range(MANY):
            firsts.append(self.allowance.first)
            self.visit()
        self.pair.pump()
        for agent, first in zip(self.agents, firsts, strict=True):
            at_a_time = 16_384  # what the hose writes
            self.assertLessEqual(agent.transport.state.queued, min(first, HIGH_WATER) + at_a_time)

    def test_tally_of_a_stream_that_was_told(self):
        visitor = self.visit()
        small = [self.visit() for _ in range(MANY - 1)][-1]
        self.pair.pump()
        self.assertEqual(self.agents[-1].transport.state.sent, small.transport.state.received)
        for each in (visitor, small):
            each.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(self.agents[-1].transport.state.sent, SIZE)


class Pausing(HalfCloseRecorder):
    """Pauses as soon as it has half of a window."""

    def dataReceived(self, data):
        super().dataReceived(data)
        if len(self.received) >= INITIAL_WINDOW // 2:
            self.transport.pauseProducing()


class Pauses(SynchronousTestCase):
    def test_bytes_at_which_a_reader_pauses_are_given_back_when_it_goes_on(self):
        """It may have them still, as who passes them on to somebody slow."""
        pair = SessionPair()
        there = Pausing()
        pair.server.listen(SimpleNamespace(buildProtocol=lambda address: there))
        here = HalfCloseRecorder()
        Firehose(pair.clock, pair.agent.open_stream(here), SIZE)
        pair.pump()
        self.assertEqual(there.transport.state.received, INITIAL_WINDOW)
        there.dataReceived = lambda data: None
        there.transport.resumeProducing()
        pair.pump()
        self.assertEqual(there.transport.state.received, SIZE)
